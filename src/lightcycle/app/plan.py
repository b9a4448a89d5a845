"""The plan of a run, before it: its horizon and its picture, from counts alone. No torch, no pixels."""

import math
from typing import Any

from lightcycle.app import layers, resizing
from lightcycle.app.settings import Settings
from lightcycle.data.count import Counts
from lightcycle.report.timeline import Timeline
from lightcycle.schedules import BoundSchedule, Horizon


def batches(settings: Settings, counts: Counts, batch_size: int | None = None) -> dict[str, int]:
    """Whole batches of an epoch of each part, as the loaders have them; training ones of ``batch_size`` if given."""
    data = settings.data
    at_once, size = data.eval_batch_size or 2 * data.batch_size, batch_size or data.batch_size
    train = max(counts.train // size, 1) if data.drop_last else math.ceil(counts.train / size)
    return {"train": train, "val": math.ceil(counts.val / at_once), "test": math.ceil(counts.test / at_once)}


def limited(settings: Settings, part: str, whole: int) -> int:
    """What the trainer's limits leave of so many batches.

    Raises:
        ValueError: where a share of them is less than one.
    """
    trainer = settings.trainer
    name = "overfit_batches" if trainer.overfit_batches and part != "test" else f"limit_{part}_batches"
    limit = getattr(trainer, name)
    left = min(whole, limit) if isinstance(limit, int) else int(whole * limit)
    if left < 1 and whole and limit:
        raise ValueError(
            f"trainer.{name}={limit} of {whole} {part} batches leaves none; give a larger share, or a whole number"
        )
    return left


def horizon(settings: Settings, counts: Counts) -> Horizon:
    """The optimizer steps of the run."""

    def steps_in(batch_size: int) -> int:
        left = {part: limited(settings, part, whole) for part, whole in batches(settings, counts, batch_size).items()}
        return math.ceil(left["train"] / settings.trainer.accumulate_grad_batches)

    return resizing.horizon(settings, counts, steps_in)


def bound(settings: Settings, run: Horizon) -> BoundSchedule:
    """The schedule over that horizon; a run cut short by ``max_steps`` has the whole of it, in small.

    Raises:
        ValueError: where it does not fit, with what makes the run as long as it is; where a cycle cannot be judged.
    """
    try:
        plan = settings.schedule.bind(run, stretch=settings.cuts_short(run))
    except ValueError as error:
        raise ValueError(f"{error} ({_length(settings, run)})") from error
    _check_ends(settings, plan)
    return plan


def _check_ends(settings: Settings, plan: BoundSchedule) -> None:
    """A cycle that ends inside an epoch has no validation at its end, by which over-fitting could be judged."""
    inside = [end for end in plan.cycle_ends if end not in plan.horizon.starts]
    if settings.config.callbacks.get("stop_on_overfitting") and inside and not settings.cuts_short(plan.horizon):
        raise ValueError(
            "until: overfitting (callbacks.stop_on_overfitting) judges a cycle by the validation at its end, and a "
            f"cycle of stage {settings.name} ends inside an epoch, after {inside[0]} steps; give cycles of whole epochs"
        )


def _length(settings: Settings, run: Horizon) -> str:
    """The keys behind the steps of a run, for an error."""
    if run.steps == settings.trainer.max_steps:
        return f"trainer.max_steps={run.steps}"
    length = f"{run.lengths[0]} step{'s' * (run.lengths[0] != 1)} an epoch"
    return f"epochs={settings.epochs:g}, data.batch_size={settings.data.batch_size}: {length}"


def timeline(settings: Settings, plan: BoundSchedule, title: str, rates: dict[str, float] | None = None) -> Timeline:
    """The picture's data: rates of each layer group, momentum, depth, epochs and cycle ends."""
    run = plan.horizon
    factors = [plan.factor(step) for step in range(run.steps)]
    momentum = [plan.momentum(step) for step in range(run.steps)] if plan.momentum(0) is not None else None
    return Timeline(
        title=title,
        steps=run.steps,
        epoch_edges=[*run.starts[:-1], run.steps],
        lr={name: [lr * factor for factor in factors] for name, lr in (rates or {"all": settings.lr}).items()},
        momentum=momentum if has_momentum(settings) else None,
        cycle_ends=list(plan.cycle_ends),
        tracks={
            "groups that train": layers.depth(settings, plan, len(rates or {})),
            "pixels": resizing.pixels(settings, run),
        },
    )


def has_momentum(settings: Settings) -> bool:
    """Whether the optimizer has a momentum that a schedule can move."""
    optimizer = settings.optimizer
    return hasattr(optimizer, "beta1") or getattr(optimizer, "momentum", 0.0) > 0.0


def title(settings: Settings, choices: dict[str, str]) -> str:
    """One line that says which run this is."""
    names = " · ".join(choices.get(group, "?") for group in ("schedule", "data", "model", "optimizer"))
    return f"{names} · lr {layers.describe(settings)} · seed {settings.seed}"


def describe(settings: Settings, plan: BoundSchedule, counts: Counts) -> str:
    """The run's length in epochs, steps and images, in a line."""
    run = plan.horizon
    cycles = f", cycles end at steps {', '.join(map(str, plan.cycle_ends))}" if len(plan.cycle_ends) > 1 else ""
    return (
        f"{run.epochs:g} epoch{'s' * (run.epochs != 1)}, {run.steps:,} steps, "
        f"about {images(settings, counts, run.steps):,} images "
        f"({counts.train:,} training, {counts.val:,} validation, {counts.test:,} test images){cycles}"
    )


def images(settings: Settings, counts: Counts, steps: int, first: int = 0) -> int:
    """Training images in the steps from ``first`` on; a smaller last batch or window counts as a whole one."""
    return resizing.images(settings, counts, horizon(settings, counts), steps, first)


def chosen(choices: Any) -> dict[str, str]:
    """Which option each of our groups has, Hydra's own groups left out."""
    return {group: str(option) for group, option in choices.items() if "hydra" not in group}
