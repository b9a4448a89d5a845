"""The panels of a timeline: each function fills one axes with one thing that changes."""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.ticker import MaxNLocator

from lightcycle.report.lines import parted, smooth, thin

if TYPE_CHECKING:
    from lightcycle.report.timeline import Points, Timeline

INK, PALE, SHADE = "#222222", "#8a8a8a", "#f1f1ee"
# Okabe & Ito's palette, which readers of every color vision tell apart; many groups get a ramp of one hue.
BLUE, VERMILION, GREEN, PURPLE, ORANGE = PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"]
RAMP = LinearSegmentedColormap.from_list("groups", ["#a6d3e8", "#08306b"])
LOG_RANGE = 1e3


def learning_rate(axes: Axes, timeline: Timeline) -> None:
    """One line per group, planned and applied; groups whose numbers are all equal share a line."""
    bundles = _bundles(timeline)
    for (plan, applied, _), (label, color) in zip(bundles, groups(timeline), strict=True):
        _plan_and_fact(axes, timeline, plan, applied, color=color, label=label)
    _lr_scale(axes, np.concatenate([np.append(plan, applied[1]) for plan, applied, _ in bundles] or [[]]))
    _stage_names(axes, timeline)
    if timeline.cycle_ends:
        low = [0] * len(timeline.cycle_ends)
        axes.plot(timeline.cycle_ends, low, transform=axes.get_xaxis_transform(), gid="cycle_ends", color=INK,
                  linestyle="none", marker="D", markersize=4.5, clip_on=False, zorder=5)  # fmt: skip


def groups(timeline: Timeline) -> list[tuple[str, str]]:
    """(label, color) of each line of the learning rate."""
    names = [names for *_, names in _bundles(timeline)]
    if len(names) == 1:
        return [("lr (all groups)" if len(names[0]) > 1 else names[0][0], BLUE)]
    few = len(names) <= len(PALETTE)
    return [(_join(same), PALETTE[i] if few else RAMP(i / (len(names) - 1))) for i, same in enumerate(names)]


def momentum(axes: Axes, timeline: Timeline) -> None:
    """Momentum or beta1, planned and applied."""
    plan, applied = np.array(timeline.momentum or []), _columns(timeline.applied_momentum)
    _plan_and_fact(axes, timeline, plan, applied, color=PURPLE, label="momentum")


def track(points: Points):
    """The panel of a value that holds until the next one, such as image size."""

    def paint(axes: Axes, timeline: Timeline) -> None:
        steps, values = _columns([*points, (timeline.steps, points[-1][1])])
        axes.plot(steps, values, drawstyle="steps-post", color=GREEN, linewidth=2, gid="track")
        axes.margins(y=0.2)
        whole = all(value.is_integer() for value in values.tolist() if math.isfinite(value))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=whole))

    return paint


def loss(axes: Axes, timeline: Timeline) -> None:
    """The training loss as it came and smoothed, with the validation loss where there is one."""
    steps, losses = _columns(timeline.loss)
    name, points = timeline.validation_loss
    if len(losses):
        line = smooth(losses, window=len(losses) // 40)
        axes.plot(*thin(steps, losses), color="#b9b9b9", linewidth=0.8, label="train", gid="loss", **_dots(losses))
        axes.plot(*thin(steps, line), color=INK, linewidth=1.6, label="train, smoothed", gid="smooth")
    if name:
        _validation(axes, points, name)
    _loss_limits(axes, losses, _columns(points)[1])
    axes.legend(loc="upper right", ncols=3, frameon=False, fontsize=8)


def validation(axes: Axes, timeline: Timeline) -> None:
    """The watched metric."""
    _validation(axes, timeline.val, timeline.val_name)


def _validation(axes: Axes, points: Points, name: str) -> None:
    look = {"color": VERMILION, "linewidth": 1.4, "marker": "o", "markersize": 3.5}
    axes.plot(*_columns(points), label=name, gid="val", **look)


def _plan_and_fact(axes: Axes, timeline: Timeline, plan, applied, *, color, label: str) -> None:
    """The plan wide and pale once there is a fact to compare it with, the fact thin and dark on top of it.

    Each stage has a line of its own, since no value lies between the last of one and the first of the next.
    """
    spans = [(start, stop) for _, start, stop in timeline.stages]
    ends = [*timeline.cycle_ends, *(stop for _, stop in spans)]
    around_ends = [step for end in ends for step in (end - 1, end)]
    steps, values = applied
    if len(plan):
        look = {"linewidth": 5.5, "alpha": 0.35} if len(values) else {"linewidth": 2}
        x, y = parted(*thin(range(len(plan)), plan, around_ends), spans)
        axes.plot(x, y, color=color, label=label, gid="plan", **look, **_dots(plan))
    if len(values):
        dark = [0.6 * channel for channel in to_rgb(color)]
        x, y = parted(*thin(steps, values, np.flatnonzero(np.isin(steps, around_ends))), spans)
        axes.plot(x, y, color=dark, linewidth=1.3, label=label, gid="applied", zorder=3, **_dots(values))


def _bundles(timeline: Timeline) -> list[tuple]:
    """(plan, applied, names) of the groups that one line can stand for, because all their numbers are equal."""
    bundles: dict[tuple, tuple] = {}
    for name in timeline.lr | timeline.applied_lr:
        plan, applied = np.array(timeline.lr.get(name, []), dtype=float), _columns(timeline.applied_lr.get(name, []))
        key = plan.tobytes(), *(column.tobytes() for column in applied)
        bundles.setdefault(key, (plan, applied, []))[2].append(name)
    return list(bundles.values())


def _join(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} … {names[-1]} ({len(names)})"


def _lr_scale(axes: Axes, values: np.ndarray) -> None:
    """Log only if most of the run lies over more than three decades: a short dive at the end does not count."""
    positive = values[(values > 0) & (values < math.inf)]
    if not len(positive):
        return
    lowest, low, high, peak = np.quantile(positive, [0, 0.05, 0.95, 1])
    if high / low > LOG_RANGE:
        axes.set_yscale("log")
        axes.set_ylim(max(lowest, low / 30) * 0.7, peak * 2)
    else:
        axes.set_ylim(0, peak * 1.08)


def _loss_limits(axes: Axes, losses: np.ndarray, validation: np.ndarray) -> None:
    """A few spikes must not flatten the rest of the line; a validation loss may take as much room again."""
    finite, others = losses[np.isfinite(losses)], validation[np.isfinite(validation)]
    if len(finite) < 50 or finite.min() == finite.max():
        return
    low, high = np.append(others, finite).min(), np.quantile(finite, 0.995)
    high = max(high, min(others.max(initial=high), high + (high - low)))
    axes.set_ylim(low - 0.05 * (high - low), high + 0.15 * (high - low))


def _stage_names(axes: Axes, timeline: Timeline) -> None:
    for name, start, stop in timeline.stages:
        axes.text((start + stop) / 2, 0.985, name, transform=axes.get_xaxis_transform(), ha="center", va="top",
                  fontsize=8, color="#555555", gid="stage_name")  # fmt: skip
    if timeline.stages:  # room for the names above the highest peak
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (3 if axes.get_yscale() == "log" else 1.1))


def _columns(points: Points) -> tuple[np.ndarray, np.ndarray]:
    flat = np.fromiter(chain.from_iterable(points), dtype=float).reshape(-1, 2)
    return flat[:, 0], flat[:, 1]


def _dots(values) -> dict:
    """A line of few points shows them; a line of one point would be invisible without."""
    return {"marker": "o", "markersize": 4} if len(values) <= 30 else {}
