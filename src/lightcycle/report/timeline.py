"""One picture of a run: everything that changes, over one axis of time.

Before the run it shows the plan; after it, the same picture carries what was really applied, and the loss.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lightcycle.report import panels
from lightcycle.report.files import write_bytes
from lightcycle.report.panels import INK, PALE, SHADE
from lightcycle.report.png import png

TITLE, ROW, ENTRIES = 0.33, 0.2, 6  # inches of the title and of a row of the legend; entries in a row
Points = list[tuple[int, float]]


@dataclass
class Timeline:
    """Everything that changes during a run, in plain numbers; a step's value is the one that step is taken with.

    Args:
        title: one line above the picture.
        steps: optimizer steps in the run.
        epoch_edges: the step at which each epoch starts, and the end: `(epochs + 1,)`; empty where unknown.
        lr: planned learning rate of each group, one value per step: `(steps,)` each.
        momentum: planned momentum, `(steps,)`; drawn only if it moves.
        cycle_ends: steps done when a cycle ends, where a snapshot is taken.
        tracks: further plans as (step from which it holds, value), such as image size or depth.
        stages: (name, first step, step after the last).
        applied_lr, applied_momentum: what the optimizer really had, as (step, value).
        loss: training loss as (step, loss).
        val: the watched metric as (steps done, value), and its name `val_name`.
        val_loss: validation loss as (steps done, loss); left out where `val` is a loss itself.

    Raises:
        ValueError: `steps` is below 1, or a plan has another length.

    >>> plan = Timeline("a warm restart", steps=4, lr={"all": [1.0, 0.5, 1.0, 0.5]}, cycle_ends=[2, 4])
    >>> len(figure(plan).axes)
    1
    """

    title: str
    steps: int
    epoch_edges: list[int] = field(default_factory=list)
    lr: dict[str, list[float]] = field(default_factory=dict)
    momentum: list[float] | None = None
    cycle_ends: list[int] = field(default_factory=list)
    tracks: dict[str, Points] = field(default_factory=dict)
    stages: list[tuple[str, int, int]] = field(default_factory=list)
    applied_lr: dict[str, Points] = field(default_factory=dict)
    applied_momentum: Points = field(default_factory=list)
    loss: Points = field(default_factory=list)
    val: Points = field(default_factory=list)
    val_name: str = "val/acc"
    val_loss: Points = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps} is no run; a timeline needs at least 1 step.")
        plans = {f"lr[{name!r}]": plan for name, plan in self.lr.items()} | {"momentum": self.momentum}
        for name, plan in plans.items():
            if plan is not None and len(plan) != self.steps:
                raise ValueError(f"{name} has {len(plan)} values for {self.steps} steps; give one value per step.")

    @property
    def validation_loss(self) -> tuple[str, Points]:
        """What belongs beside the training loss: its name and its points, both empty where there is nothing."""
        name, points = (self.val_name, self.val) if self.val_name.endswith("loss") else ("val/loss", self.val_loss)
        return (name, points) if points else ("", [])


def draw(timeline: Timeline, path: str | os.PathLike) -> Path:
    """Write the timeline's picture to `path` as a PNG, atomically.

    >>> import tempfile
    >>> path = draw(Timeline("constant", steps=2, lr={"all": [0.1, 0.1]}), Path(tempfile.mkdtemp()) / "timeline.png")
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    return write_bytes(path, png(figure(timeline)))


