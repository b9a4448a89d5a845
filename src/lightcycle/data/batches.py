"""Which samples a batch holds, as a function of (epoch, batch, rank): the same rule for memory and for folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from lightcycle.data.order import permutation


class Batch(NamedTuple):
    """One process's share of a batch.

    Args:
        step: Number of the batch in its epoch.
        indices: ``(share,)`` of the samples.
        rows: Where these samples stand in the global batch.
        total: Samples in the global batch.
    """

    step: int
    indices: Tensor
    rows: slice
    total: int


@dataclass(frozen=True, kw_only=True)
class TrainBatches:
    """Shuffled batches: rank r of w takes the r-th slice of each global batch, so w processes see what one would.

    Every rank has the same number of batches. Without ``drop_last`` the last global batch is split as evenly as can be
    and, where it has fewer samples than there are ranks, goes on from the front of the order.

    Args:
        n: Samples.
        batch_size: Of the global batch.
        seed: Of the order.
        drop_last: Leave out a last, smaller batch, unless it is the only one.

    >>> batches = TrainBatches(n=10, batch_size=4, seed=0)
    >>> len(batches), [len(batch.indices) for batch in batches.epoch(0)]
    (2, [4, 4])
    """

    n: int
    batch_size: int
    seed: int = 0
    drop_last: bool = True
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % self.world_size:
            fit = (self.batch_size // self.world_size + 1) * self.world_size
            raise ValueError(
                f"data.batch_size must be a multiple of the {self.world_size} processes (got {self.batch_size}); "
                f"try {fit}."
            )

    def __len__(self) -> int:
        return batches_in(self.n, self.batch_size, self.drop_last)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Go through one epoch's batches from batch ``start`` on."""
        order = permutation(self.n, self.seed, epoch)
        for step in range(start, len(self)):
            yield self._share(order, step)

    def _share(self, order: Tensor, step: int) -> Batch:
        first = step * self.batch_size
        last = min(first + self.batch_size, self.n)
        total = max(last - first, self.world_size)
        rows = part(total, self.rank, self.world_size)
        positions = torch.arange(first + rows.start, first + rows.stop) % self.n
        return Batch(step, order[positions], rows, total)


@dataclass(frozen=True, kw_only=True)
class EvalBatches:
    """Batches in stored order: over all ranks every sample exactly once, and as many batches on each rank.

    Args:
        n: Samples.
        batch_size: Largest global batch; the batches are of even size.

    >>> [batch.indices.tolist() for batch in EvalBatches(n=5, batch_size=4, rank=1, world_size=2).epoch(0)]
    [[2], [4]]
    """

    seed: ClassVar[None] = None  # nothing here is random
    n: int
    batch_size: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.n < self.world_size:
            raise ValueError(
                f"{self.n} image(s) cannot be shared by {self.world_size} processes; evaluate on fewer devices."
            )

    def __len__(self) -> int:
        return min(-(-self.n // self.batch_size), self.n // self.world_size)  # no rank may be left without a sample

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Go through the batches from batch ``start`` on; every epoch is the same."""
        for step in range(start, len(self)):
            mine = part(self.n, step * self.world_size + self.rank, len(self) * self.world_size)
            size = mine.stop - mine.start
            yield Batch(step, torch.arange(mine.start, mine.stop), slice(0, size), size)


def batches_in(n: int, batch_size: int, drop_last: bool = True) -> int:
    """Count the training batches of an epoch of n samples: what a plan needs before there is a loader.

    >>> batches_in(10, 4), batches_in(10, 4, drop_last=False), batches_in(3, 4)
    (2, 3, 1)
    """
    full, rest = divmod(n, batch_size)
    return max(1, full) if drop_last else full + bool(rest)


def part(n: int, index: int, parts: int) -> slice:
    """Cut n into even parts, the larger ones first, and say where one of them is.

    >>> part(10, 0, 3), part(10, 2, 3)
    (slice(0, 4, None), slice(7, 10, None))
    """
    size, larger = divmod(n, parts)
    start = index * size + min(index, larger)
    return slice(start, start + size + (index < larger))
