"""Annealing policies: the rate goes down (or stays), and does not come back."""

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from lightcycle.schedules import shapes
from lightcycle.schedules.base import Schedule, needs_epochs
from lightcycle.schedules.checks import above, at_least, from_zero_to_below, one_of, within
from lightcycle.schedules.phase import Phase, curve, low_end


@dataclass(kw_only=True)
class Constant(Schedule):
    """The base rate, all the way: ``a(t) = a0``.

    >>> Constant()(0.3)
    1.0
    """

    def phases(self, epochs: float | None, steps: int | None) -> list[Phase]:
        return [Phase(1.0, curve(shapes.constant, 1.0, 1.0))]


def staircase(borders: list[float], factor: float, epochs: float) -> list[Phase]:
    """One flat phase between each two borders (in epochs), each ``factor`` times the one before."""
    inside = [0.0, *(border for border in sorted(borders) if 0.0 < border < epochs), epochs]
    levels = [factor ** sum(border <= start for border in borders) for start in inside[:-1]]
    return [
        Phase(end - start, curve(shapes.constant, level, level))
        for start, end, level in zip(inside[:-1], inside[1:], levels, strict=True)
    ]


@dataclass(kw_only=True)
class StepDecay(Schedule):
    """Drops the rate every ``every`` epochs, ``a(e) = a0 factor^floor(e / every)``, or at milestones.

    Args:
        every: epochs between two drops.
        milestones: the epochs of the drops instead, counted behind the warm-up; then ``every`` is not used.
        factor: what each drop multiplies the rate by.

    >>> [StepDecay(every=2, factor=0.1)(t, epochs=4) for t in (0.0, 0.49, 0.5)]
    [1.0, 1.0, 0.1]

    References: the schedule of He et al., Deep residual learning, arXiv:1512.03385.
    """

    every: float = 2.0
    milestones: list[float] | None = None
    factor: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        above(self, "every", 0.0, "30 drops the rate after every 30 epochs")
        above(self, "factor", 0.0, "0.1 divides the rate by ten")
        if self.milestones is not None and (
            not self.milestones or not all(early < late for early, late in pairwise(self.milestones))
        ):
            raise ValueError(f"schedule.milestones must be epochs that increase (got {self.milestones}); try [3,5]")
        if self.milestones and not self.milestones[0] > 0:
            raise ValueError(f"schedule.milestones must be > 0 (got {self.milestones}); the first drop ends a phase")

    def misfit(self, epochs: float) -> str | None:
        if self.milestones and self.milestones[-1] >= epochs - self.warmup:
            behind = f" behind its warm-up of {self.warmup:g}" if self.warmup else ""
            return (
                f"schedule.milestones={self.milestones} reaches past the end of a run of {epochs:g} epochs{behind}; "
                "drop the milestones that never come, or make the run longer"
            )
        return None

    def phases(self, epochs: float | None, steps: int | None) -> list[Phase]:
        epochs = needs_epochs(epochs, "milestones" if self.milestones else "every")
        drops = self.milestones or [self.every * n for n in range(1, math.ceil(epochs / self.every))]
        return staircase(drops, self.factor, epochs)


class _Rate(Schedule):
    """What ``Exponential`` and ``InverseTime`` share: a rate k per epoch or per step."""

    def _elapsed(self, epochs: float | None, steps: int | None) -> float:
        """The run's length in the unit of k."""
        if self.unit == "epoch":
            return needs_epochs(epochs, "k")
        if steps is None:
            raise ValueError("schedule.k is per step here: say how many steps the run has (steps=...)")
        return steps

    def _check(self, typical: str) -> None:
        at_least(self, "k", 0.0, typical)
        one_of(self, "unit", ("epoch", "step"))


def _exp_decay(exponent: float, position: float) -> float:
    return math.exp(-exponent * position)


def _inverse(scale: float, position: float) -> float:
    return 1.0 / (1.0 + scale * position)


