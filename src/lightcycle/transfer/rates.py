"""Discriminative learning rates: one base rate for each layer group. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightcycle.transfer.groups import LayerGroup


def rates(
    lr: float | Sequence[float] | Mapping[str, float], groups: Sequence[LayerGroup], decay_per_group: float = 1.0
) -> list[float]:
    """One rate for each group, the first nearest the input: ``lr_i = lr / decay_per_group^(n - 1 - i)`` of a number.

    Args:
        lr: the head's rate, a list with a rate for each group, or ``{"first": ..., "last": ...}`` with equal factors
            between neighbors.
        groups: the layer groups.
        decay_per_group: how many times lower each group's rate is than the next higher's, for a number: 2.6 in ULMFiT,
            3 to 10 in the fast.ai lessons.

    Raises:
        ValueError: a rate that is none, or as many rates as there are no groups; the groups are in the error's notes.

    >>> from lightcycle.transfer.groups import LayerGroup
    >>> groups = [LayerGroup(name, ()) for name in ("stem", "body", "head")]
    >>> rates(0.01, groups, decay_per_group=10), rates({"first": 1e-4, "last": 1e-2}, groups)
    ([0.0001, 0.001, 0.01], [0.0001, 0.001, 0.01])

    References: Howard & Ruder, Universal language model fine-tuning, arXiv:1801.06146, section 3.2.
    """
    check_lr(lr)
    check_decay(lr, decay_per_group)
    n = len(groups)
    if isinstance(lr, Mapping):
        return geometric(float(lr["first"]), float(lr["last"]), n)
    if not isinstance(lr, Sequence):
        return geometric(lr / decay_per_group ** (n - 1), float(lr), n)
    if len(lr) != n:
        error = ValueError(f"lr has {len(lr)} rates and the net {n} layer groups; give one rate for each group")
        error.add_note(_listed(groups))
        raise error
    return [float(rate) for rate in lr]


def geometric(first: float, last: float, n: int) -> list[float]:
    """``n`` rates from ``first`` to ``last``, each the same factor times the one before; a single one is ``last``.

    >>> geometric(1.0, 4.0, 3)
    [1.0, 2.0, 4.0]
    """
    between = [first * (last / first) ** (i / (n - 1)) for i in range(1, n - 1)]
    return [*([first] if n > 1 else []), *between, last]


def check_lr(lr: Any) -> None:
    """Raises a sentence unless ``lr`` is a rate, rates, or a first and a last one."""
    if isinstance(lr, Mapping):
        fine = set(lr) == {"first", "last"} and all(is_rate(rate) for rate in lr.values())
    elif isinstance(lr, Sequence) and not isinstance(lr, str):
        fine = len(lr) > 0 and all(is_rate(rate) for rate in lr)
    else:
        fine = is_rate(lr)
    if not fine:
        raise ValueError(
            f"lr must be a number > 0, one for each layer group, or a first and a last one (got {lr!r}); try lr=0.1, "
            "lr=[1e-4,1e-3,1e-2] or lr={first: 1e-5, last: 1e-3}"
        )


def check_decay(lr: Any, decay_per_group: float) -> None:
    """Raises a sentence unless ``decay_per_group`` is in range, and alone in saying what the groups' rates are."""
    number = isinstance(decay_per_group, int | float) and not isinstance(decay_per_group, bool)
    if not number or not 1.0 <= decay_per_group < math.inf:
        raise ValueError(f"lr_decay_per_group must be >= 1 (got {decay_per_group!r}); 3 is usual, 1 is off")
    if decay_per_group > 1 and isinstance(lr, Mapping | list | tuple):
        raise ValueError(
            f"lr_decay_per_group={decay_per_group:g} needs lr to be one number, the head's (got lr={lr!r}); "
            "drop one of the two"
        )


def is_rate(value: Any) -> bool:
    """Whether this is a finite number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _listed(groups: Sequence[LayerGroup]) -> str:
    width = max((len(group.name) for group in groups), default=0)
    rows = [f"{i:>3}  {group.name:<{width}}  {group.size:>12,} parameters" for i, group in enumerate(groups, 1)]
    return "\n".join(["the layer groups, from the input to the head:", *rows])
