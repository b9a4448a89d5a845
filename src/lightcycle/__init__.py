"""fast.ai's training tricks as PyTorch Lightning callbacks, and a Hydra app around them.

Rooms, from the bottom up: ``schedules`` (time -> value, standard library only), ``transfer``, ``ensembling`` and
``finder`` (the tricks as plain functions), ``data`` and ``models``, ``callbacks`` (Lightning), ``report`` (pictures and
pages), ``app`` (Hydra).
"""

__version__ = "0.1.0"
