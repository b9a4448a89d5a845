"""The plan of a run of stages, before it and in its picture. No torch, no pixels."""

import math
from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from lightcycle.app import layers, recipe, warn
from lightcycle.app.plan import bound, chosen, describe, horizon, timeline, title
from lightcycle.app.settings import Settings
from lightcycle.data.count import Counts, count
from lightcycle.recipes.timeline import joined
from lightcycle.report.timeline import Timeline, draw
from lightcycle.schedules import BoundSchedule


def show(config: DictConfig) -> None:
    """Writes ``timeline.png`` and prints the run's length."""
    stages = recipe.read(config)
    counts = counted(stages)
    plans = [bound(s, horizon(s, c)) for s, c in zip(stages, counts, strict=True)]
    line = headline(stages, chosen(HydraConfig.get().runtime.choices))
    rates = [layers.planned(s, c) for s, c in zip(stages, counts, strict=True)]
    path = draw(planned(stages, plans, line, rates), Path(HydraConfig.get().runtime.output_dir) / "timeline.png")
    print(line, *described(stages, plans, counts), path, sep="\n")


def counted(stages: list[Settings]) -> list[Counts]:
    """What there is for each stage to see; stages of one set share the looking."""
    first = count(stages[0].data)
    return [first if s.data == stages[0].data else replace(first, size=count(s.data).size) for s in stages]


def planned(stages: list[Settings], plans: list[BoundSchedule], line: str, rates: list[dict[str, float]]) -> Timeline:
    """The picture of all stages before the first step."""
    pieces = [timeline(s, plan, line, of) for s, plan, of in zip(stages, plans, rates, strict=True)]
    return whole(stages, pieces, " · ".join([line, *_drawn_at(stages)]))


def whole(stages: list[Settings], pieces: list[Timeline], line: str) -> Timeline:
    """The stages' timelines behind each other; what moves in one of them is drawn for all."""
    groups = max(len(piece.lr) for piece in pieces)
    sides = [_side(s) for s in stages]
    usual = {
        "groups that train": [1 if s.features == "cached" else groups for s in stages],
        "pixels": sides,
    }
    for name, values in usual.items():
        moves = any(piece.tracks.get(name) for piece in pieces) or (name == "pixels" and len(set(sides)) > 1)
        for piece, value in zip(pieces, values, strict=True):
            if moves and len(pieces) > 1 and value and not piece.tracks.get(name):
                piece.tracks[name] = [(0, value)]
    return joined(line, [s.name for s in stages], pieces)


def _side(settings: Settings) -> float | None:
    """The side of the images, of a rectangle the mean; `None` where the set's own is taken."""
    size = settings.data.size
    sides = [size] if isinstance(size, int) else list(size or [])
    return round(math.prod(sides) ** (1 / len(sides)), 1) if sides else None


def headline(stages: list[Settings], choices: dict[str, str]) -> str:
    """One line that says which run this is; of several stages, each has a schedule and a rate of its own."""
    if len(stages) == 1:
        return title(stages[0], choices)
    recipe = choices.get("recipe", "single")
    first = f"{len(stages)} stages" if recipe == "single" else recipe
    names = " · ".join([first, *(choices.get(group, "?") for group in ("data", "model", "optimizer"))])
    return f"{names} · seed {stages[0].seed}"


def described(stages: list[Settings], plans: list[BoundSchedule], counts: list[Counts]) -> list[str]:
    """The length of every stage, in a line each; then what of it is no more than a guess, and what is seldom meant."""
    lines = [describe(*each) for each in zip(stages, plans, counts, strict=True)]
    after = [*(f"lr auto is {rate} until it is found" for rate in _drawn_at(stages)), *warn.lines(stages, counts)]
    if len(lines) == 1:
        return [*lines, *after]
    names = [f"{s.index + 1}. {s.name}: {_way(s)}" for s in stages]
    return [f"{n}; {line.replace(_of(counts[0]), '')}" for n, line in zip(names, lines, strict=True)] + after


def _drawn_at(stages: list[Settings]) -> list[str]:
    """What ``lr=auto`` is in a picture, since nobody knows it yet; nothing without it."""
    rates = dict.fromkeys(f"{s.lr:.3g}" for s in stages if s.finds_lr)
    return [f"drawn at lr {' and '.join(rates)}"] if rates else []


def _way(settings: Settings) -> str:
    """How a stage trains, in a few words."""
    lr = "that of the stage before" if settings.carries and not settings.finds_lr else layers.describe(settings)
    words = [type(settings.schedule).__name__, f"lr {lr}"]
    words += ["cached features"] if settings.features == "cached" else []
    schedule = layers.unfreezing(settings.config)
    words += [f"depth {schedule.start}"] if schedule is not None and schedule.at == [] else []
    words += ["until over-fitting"] if settings.config.callbacks.get("stop_on_overfitting") else []
    return ", ".join(words)


def _of(counts: Counts) -> str:
    return f" ({counts.train:,} training, {counts.val:,} validation, {counts.test:,} test images)"
