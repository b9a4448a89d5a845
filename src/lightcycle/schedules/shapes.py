"""Shapes: pure functions ``(start, end, position) -> value``, with the position running from 0 to 1.

Both ends are exact: ``shape(a, b, 0) == a`` and ``shape(a, b, 1) == b`` for every shape that ends at ``b``.
"""

import math


def constant(start: float, end: float, position: float) -> float:
    """Stays at ``start``; ``end`` is not looked at."""
    return start


def linear(start: float, end: float, position: float) -> float:
    """``(1 - p) start + p end``.

    >>> linear(1.0, 3.0, 0.25)
    1.5
    """
    return (1.0 - position) * start + position * end


def cosine(start: float, end: float, position: float) -> float:
    """``end + (start - end) (1 + cos(pi p)) / 2``: flat at both ends (Loshchilov & Hutter, arXiv:1608.03983).

    >>> cosine(1.0, 0.0, 0.5)
    0.5
    """
    weight = (1.0 + math.cos(math.pi * position)) / 2.0
    return weight * start + (1.0 - weight) * end


def exponential(start: float, end: float, position: float) -> float:
    """``start (end / start)^p``: a straight line on a log axis. Both ends must be > 0.

    >>> round(exponential(1e-4, 1e-2, 0.5), 6)
    0.001
    """
    return end if position == 1.0 else start * (end / start) ** position


def polynomial(start: float, end: float, position: float, power: float) -> float:
    """``end + (start - end) (1 - p)^power``; power 1 is a straight line.

    >>> polynomial(1.0, 0.0, 0.5, power=2.0)
    0.25
    """
    weight = (1.0 - position) ** power
    return weight * start + (1.0 - weight) * end
