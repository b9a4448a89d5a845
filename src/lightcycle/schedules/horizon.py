"""The length of a run, in optimizer steps and in epochs: the only place where one is turned into the other."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate


@dataclass(frozen=True)
class Horizon:
    """The steps of one run, and where its epochs begin.

    Args:
        steps: optimizer steps of the run (not batches: with gradient accumulation several batches make a step).
        lengths: optimizer steps of each epoch, in order; the last epoch may reach past ``steps`` when the run is cut
            short. ``None`` when the data has no length, so that nobody knows what an epoch is.

    Raises:
        ValueError: if there is no step, an epoch without steps, or the epochs do not cover the run.

    >>> run = Horizon.of_epochs([20, 10, 10])
    >>> run.steps, run.epochs, run.step_at(1.5), run.epoch_at(25)
    (40, 3.0, 25, 1.5)
    """

    steps: int
    lengths: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"a run needs at least 1 optimizer step (got {self.steps}); give it data and epochs")
        if self.lengths is None:
            return
        if not self.lengths or min(self.lengths) < 1:
            raise ValueError(f"every epoch needs at least 1 optimizer step (got {self.lengths})")
        if sum(self.lengths[:-1]) >= self.steps or sum(self.lengths) < self.steps:
            raise ValueError(f"epochs of {self.lengths} steps do not add up to a run of {self.steps} steps")

    @classmethod
    def of_epochs(cls, lengths: Sequence[int]) -> "Horizon":
        """A run of whole epochs, each with its own number of steps."""
        return cls(sum(lengths), tuple(lengths))

    @classmethod
    def of_steps(cls, steps: int, steps_per_epoch: int | None = None) -> "Horizon":
        """A run of ``steps`` steps; with ``steps_per_epoch`` it also has epochs, the last one perhaps cut short.

        >>> Horizon.of_steps(25, steps_per_epoch=10).epochs
        2.5
        """
        if steps_per_epoch is None:
            return cls(steps)
        if steps_per_epoch < 1:
            raise ValueError(f"steps_per_epoch must be >= 1 (got {steps_per_epoch}); None has no epochs")
        return cls(steps, (steps_per_epoch,) * math.ceil(steps / steps_per_epoch))

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The first step of each epoch, then the border behind the last; empty when epochs are unknown."""
        return tuple(accumulate(self.lengths, initial=0)) if self.lengths else ()

    @property
    def epochs(self) -> float | None:
        """The length of the run in epochs, or ``None`` when nobody knows."""
        return self.epoch_at(self.steps) if self.lengths else None

    def epoch_at(self, step: int) -> float:
        """The time in epochs when ``step`` steps are done: whole numbers exactly on the borders."""
        if self.lengths is None:
            raise ValueError("this run has no epochs: its data has no length")
        index = min(bisect_right(self.starts, step) - 1, len(self.lengths) - 1)
        return index + (step - self.starts[index]) / self.lengths[index]

    def step_at(self, epoch: float) -> int:
        """The number of steps done at a time in epochs, rounded: 2.9999999999 is the border of epoch 3."""
        if self.lengths is None:
            raise ValueError("this run has no epochs: its data has no length")
        index = min(math.floor(epoch), len(self.lengths) - 1)
        return min(self.starts[index] + round((epoch - index) * self.lengths[index]), self.steps)

    def step_at_fraction(self, fraction: float) -> int:
        """The number of steps done at a fraction of the run; measured in epochs where there are epochs."""
        return self.step_at(fraction * self.epochs) if self.lengths else round(fraction * self.steps)
