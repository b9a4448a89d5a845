"""The timeline of a run of stages: the stages' own, one behind the other. No torch."""

import math
from collections.abc import Sequence
from dataclasses import replace

from lightcycle.recipes.record import StageRecord
from lightcycle.report.timeline import Points, Timeline
from lightcycle.schedules import BoundSchedule, Horizon, Schedule


def applied(record: StageRecord, schedule: Schedule, title: str = "", moves: bool = True) -> Timeline:
    """The plan of a stage, and over it what the optimizer really had and the losses it met; steps are the stage's own.

    Args:
        record: of the stage.
        schedule: of the stage.
        title: of the picture.
        moves: whether the optimizer has a momentum that a schedule can move.
    """
    plan, start, places = bound(record, schedule), record.first_step, lines(record.groups, record.ratios)
    run = plan.horizon
    base = [_at(record.rates, start + step) * plan.factor(step) for step in range(run.steps)]
    momentum = [plan.momentum(step) for step in range(run.steps)]
    points = [(step - start, *rest) for step, *rest in record.points]
    return Timeline(
        title=title,
        steps=run.steps,
        epoch_edges=[*run.starts[:-1], run.steps] if run.lengths else [],
        lr={name: [record.ratios[i] * rate for rate in base] for name, i in places.items()},
        momentum=momentum if moves and momentum[0] is not None else None,
        cycle_ends=list(plan.cycle_ends),
        tracks={"groups that train": [(step, depth) for step, depth in record.depth]},
        applied_lr={name: [(p[0], p[1][i]) for p in points] for name, i in places.items()},
        applied_momentum=[(p[0], p[2]) for p in points if p[2] is not None],
        loss=[(p[0], p[3]) for p in points],
        val=[(step - start, value) for step, value in record.validations],
        val_name=record.watch,
        val_loss=[(step - start, value) for step, value in record.val_losses],
    )


def bound(record: StageRecord, schedule: Schedule) -> BoundSchedule:
    """The plan that a stage had."""
    run = Horizon(record.planned, None if record.lengths is None else tuple(record.lengths))
    return schedule.bind(run, stretch=record.stretch)


def lines(groups: Sequence[str], ratios: Sequence[float]) -> dict[str, int]:
    """What has a line in the picture, and the place of its rate: layer groups, or the optimizer's groups without any.

    Which parameters decay is no matter of rates: where that alone tells groups apart, one line stands for all.

    >>> lines(["stem/decay", "stem/no_decay", "head/decay"], [0.1, 0.1, 1.0]), lines(["decay", "no_decay"], [1.0, 1.0])
    ({'stem': 0, 'head': 2}, {'all': 0})
    """
    if {*groups} <= {"decay", "no_decay"} and len({*ratios}) == 1:
        return {"all": 0}
    names = [name.rpartition("/")[0] or name for name in groups]
    return {name: names.index(name) for name in dict.fromkeys(names)}


def cut(timeline: Timeline, steps: int) -> Timeline:
    """The first steps of a timeline, for a stage that ended before its plan did."""
    return replace(
        timeline,
        steps=steps,
        epoch_edges=sorted({*(edge for edge in timeline.epoch_edges if edge < steps), steps}),
        lr={name: plan[:steps] for name, plan in timeline.lr.items()},
        momentum=timeline.momentum and timeline.momentum[:steps],
        cycle_ends=[end for end in timeline.cycle_ends if end <= steps],
        tracks={name: [p for p in points if p[0] < steps] for name, points in timeline.tracks.items()},
    )


GAP = [(0, math.nan)]
"""The track of a stage in which nobody says: the line of the stage before does not go on through it."""


def joined(title: str, names: Sequence[str], timelines: Sequence[Timeline]) -> Timeline:
    """One timeline over all stages, which are shaded and named; a single stage stays as it is.

    A group that a stage does not have has no rate there.

    >>> one = Timeline("", steps=2, lr={"head": [0.1, 0.2]}, cycle_ends=[2])
    >>> both = joined("a run", ["first", "second"], [one, one])
    >>> both.steps, both.lr, both.cycle_ends, both.stages
    (4, {'head': [0.1, 0.2, 0.1, 0.2]}, [2, 4], [('first', 0, 2), ('second', 2, 4)])
    """
    if len(timelines) == 1:
        return replace(timelines[0], title=title)
    starts = [sum(t.steps for t in timelines[:i]) for i in range(len(timelines))]
    parts = list(zip(starts, timelines, strict=True))
    known = all(t.epoch_edges for t in timelines)
    return Timeline(
        title=title,
        steps=sum(t.steps for t in timelines),
        epoch_edges=sorted({start + edge for start, t in parts for edge in t.epoch_edges}) if known else [],
        lr={name: _row([t.lr.get(name) for t in timelines], timelines) for name in _names(parts, "lr")},
        momentum=_row([t.momentum for t in timelines], timelines) if any(t.momentum for t in timelines) else None,
        cycle_ends=[start + end for start, t in parts for end in t.cycle_ends],
        tracks={name: _shifted(parts, lambda t, n=name: t.tracks.get(n) or GAP) for name in _names(parts, "tracks")},
        stages=[(name, start, start + t.steps) for name, (start, t) in zip(names, parts, strict=True)],
        applied_lr={
            name: _shifted(parts, lambda t, n=name: t.applied_lr.get(n, [])) for name in _names(parts, "applied_lr")
        },
        applied_momentum=_shifted(parts, lambda t: t.applied_momentum),
        loss=_shifted(parts, lambda t: t.loss),
        val=_shifted(parts, lambda t: t.val),
        val_name=timelines[-1].val_name,
        val_loss=_shifted(parts, lambda t: t.val_loss),
    )


def _names(parts: list[tuple[int, Timeline]], what: str) -> list[str]:
    return list(dict.fromkeys(name for _, t in parts for name, points in getattr(t, what).items() if points))


def _row(plans: Sequence[list[float] | None], timelines: Sequence[Timeline]) -> list[float]:
    """The plans behind each other, with gaps where a stage has none."""
    pairs = zip(plans, timelines, strict=True)
    return [value for plan, t in pairs for value in (plan or [math.nan] * t.steps)]


def _shifted(parts: list[tuple[int, Timeline]], points_of) -> Points:
    return [(start + step, value) for start, t in parts for step, value in points_of(t)]


def _at(rates: Sequence[tuple[int, float]], step: int) -> float:
    """The base rate that holds at a step."""
    return next((rate for at, rate in reversed(rates) if at <= step), rates[0][1])
