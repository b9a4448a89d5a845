"""How deep a network trains: time -> number of trainable layer groups."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from lightcycle.schedules.horizon import Horizon

KEY = "callbacks.gradual_unfreezing"
PLANS = ("every", "at", "fractions", "all_at")


@dataclass(kw_only=True)
class Unfreezing:
    """The head trains from the start, the groups below it join one after the other: ``depth = start + unfreezes done``.

    At most one of the four plans is given; without any, one group joins after every epoch, as in ULMFiT.

    Args:
        every: epochs between two unfreezes, one group each.
        at: the epochs of the unfreezes, one group each; an epoch that is written twice brings two groups, and an empty
            list none: what trains at the start is all that trains.
        fractions: the same as fractions of the run, between 0 and 1.
        all_at: the epoch at which all groups join at once.
        start: trainable groups at the beginning, counted from the head; 1 is the head.

    Raises:
        ValueError: in a sentence, when a value is out of range or two plans are given.

    >>> plan = Unfreezing(at=[1, 2.5]).bind(Horizon.of_epochs([10] * 4), groups=5)
    >>> plan.steps, [plan.depth(step) for step in (0, 9, 10, 24, 25, 39)]
    ((10, 25), [1, 1, 2, 2, 3, 3])

    References: Howard & Ruder, Universal language model fine-tuning, arXiv:1801.06146, section 3.3.
    """

    every: float | None = None
    at: list[float] | None = None
    fractions: list[float] | None = None
    all_at: float | None = None
    start: int = 1

    def __post_init__(self) -> None:
        given = [name for name in PLANS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{KEY} takes one of {', '.join(PLANS)} (got {' and '.join(given)}); drop one")
        if not given:
            self.every = 1.0
        if isinstance(self.start, bool) or not isinstance(self.start, int) or self.start < 1:
            raise ValueError(f"{KEY}.start must be a whole number >= 1 (got {self.start!r}); 1 is the head alone")
        self._check_epochs()
        if self.fractions is not None and not _rises(self.fractions, below=1.0):
            raise ValueError(
                f"{KEY}.fractions must be numbers > 0 and < 1 that do not fall (got {self.fractions!r}); try [0.25,0.5]"
            )

    def _check_epochs(self) -> None:
        for name, hint in (("every", "1 is a group after every epoch"), ("all_at", "1 trains the head alone first")):
            value = getattr(self, name)
            if value is not None and not _rises([value]):
                raise ValueError(f"{KEY}.{name} must be epochs > 0 (got {value!r}); {hint}")
        if self.at is not None and self.at != [] and not _rises(self.at):
            raise ValueError(f"{KEY}.at must be epochs > 0 that do not fall (got {self.at!r}); try [1,2,3]")

    def bind(self, horizon: Horizon, groups: int, *, cut: bool = False) -> "BoundUnfreezing":
        """The plan over the steps of one run, for a network of so many layer groups.

        Raises:
            ValueError: if there is nothing or too little to unfreeze, if an unfreeze would come after the run's end
                (``cut=True``, for runs that are cut short, leaves it out), or if epochs are asked of a run without.
        """
        if not self.start < groups:
            raise ValueError(
                f"{KEY}.start must be < {groups}, the number of layer groups (got {self.start}); "
                "otherwise nothing is frozen, and the callback can go"
            )
        steps = self._steps(horizon, groups - self.start)
        if len(steps) > groups - self.start:
            raise ValueError(
                f"{KEY} plans {len(steps)} unfreezes, and above the {self.start} that train at the start there are "
                f"{groups - self.start} layer groups left; drop {len(steps) - groups + self.start}"
            )
        if steps and not cut and steps[-1] >= horizon.steps:
            raise ValueError(self._too_late(horizon, steps))
        return BoundUnfreezing(tuple(step for step in steps if step < horizon.steps), self.start)

    def _steps(self, horizon: Horizon, frozen: int) -> list[int]:
        """The steps done at each unfreeze, in order."""
        if self.fractions is not None:
            return [horizon.step_at_fraction(fraction) for fraction in self.fractions]
        if horizon.epochs is None:
            plan = next(name for name in PLANS if getattr(self, name) is not None)
            raise ValueError(
                f"{KEY}.{plan} is in epochs and this run has none, because its data has no length: use fractions, or "
                "say how many optimizer steps make an epoch (GradualUnfreezing(..., steps_per_epoch=500))"
            )
        if self.all_at is not None:
            return [horizon.step_at(self.all_at)] * frozen
        epochs = self.at if self.at is not None else [self.every * n for n in range(1, frozen + 1)]
        return [horizon.step_at(epoch) for epoch in epochs]

    def _too_late(self, horizon: Horizon, steps: Sequence[int]) -> str:
        late = sum(step >= horizon.steps for step in steps)
        length = f"{horizon.steps} steps" if horizon.epochs is None else f"{horizon.epochs:g} epochs"
        return (
            f"{late} of the {len(steps)} unfreezes of {KEY} would come at or after the end of a run of {length}; make "
            "fewer layer groups, unfreeze earlier, or use fractions of the run such as fractions=[0.25,0.5]"
        )


@dataclass(frozen=True)
class BoundUnfreezing:
    """An unfreezing over the steps of a run.

    Args:
        steps: optimizer steps done when a group joins, in order; equal numbers are groups that join together.
        start: trainable groups before the first.
    """

    steps: tuple[int, ...]
    start: int = 1

    def depth(self, step: int) -> int:
        """Trainable layer groups, counted from the head, at the step with this index."""
        return self.start + bisect_right(self.steps, step)

    @property
    def points(self) -> list[tuple[int, int]]:
        """(step from which it holds, depth): what a picture needs.

        >>> BoundUnfreezing((4, 8, 8)).points
        [(0, 1), (4, 2), (8, 4)]
        """
        return [(step, self.depth(step)) for step in sorted({0, *self.steps})]


def _rises(values: Sequence[float], below: float = math.inf) -> bool:
    """Whether these are numbers above 0 that never fall."""
    numbers = isinstance(values, list | tuple) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values
    )
    return bool(numbers and values) and values[0] > 0 and values[-1] < below and list(values) == sorted(values)
