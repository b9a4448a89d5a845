"""The loss between snapshots in one picture: along the lines from each to the next, and on a plane."""

import os
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lightcycle.report.files import write_bytes
from lightcycle.report.panels import BLUE, GREEN, INK, PALE
from lightcycle.report.png import png

FLOOR = 1e-6  # a loss of zero has no logarithm
LEVELS = 14


@dataclass(frozen=True)
class Plane:
    """A grid of losses.

    Args:
        xs, ys: places of the columns and rows, in lengths of filters.
        losses: ``(y, x)``.
        places: ``(x, y)`` of snapshots on it, by their label.
    """

    xs: np.ndarray
    ys: np.ndarray
    losses: np.ndarray
    places: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Landscape:
    """What the picture shows.

    Args:
        title: the verdict.
        note: what was measured, and on what, in a line.
        labels: of the snapshots.
        lengths: ``(lines,)`` from each snapshot to the next, in lengths of filters.
        losses, accuracies: ``(lines, points)`` at even steps, ends included.
        plane: drawn beside the lines, where there is one.
    """

    title: str
    note: str
    labels: list[str]
    lengths: list[float]
    losses: np.ndarray
    accuracies: np.ndarray
    plane: Plane | None = None


def draw_landscape(seen: Landscape, path: str | os.PathLike) -> Path:
    """Write the picture to `path` as a PNG, atomically.

    >>> import tempfile
    >>> line = np.array([[0.2, 1.5, 0.3]])
    >>> seen = Landscape("different minima", "3 points", ["1", "2"], [1.2], line, 1 - line / 2)
    >>> draw_landscape(seen, Path(tempfile.mkdtemp()) / "landscape.png").read_bytes()[1:4]
    b'PNG'
    """
    return write_bytes(path, png(landscape_figure(seen)))


def landscape_figure(seen: Landscape) -> Figure:
    """Loss and accuracy along the lines on the left, the plane on the right; what there is none of leaves no gap."""
    has_lines = len(seen.losses) > 0
    canvas = Figure(figsize=(6.2 * has_lines + 5.6 * (seen.plane is not None), 5.4), dpi=160, facecolor="white",
                    layout="constrained")  # fmt: skip
    canvas.suptitle(f"{_broken(seen.title, canvas)}\n{seen.note}", x=0.01, ha="left", fontsize=9.5, color=INK,
                    parse_math=False)  # fmt: skip
    parts = iter(np.atleast_1d(canvas.subfigures(1, has_lines + (seen.plane is not None))))
    if has_lines:
        upper, lower = next(parts).subplots(2, sharex=True, height_ratios=[2, 1])
        _along(upper, seen, seen.losses, BLUE, "loss")
        _along(lower, seen, seen.accuracies, GREEN, "accuracy")
        _names(upper, lower, seen)
    if seen.plane is not None:
        part = next(parts)
        _plane(part.subplots(), seen.plane, part)
    return canvas


def _along(axes: Axes, seen: Landscape, values: np.ndarray, color: str, name: str) -> None:
    """One value over the way from the first snapshot to the last."""
    starts = np.cumsum([0.0, *seen.lengths])
    for start, stop, line in zip(starts, starts[1:], values, strict=False):
        axes.plot(np.linspace(start, stop, len(line)), line, color=color, marker="o", markersize=2.5, gid=name)
    ends = [values[0, 0], *values[:, -1]]
    axes.plot(starts, ends, color=INK, marker="D", markersize=5, linestyle="none", gid=f"own {name}", zorder=4)
    axes.set_ylabel(name, color=INK, fontsize=9.5)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    _quiet(axes)


def _names(upper: Axes, lower: Axes, seen: Landscape) -> None:
    """The snapshots' names above, and the unit below."""
    starts = np.cumsum([0.0, *seen.lengths])
    for start, label in zip(starts, seen.labels, strict=True):
        upper.annotate(label, (start, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
                       textcoords="offset points", ha="center", fontsize=8.5, color=INK)  # fmt: skip
        for axes in (upper, lower):
            axes.axvline(start, color=PALE, linewidth=0.6, alpha=0.5, zorder=0)
    lower.set_xlabel("way from snapshot to snapshot, in lengths of filters", color=INK, fontsize=9.5)


def _plane(axes: Axes, plane: Plane, canvas) -> None:
    """Filled contours at equal ratios of the loss; what is far above the rest is cut off at the highest."""
    levels = _levels(plane.losses)
    losses = np.clip(np.nan_to_num(plane.losses, nan=np.inf), levels[0], levels[-1])
    look = {"levels": levels, "norm": LogNorm(levels[0], levels[-1])}
    filled = axes.contourf(plane.xs, plane.ys, losses, cmap="YlGnBu_r", **look)
    axes.contour(plane.xs, plane.ys, losses, colors="white", linewidths=0.5, **look)
    for label, place in plane.places.items():
        axes.plot(*place, color=INK, marker="D", markersize=6, markeredgecolor="white", gid=f"place {label}")
        axes.annotate(label, place, xytext=(7, 5), textcoords="offset points", fontsize=9, fontweight="bold",
                      bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1})  # fmt: skip
    axes.set_aspect("equal")
    axes.set_xlabel("lengths of filters", color=INK, fontsize=9.5)
    _quiet(axes)
    bar = canvas.colorbar(filled, ax=axes, shrink=0.8, format=FuncFormatter(lambda value, _: f"{value:.2g}"))
    bar.ax.yaxis.set_major_locator(FixedLocator(levels[::3]))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.set_title("loss", fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8, colors=INK)


def _levels(losses: np.ndarray) -> np.ndarray:
    """Equal ratios from the lowest loss to the highest; the top twentieth does not stretch them."""
    finite = losses[np.isfinite(losses)]
    low = max(finite.min() if len(finite) else 1.0, FLOOR)
    high = max(np.quantile(finite, 0.95) if len(finite) else 1.0, low * 1.01)
    return np.geomspace(low, high, LEVELS)


def _broken(title: str, canvas: Figure) -> str:
    """The title in lines that fit."""
    return "\n".join(textwrap.wrap(title, int(14 * canvas.get_figwidth())))


def _quiet(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(colors=INK, labelsize=8.5, length=3)
