"""Every image in stored order, from any one on: what a pass over a set that may have to go on needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightcycle.data.batches import Batch, EvalBatches

if TYPE_CHECKING:
    from lightcycle.data.image_data import ImageData


@dataclass(frozen=True, kw_only=True)
class InTurn(EvalBatches):
    """Batches in stored order, all full but the last.

    Args:
        first: Sample to begin with.
        seed: Of the augmentation; None is without.

    >>> [batch.indices.tolist() for batch in InTurn(n=5, batch_size=2, first=2).epoch(0)]
    [[2, 3], [4]]
    """

    first: int = 0
    seed: int | None = None

    def __len__(self) -> int:
        return ceil((self.n - self.first) / self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Go through the batches from batch ``start`` on; a batch's number is that of its first sample."""
        for at in range(self.first + start * self.batch_size, self.n, self.batch_size):
            size = min(self.batch_size, self.n - at)
            yield Batch(at, torch.arange(at, at + size), slice(0, size), size)


class ImagesInTurn:
    """A part's images as a net sees them, unchanged and then, for further copies, augmented.

    Args:
        data: The set, after ``setup``.
        part: train, val or test.
        copies: How often each image comes.
    """

    def __init__(self, data: ImageData, part: str, copies: int = 1) -> None:
        self.data, self.part, self.copies = data, part, copies
        self.n = getattr(data.counts, part)
        self.batch_size = data.config.eval_batch_size or 2 * data.config.batch_size

    def __len__(self) -> int:
        return self.copies * self.n

    def __call__(self, start: int = 0) -> Iterator[Tensor]:
        """Yield normalized batches ``(batch, channels, height, width)`` from image ``start`` on."""
        copy, first = divmod(start, self.n)
        for epoch in range(copy, self.copies):
            yield from self._read(self.batch_size, first if epoch == copy else 0, epoch)

    def few(self) -> Tensor:
        """Give the first two images, normalized."""
        return next(self._read(2, 0, 0))

    def _read(self, batch_size: int, first: int, epoch: int) -> Iterator[Tensor]:
        seed = self.data.seed if epoch else None
        batches = InTurn(n=self.n, batch_size=batch_size, first=first, seed=seed)
        for images, _ in self.data.make_loader(self.part, batches).once(epoch):
            yield self.data.normalize(images.to(self.data.device, non_blocking=True))
