"""Images and labels: what a set is (``config``), how large it is (``count``), and the datamodule (``module``).

This package imports nothing by itself, so that ``lightcycle.data.config`` and ``lightcycle.data.count`` answer without
loading torch: a plan can be drawn in a second.
"""
