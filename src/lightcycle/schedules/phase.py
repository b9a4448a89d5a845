"""Phases: the pieces that every schedule is made of."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

Curve = Callable[[float], float]
"""Position in a phase, 0 to 1, to a value."""


def curve(shape: Callable[..., float], start: float, end: float, **options: float) -> Curve:
    """A shape with its ends fixed: picklable, unlike a closure.

    >>> from lightcycle.schedules.shapes import linear
    >>> curve(linear, 1.0, 0.0)(0.25)
    0.75
    """
    return partial(shape, start, end, **options)


@dataclass(frozen=True)
class Phase:
    """One piece of a schedule.

    Args:
        share: its length, relative to the other phases.
        factor: position -> multiplier of the base learning rate.
        momentum: position -> momentum (SGD) or beta1 (Adam); ``None`` leaves it alone.
        reaches_end: the last step sits at position 1, so that the end value is trained with. Otherwise the position 1
            is where the next phase begins.
        ends_cycle: the model is worth keeping at the last step.
        by_epoch: the position runs with the epochs, not with the steps; they differ when epochs differ in length.
    """

    share: float
    factor: Curve
    momentum: Curve | None = None
    reaches_end: bool = False
    ends_cycle: bool = False
    by_epoch: bool = False


def low_end(share: float, factor: Curve, momentum: Curve | None = None) -> Phase:
    """A phase that anneals to its lowest point and ends a cycle there."""
    return Phase(share, factor, momentum, reaches_end=True, ends_cycle=True)


def scaled(pieces: list[Phase], total: float) -> list[Phase]:
    """The same phases with shares that add up to ``total``; those without any length are left out."""
    whole = sum(piece.share for piece in pieces)
    return [replace(piece, share=piece.share / whole * total) for piece in pieces if piece.share > 0]
