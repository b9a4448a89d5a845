"""The picture of Smith's triangular range test: validation accuracy while the rate goes up and down once."""

import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from lightcycle.finder import Suggestion
from lightcycle.report.files import write_bytes
from lightcycle.report.finder_picture import BLUE, INK, PALE, VERMILION
from lightcycle.report.png import png


def draw_accuracy(
    lrs: Sequence[float], accuracies: Sequence[float], suggestion: Suggestion, path: str | os.PathLike
) -> Path:
    """Write accuracy against rate to `path` as a PNG, atomically; the way up is dark, the way back pale.

    >>> import tempfile
    >>> said = Suggestion("accuracy_bound", None, "too few")
    >>> draw_accuracy([0.1, 0.2, 0.1], [0.3, 0.5, 0.6], said, Path(tempfile.mkdtemp()) / "a.png").read_bytes()[1:4]
    b'PNG'
    """
    top = list(lrs).index(max(lrs))
    canvas = Figure(figsize=(9, 3.6), dpi=160, layout="constrained", facecolor="white")
    axes = canvas.subplots()
    axes.plot(lrs[top:], accuracies[top:], color=PALE, marker="o", markersize=3, linewidth=1, label="on the way back")
    axes.plot(lrs[: top + 1], accuracies[: top + 1], color=BLUE, marker="o", markersize=3.5, label="on the way up")
    if suggestion.lr is not None:
        axes.axvline(suggestion.lr, color=VERMILION, linewidth=1.8, label=f"upper bound {suggestion.lr:.3g}")
    axes.set_title(str(suggestion), loc="left", fontsize=9.5, color=INK, parse_math=False)
    axes.set_xlabel("learning rate", color=INK, fontsize=9.5)
    axes.set_ylabel("validation accuracy", color=INK, fontsize=9.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8.5)
    return write_bytes(path, png(canvas))