def figure(timeline: Timeline) -> Figure:
    """The timeline as a matplotlib figure: one panel per thing that changes, over the same steps.

    >>> plan = Timeline("1cycle", steps=3, lr={"all": [0.1, 1.0, 0.1]}, momentum=[0.95, 0.85, 0.95])
    >>> [axes.get_ylabel() for axes in figure(plan).axes]
    ['learning rate', 'momentum']
    """
    painters = _painters(timeline)
    handles = _handles(timeline)
    heights = [2.7] + [1.35] * (len(painters) - 1)
    head = TITLE + ROW * math.ceil(len(handles) / ENTRIES)
    canvas = Figure(figsize=(9, sum(heights) + 0.7 + head), dpi=160, layout="constrained", facecolor="white")
    canvas.get_layout_engine().set(h_pad=0.06, hspace=0.02, rect=(0, 0, 1, 1 - head / canvas.get_figheight()))
    grid = canvas.subplots(len(painters), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (label, paint) in zip(grid, painters.items(), strict=True):
        _dress(axes, label, timeline)
        paint(axes, timeline)
    _time_axes(grid[0], grid[-1], timeline)
    _head(canvas, timeline.title, handles)
    return canvas


def _painters(timeline: Timeline) -> dict[str, Callable[[Axes, Timeline], None]]:
    """What there is to draw: a panel's label and the function that fills it."""
    painters = {"learning rate": panels.learning_rate}
    if _moves(timeline):
        painters["momentum"] = panels.momentum
    painters |= {name: panels.track(points) for name, points in timeline.tracks.items() if points}
    if timeline.loss or timeline.validation_loss[1]:
        painters["loss"] = panels.loss
    if timeline.val and not timeline.val_name.endswith("loss"):
        painters[timeline.val_name] = panels.validation
    return painters


def _moves(timeline: Timeline) -> bool:
    return len({*(timeline.momentum or []), *(value for _, value in timeline.applied_momentum)}) > 1


def _dress(axes: Axes, label: str, timeline: Timeline) -> None:
    axes.set_ylabel(label, color=INK, fontsize=9.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(colors=INK, labelsize=8.5, length=3)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    for _, start, stop in timeline.stages[::2]:
        axes.axvspan(start, stop, color=SHADE, linewidth=0, zorder=0, gid="stage")
    if len(timeline.cycle_ends) <= 60:  # beyond that the hairlines would be a gray wall
        for end in timeline.cycle_ends:
            axes.axvline(end, color=PALE, linewidth=0.7, linestyle=(0, (2, 3)), zorder=1, gid="cycle_end")


def _handles(timeline: Timeline) -> list[Line2D]:
    """The legend: the groups where there are several, then what the looks and marks mean."""
    handles = []
    if len(timeline.lr | timeline.applied_lr) > 1:
        handles += [Line2D([], [], color=color, linewidth=2, label=label) for label, color in panels.groups(timeline)]
    if timeline.lr and timeline.applied_lr:
        handles.append(Line2D([], [], color=PALE, alpha=0.45, linewidth=5, label="planned"))
        handles.append(Line2D([], [], color=INK, linewidth=1.3, label="applied"))
    if timeline.cycle_ends:
        handles.append(Line2D([], [], color=INK, marker="D", markersize=4.5, linestyle="none", label="cycle end"))
    return handles


def _head(canvas: Figure, title: str, handles: list[Line2D]) -> None:
    """The title and below it the legend, in the inches that the layout leaves free for them."""
    inch = 1 / canvas.get_figheight()
    look = {"ha": "left", "va": "top", "fontsize": 12, "fontweight": "bold", "color": INK, "parse_math": False}
    canvas.suptitle(title, x=0.012, y=1 - 0.08 * inch, **look).set_in_layout(False)
    if handles:
        look = {"ncols": ENTRIES, "frameon": False, "fontsize": 8.5, "handlelength": 1.6, "borderaxespad": 0}
        legend = canvas.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.008, 1 - TITLE * inch), **look)
        legend.set_in_layout(False)


def _time_axes(top: Axes, bottom: Axes, timeline: Timeline) -> None:
    """Epochs below, steps above; steps below where the epochs are not known."""
    margin = 0.008 * timeline.steps
    bottom.set_xlim(-margin, timeline.steps + margin)
    steps = MaxNLocator(8, integer=True, steps=[1, 2, 5, 10])
    if len(timeline.epoch_edges) < 2:
        bottom.xaxis.set_major_locator(steps)
        bottom.set_xlabel("step", color=INK, fontsize=9.5)
        return
    shown = range(0, len(timeline.epoch_edges), _stride(len(timeline.epoch_edges) - 1))
    bottom.set_xticks([timeline.epoch_edges[epoch] for epoch in shown], [str(epoch) for epoch in shown])
    bottom.set_xlabel("epoch", color=INK, fontsize=9.5)
    upper = top.secondary_xaxis("top")
    upper.xaxis.set_major_locator(steps)
    upper.set_xlabel("step", color=PALE, fontsize=8.5)
    upper.tick_params(colors=PALE, labelsize=8, length=3)
    upper.spines["top"].set_color("#cccccc")


def _stride(epochs: int, most: int = 15) -> int:
    """Epochs between two labels: the smallest of 1, 2, 5, 10, 20, ... that leaves at most `most` labels."""
    return next(n * 10**k for k in range(12) for n in (1, 2, 5) if epochs <= most * n * 10**k)
