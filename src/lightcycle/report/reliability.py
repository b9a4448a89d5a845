"""Calibration: whether a model that is 80 % sure is right in 80 of 100 cases."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from lightcycle.report.panels import BLUE, INK, PALE, VERMILION
from lightcycle.report.png import png


@dataclass(frozen=True)
class Calibration:
    """Images sorted into bins of even width by the probability of the predicted class.

    Args:
        edges: `(bins + 1,)` of the bins, from 0 to 1.
        counts: `(bins,)` images.
        confidence: `(bins,)` mean probability of the predicted class; NaN in an empty bin.
        accuracy: `(bins,)` share of right predictions; NaN in an empty bin.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: sum over the bins of (images in it / images) |accuracy - confidence|."""
        gaps = np.abs(np.nan_to_num(self.accuracy) - np.nan_to_num(self.confidence))
        return float((gaps * self.counts).sum() / max(self.counts.sum(), 1))


def calibration(confidence: Sequence[float], right: Sequence[bool], bins: int = 15) -> Calibration:
    """Compare how sure a model was with how often it was right.

    Args:
        confidence: `(n,)` probabilities of the predicted classes.
        right: `(n,)` whether each prediction was right.
        bins: of even width; a bin holds its upper edge.

    Source: Guo et al. 2017, arXiv:1706.04599, with its 15 bins.

    >>> round(calibration([0.9, 0.9, 0.6, 0.6], [True, True, True, False]).ece, 3)
    0.1
    """
    sure, hit = np.asarray(confidence, dtype=float), np.asarray(right, dtype=float)
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    means = [np.bincount(places, weights=values, minlength=bins) / np.where(counts, counts, np.nan)
             for values in (sure, hit)]  # fmt: skip
    return Calibration(edges, counts, *means)


def reliability_png(seen: Calibration, title: str = "") -> bytes:
    """The reliability diagram as a PNG: accuracy over confidence, and below it how many images each bin holds.

    >>> reliability_png(calibration([0.9, 0.6], [True, False]))[1:4]
    b'PNG'
    """
    return png(reliability_figure(seen, title))


def reliability_figure(seen: Calibration, title: str = "") -> Figure:
    """The figure of `reliability_png`."""
    canvas = Figure(figsize=(5.2, 5.8), dpi=160, layout="constrained", facecolor="white")
    upper, lower = canvas.subplots(2, sharex=True, height_ratios=[3.2, 1])
    filled = seen.counts > 0
    sure, right = seen.confidence[filled], seen.accuracy[filled]
    upper.plot([0, 1], [0, 1], color=PALE, linewidth=1, linestyle=(0, (4, 3)), label="as sure as it is right")
    upper.vlines(sure, sure, right, color=VERMILION, linewidth=2.5, alpha=0.5, label="gap")
    look = {"color": BLUE, "marker": "o", "markersize": 4.5, "linewidth": 1.6}
    upper.plot(sure, right, label=f"model, ECE {seen.ece:.4f}", gid="model", **look)
    upper.set_ylabel("accuracy", color=INK, fontsize=9.5)
    upper.legend(loc="upper left", frameon=False, fontsize=8.5)
    upper.set_xlim(0, 1)
    upper.set_ylim(-0.02, 1.02)
    lower.bar(
        seen.edges[:-1], seen.counts, width=np.diff(seen.edges), align="edge", color=BLUE, alpha=0.6, gid="counts"
    )
    lower.set_ylabel("images", color=INK, fontsize=9.5)
    lower.set_xlabel("probability of the predicted class", color=INK, fontsize=9.5)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(PALE)
        axes.tick_params(colors=INK, labelsize=8.5, length=3)
    upper.set_title(title, loc="left", fontsize=9.5, color=INK, parse_math=False)
    return canvas