@dataclass(kw_only=True)
class ExponentialDecay(_Rate):
    """``a(t) = a0 e^(-k t)``, with t in epochs (fractions of an epoch count) or in steps.

    Args:
        k: decay rate per unit; 0.69 halves the rate in one unit.
        unit: ``epoch`` or ``step``.

    >>> round(ExponentialDecay(k=0.5)(0.5, epochs=4), 4)
    0.3679
    """

    k: float = 0.5
    unit: str = "epoch"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("0.69 halves the rate in one unit")

    def phases(self, epochs: float | None, steps: int | None) -> list[Phase]:
        decay = partial(_exp_decay, self.k * self._elapsed(epochs, steps))
        return [Phase(1.0, decay, by_epoch=self.unit == "epoch")]


@dataclass(kw_only=True)
class InverseTimeDecay(_Rate):
    """``a(t) = a0 / (1 + k t)``, with t in epochs (fractions of an epoch count) or in steps.

    Args:
        k: decay rate per unit; with 1.0 per epoch the rate is a half after one epoch, a third after two.
        unit: ``epoch`` or ``step``.

    >>> InverseTimeDecay(k=1.0)(0.75, epochs=4)
    0.25

    References: Robbins & Monro (1951), A stochastic approximation method.
    """

    k: float = 1.0
    unit: str = "epoch"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("1.0 halves the rate after the first unit")

    def phases(self, epochs: float | None, steps: int | None) -> list[Phase]:
        decay = partial(_inverse, self.k * self._elapsed(epochs, steps))
        return [Phase(1.0, decay, by_epoch=self.unit == "epoch")]


@dataclass(kw_only=True)
class CosineAnnealing(Schedule):
    """One half cosine from the base rate to ``final`` times it: ``a(t) = final + (1 - final) (1 + cos(pi t)) / 2``.

    Args:
        final: multiplier at the last step.

    >>> round(CosineAnnealing()(0.25), 4)
    0.8536

    References: Loshchilov & Hutter, SGDR, arXiv:1608.03983 (without restarts).
    """

    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, "final", 0.0, 1.0, "0 anneals to nothing")

    def phases(self, epochs: float | None, steps: int | None) -> list[Phase]:
        return [low_end(1.0, curve(shapes.cosine, 1.0, self.final))]


@dataclass(kw_only=True)
class Polynomial(Schedule):
    """``a(t) = final + (1 - final) (1 - t)^power``; power 1 is a straight line down.

    Args:
        power: > 0; 0.9 is DeepLab's.
        final: multiplier at the last step.

    >>> Polynomial(power=2.0)(0.5)
    0.25

    References: Chen et al., DeepLab, arXiv:1606.00915.
    """

    power: float = 1.0
    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        above(self, "power", 0.0, "1 is a straight line, 2 is steeper at the start")
        within(self, "final", 0.0, 1.0, "0 anneals to nothing")

    def phases(self, epochs: float | None, steps: int | None) -> list[Phase]:
        return [low_end(1.0, curve(shapes.polynomial, 1.0, self.final, power=self.power))]


@dataclass(kw_only=True)
class FlatCosine(Schedule):
    """The base rate for ``pct_start`` of the run, then a half cosine down to ``1 / div_final`` (fast.ai's flat_cos).

    Args:
        pct_start: fraction of the run at the base rate.
        div_final: the last step trains at the base rate divided by this.

    >>> [round(FlatCosine()(t), 3) for t in (0.0, 0.75, 0.875)]
    [1.0, 1.0, 0.5]
    """

    pct_start: float = 0.75
    div_final: float = 1e5

    def __post_init__(self) -> None:
        super().__post_init__()
        from_zero_to_below(self, "pct_start", 1.0, "0.75 is fast.ai's")
        at_least(self, "div_final", 1.0, "1e5 ends at a hundred-thousandth of the rate")

    def phases(self, epochs: float | None, steps: int | None) -> list[Phase]:
        return [
            Phase(self.pct_start, curve(shapes.constant, 1.0, 1.0)),
            low_end(1.0 - self.pct_start, curve(shapes.cosine, 1.0, 1.0 / self.div_final)),
        ]
