"""The clock of a stage: how many optimizer steps this fit has, where it began, and how far it is.

Every callback that applies a schedule holds one; what it saves is enough to resume with the same numbers.
"""

import math
from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler

from lightcycle.schedules import Horizon


class StageClock:
    """Counts the optimizer steps of one fit, from its own start to its own end.

    Args:
        steps_per_epoch: optimizer steps of an epoch, or of each epoch; asked from the trainer when ``None``. Needed
            for data without a length, and for loaders that change their length between epochs.
    """

    def __init__(self, steps_per_epoch: int | Sequence[int] | None = None) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.first_step = 0
        self.first_epoch = 0
        self.horizon: Horizon | None = None

    def start(self, trainer: Trainer, *, resumed: bool) -> Horizon:
        """Reads the horizon from the trainer, in ``on_train_start``; a resumed fit began where it first began."""
        if not resumed:
            self.first_step, self.first_epoch = trainer.global_step, trainer.current_epoch
        self.horizon = horizon(trainer, self.first_step, self.first_epoch, self.steps_per_epoch)
        return self.horizon

    def step(self, trainer: Trainer) -> int:
        """Optimizer steps done in this fit."""
        return trainer.global_step - self.first_step

    def is_cut_short(self, trainer: Trainer) -> bool:
        """Whether ``max_steps`` or a debugging run ends the fit before its epochs are over; schedules then shrink."""
        plan, epochs = self.horizon, trainer.max_epochs if (trainer.max_epochs or -1) >= 0 else math.inf
        if trainer.fast_dev_run or plan.lengths is None or plan.steps < sum(plan.lengths):
            return True
        return len(plan.lengths) < epochs - self.first_epoch

    def state_dict(self) -> dict[str, Any]:
        """Where the fit began, and the horizon it was planned for."""
        plan = self.horizon
        return {
            "first_step": self.first_step,
            "first_epoch": self.first_epoch,
            "steps": plan.steps if plan else 0,
            "lengths": list(plan.lengths) if plan and plan.lengths else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> Horizon | None:
        """Restores the start and returns the horizon that was planned for then."""
        self.first_step, self.first_epoch = state["first_step"], state["first_epoch"]
        lengths = None if state["lengths"] is None else tuple(state["lengths"])
        return Horizon(state["steps"], lengths) if state["steps"] else None


def horizon(
    trainer: Trainer, first_step: int = 0, first_epoch: int = 0, steps_per_epoch: int | Sequence[int] | None = None
) -> Horizon:
    """The optimizer steps of the running fit: accumulation, ``limit_train_batches`` and ``max_steps`` included.

    Valid from ``on_train_start`` on, when the trainer knows its data.

    Raises:
        ValueError: when nothing bounds the run, or when ``steps_per_epoch`` has too few entries.
    """
    limit = trainer.max_steps - first_step if trainer.max_steps >= 0 else math.inf
    epochs = trainer.max_epochs - first_epoch if (trainer.max_epochs or -1) >= 0 else math.inf
    if math.isinf(limit) and (math.isinf(epochs) or (math.isinf(_batches(trainer)) and steps_per_epoch is None)):
        raise ValueError(
            "a schedule needs to know when the run ends, and neither max_steps nor epochs of known length say so; "
            "give the Trainer max_steps=10000, say"
        )
    if math.isinf(_batches(trainer)) and steps_per_epoch is None:
        return Horizon(limit)
    lengths, total = [], 0
    while total < limit and len(lengths) < epochs:
        lengths.append(_length(trainer, first_epoch + len(lengths), len(lengths), steps_per_epoch))
        total += lengths[-1]
    return Horizon(min(total, limit), tuple(lengths))


def _batches(trainer: Trainer) -> float:
    return trainer.num_training_batches


def _length(trainer: Trainer, epoch: int, index: int, steps_per_epoch: int | Sequence[int] | None) -> int:
    """Optimizer steps of one epoch; a partial last window of accumulated batches is a step too."""
    if isinstance(steps_per_epoch, int):
        return steps_per_epoch
    if steps_per_epoch is not None:
        if index >= len(steps_per_epoch):
            raise ValueError(
                f"steps_per_epoch has {len(steps_per_epoch)} entries and the run more epochs; give one for each epoch"
            )
        return steps_per_epoch[index]
    return math.ceil(_batches_at(trainer, epoch) / _accumulation(trainer, epoch))


def _batches_at(trainer: Trainer, epoch: int) -> float:
    """Batches of one epoch: of a loader whose batches change their size, as many as it says."""
    loader = trainer.train_dataloader
    if getattr(loader, "batch_sizes", None) is None:
        return _batches(trainer)
    length, limit = loader.length_at(epoch), trainer.limit_train_batches
    return min(length, limit) if isinstance(limit, int) else length


def _accumulation(trainer: Trainer, epoch: int) -> int:
    for callback in trainer.callbacks:
        if isinstance(callback, GradientAccumulationScheduler):
            return callback.get_accumulate_grad_batches(epoch)
    return trainer.accumulate_grad_batches
