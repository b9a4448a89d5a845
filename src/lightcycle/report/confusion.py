"""The confusion matrix: how many images of each class were taken for which."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from lightcycle.report.panels import BLUE, INK, PALE, VERMILION
from lightcycle.report.png import png

RIGHT = LinearSegmentedColormap.from_list("right", ["#ffffff", BLUE])
WRONG = LinearSegmentedColormap.from_list("wrong", ["#ffffff", VERMILION])
LETTER = 0.09  # inches of a letter of a name
NAMED, COUNTED = 40, 20  # with more classes than these, names and then counts would be too small to read


def confusion_matrix(labels: Sequence[int], predictions: Sequence[int], classes: int) -> np.ndarray:
    """Count the images of each class by what they were taken for: `(classes, classes)`, a row for each true class.

    >>> confusion_matrix([0, 0, 1], [0, 1, 1], classes=2).tolist()
    [[1, 1], [0, 1]]
    """
    pairs = np.asarray(labels, dtype=np.int64) * classes + np.asarray(predictions, dtype=np.int64)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def most_confused(matrix: np.ndarray, names: Sequence[str], most: int = 5) -> list[tuple[str, str, int]]:
    """The mistakes made most often: (true class, taken for, images).

    >>> most_confused(np.array([[5, 2], [1, 7]]), ["cat", "dog"])
    [('cat', 'dog', 2), ('dog', 'cat', 1)]
    """
    off = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-off, axis=None, kind="stable")[:most]
    found = [(int(place) // len(names), int(place) % len(names)) for place in order]
    return [(names[true], names[taken], int(off[true, taken])) for true, taken in found if off[true, taken]]


def confusion_png(matrix: np.ndarray, names: Sequence[str], title: str = "") -> bytes:
    """The matrix as a PNG: colors are shares of each true class, blue where it was right, vermilion where it was not.

    >>> confusion_png(np.eye(2, dtype=int), ["cat", "dog"])[1:4]
    b'PNG'
    """
    return png(confusion_figure(matrix, names, title))


def confusion_figure(matrix: np.ndarray, names: Sequence[str], title: str = "") -> Figure:
    """The figure of `confusion_png`."""
    side = min(max(4.2, 2.2 + 0.38 * len(names)), 11.0)
    canvas = Figure(figsize=(side, side), dpi=160, layout="constrained", facecolor="white")
    axes = canvas.subplots()
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    own = np.eye(len(names), dtype=bool)
    for there, colors in ((own, RIGHT), (~own, WRONG)):
        axes.imshow(np.where(there, shares, np.nan), cmap=colors, vmin=0, vmax=1 if colors is RIGHT else _top(shares))
    if len(names) <= COUNTED:
        _counts(axes, matrix, shares)
    _labels(axes, names)
    axes.set_title(title, loc="left", fontsize=9.5, color=INK, parse_math=False)
    return canvas


def _top(shares: np.ndarray) -> float:
    """The share that has the full color among the mistakes: rare ones must show, too."""
    return max(float((shares - np.diag(np.diag(shares))).max(initial=0)), 0.02)


def _counts(axes: Axes, matrix: np.ndarray, shares: np.ndarray) -> None:
    for (row, column), count in np.ndenumerate(matrix):
        full = shares[row, column] / (1 if row == column else _top(shares))
        if count:
            axes.text(
                column, row, f"{count}", ha="center", va="center", fontsize=7.5, color="white" if full > 0.55 else INK
            )


def _labels(axes: Axes, names: Sequence[str]) -> None:
    if len(names) <= NAMED:
        places = range(len(names))
        texts = [name if len(name) <= 18 else f"{name[:17]}…" for name in names]
        lying = max(map(len, texts)) * LETTER < axes.figure.get_figwidth() / (len(names) + 2)
        axes.set_xticks(places, texts, rotation=0 if lying else 90, parse_math=False)
        axes.set_yticks(places, texts, parse_math=False)
    axes.tick_params(colors=INK, labelsize=8 if len(names) <= COUNTED else 6.5, length=0)
    axes.set_xlabel("taken for", color=INK, fontsize=9.5)
    axes.set_ylabel("true class", color=INK, fontsize=9.5)
    axes.spines[:].set_color(PALE)
