"""The picture of a sweep: every setting's curve with its band over the seeds, and what it reached in what time."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightcycle.report.files import write_bytes
from lightcycle.report.panels import INK, PALE, PALETTE
from lightcycle.report.png import png
from lightcycle.report.sweep import Curve, Setting

LOOKS = [(color, style) for style in ("-", "--", ":", "-.") for color in PALETTE]
"""As many settings can be told apart; those behind them are pale."""


def draw_sweep(settings: Sequence[Setting], keys: Sequence[str], metric: str, path: str | os.PathLike) -> Path:
    """Write the picture to `path` as a PNG, atomically.

    >>> import tempfile
    >>> setting = Setting(("sgdr",), {"val/acc": [0.9], "seconds": [3.0]}, [[(1.0, 0.8), (2.0, 0.9)]])
    >>> draw_sweep([setting], ["schedule"], "val/acc", Path(tempfile.mkdtemp()) / "a.png").read_bytes()[1:4]
    b'PNG'
    """
    return write_bytes(path, png(sweep_figure(settings, keys, metric)))


def sweep_figure(settings: Sequence[Setting], keys: Sequence[str], metric: str) -> Figure:
    """Curves above, the metric over the seconds below; the best setting first in the legend."""
    named = min(len(settings), len(LOOKS))
    canvas = Figure(figsize=(9, 7.4 + 0.1 * named), dpi=160, layout="constrained", facecolor="white")
    upper, lower = canvas.subplots(2, height_ratios=[1.5, 1])
    _dress(upper, "epoch", metric)
    _dress(lower, "seconds of training", metric)
    looks = itertools.chain(LOOKS, itertools.repeat((PALE, "-")))
    for number, (setting, (color, style)) in enumerate(zip(settings, looks, strict=False)):
        look = {"color": color, "linestyle": style, "zorder": 3 if number < named else 1}
        _curve(upper, setting, look, label=setting.name(keys) if number < named else None)
        _time(lower, setting, metric, color)
    upper.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    _limits(upper, [value for setting in settings for curve in setting.curves for _, value in curve], metric)
    canvas.legend(loc="outside upper left", ncols=3 if named > 3 else named, frameon=False, fontsize=8.5)
    return canvas


def band(curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where all curves have a point: the place, the mean and the sample sd (zero of one curve), `(points,)` each.

    >>> [column.tolist() for column in band([[(1.0, 0.5), (2.0, 0.75)], [(1.0, 1.0)]])]
    [[1.0], [0.75], [0.3535533905932738]]
    """
    there = [{round(x, 9): y for x, y in curve} for curve in curves]
    places = sorted(set.intersection(*map(set, there))) if there else []
    values = np.array([[curve[x] for x in places] for curve in there]).reshape(len(there), len(places))
    sd = values.std(axis=0, ddof=1) if len(there) > 1 else np.zeros(len(places))
    return np.array(places), values.mean(axis=0) if there else np.zeros(0), sd


def _curve(axes: Axes, setting: Setting, look: dict, label: str | None) -> None:
    x, mean, sd = band(setting.curves)
    dots = {"marker": "o", "markersize": 3.5} if len(x) <= 30 else {}
    axes.plot(x, mean, linewidth=1.8, label=label, gid="mean", **look, **dots)
    axes.fill_between(x, mean - sd, mean + sd, color=look["color"], alpha=0.15, linewidth=0, gid="band")


def _time(axes: Axes, setting: Setting, metric: str, color: str) -> None:
    seconds, reached = setting.mean("seconds"), setting.mean(metric)
    if seconds is None or reached is None:
        return
    bars = {"xerr": setting.sd("seconds"), "yerr": setting.sd(metric)}
    axes.errorbar(seconds, reached, **bars, color=color, marker="o", markersize=6, linewidth=1.2, capsize=2)


def _limits(axes: Axes, values: Sequence[float], metric: str) -> None:
    """The first epochs, where all are bad, must not flatten the rest."""
    if len(values) < 20:
        return
    low, high = np.min(values), np.max(values)
    if "loss" in metric:
        high = np.quantile(values, 0.9)
    else:
        low = np.quantile(values, 0.1)
    room = 0.08 * (high - low) or 0.01
    axes.set_ylim(low - room, high + room)


def _dress(axes: Axes, below: str, beside: str) -> None:
    axes.set_xlabel(below, color=INK, fontsize=9.5)
    axes.set_ylabel(beside, color=INK, fontsize=9.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(colors=INK, labelsize=8.5, length=3)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
