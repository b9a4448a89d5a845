"""What each cycle ended with."""

from collections.abc import Sequence
from typing import Any


def by_cycle(
    cycle_ends: Sequence[int], validations: Sequence[tuple[int, float]], metric: str = "val/acc"
) -> list[dict[str, Any]]:
    """One record per cycle: the last validation inside it, which is the one at its end where that is an epoch's.

    Args:
        cycle_ends: steps done when each cycle ends.
        validations: (steps done, value of the metric), in order.
        metric: its name.

    >>> by_cycle([10, 30], [(10, 0.8), (20, 0.7), (30, 0.9)])
    [{'cycle': 1, 'steps': 10, 'val/acc': 0.8}, {'cycle': 2, 'steps': 30, 'val/acc': 0.9}]
    """
    starts = [0, *cycle_ends]
    return [
        {"cycle": k + 1, "steps": end, metric: next((v for at, v in reversed(validations) if start < at <= end), None)}
        for k, (start, end) in enumerate(zip(starts, cycle_ends, strict=False))
    ]
