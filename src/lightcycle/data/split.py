"""Stratified choices: exact numbers of images, each class with its share, the same for ever for one seed."""

from __future__ import annotations

import numpy as np

from lightcycle.data.order import key


def split(labels: np.ndarray, taken: int, seed: int, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Take ``taken`` samples at random, each class in proportion.

    Args:
        labels: ``(n,)`` whole numbers.
        taken: How many samples to take.
        seed: Which ones; ``part`` (such as "val") keeps the choices of one seed apart.

    Returns:
        Indices left and indices taken, both ascending.

    >>> rest, val = split(np.array([0] * 6 + [1] * 3), 3, seed=0, part="val")
    >>> len(rest), [int(np.array([0] * 6 + [1] * 3)[i]) for i in val]
    (6, [0, 0, 1])
    """
    ranks = np.random.default_rng(key("split", part, seed)).random(len(labels))
    chosen = _first(labels, taken, np.argsort(ranks, kind="stable"))
    return np.setdiff1d(np.arange(len(labels)), chosen, assume_unique=True), chosen


def limit(labels: np.ndarray, n: int | None) -> np.ndarray:
    """Keep n samples: of each class its share, the first ones stored.

    >>> limit(np.array([0, 0, 1, 1, 0, 0]), 3).tolist()
    [0, 1, 2]
    """
    if n is None or n >= len(labels):
        return np.arange(len(labels))
    return _first(labels, n, np.arange(len(labels)))


def shares(sizes: np.ndarray, n: int) -> np.ndarray:
    """Divide n in proportion to sizes, exactly: whole parts first, then the largest remainders (Hamilton's method).

    >>> shares(np.array([6, 3, 1]), 5).tolist()
    [3, 2, 0]
    """
    exact = sizes * n  # in units of 1 / sizes.sum(), so that no rounding of floats decides
    floor, remainder = exact // sizes.sum(), exact % sizes.sum()
    extra = np.argsort(-remainder, kind="stable")[: n - floor.sum()]
    floor[extra] += 1
    return floor


def _first(labels: np.ndarray, n: int, order: np.ndarray) -> np.ndarray:
    # the first samples in `order` of each class, as many as its share
    classes, sizes = np.unique(labels, return_counts=True)
    ordered = labels[order]
    picked = [order[ordered == c][:k] for c, k in zip(classes, shares(sizes, n), strict=True)]
    return np.sort(np.concatenate(picked))
