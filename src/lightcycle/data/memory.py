"""The loader for sets that fit in memory: uint8 images on the device, picked and augmented a whole batch at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lightcycle.data.augment import COLUMNS, Augment
from lightcycle.data.batches import Batch, EvalBatches, TrainBatches
from lightcycle.data.loader import Loader
from lightcycle.data.order import generator
from lightcycle.data.resize import resized


class MemoryLoader(Loader):
    """Serves images held in memory.

    Args:
        images: ``(n, channels, height, width)`` uint8, on any device. They are augmented at this size; where ``sizes``
            asks for another, the batch is then resized.
        labels: ``(n,)`` int64, on the same device.
        batches: Which samples each batch holds.
        augment: Random changes to training batches, keyed by (seed, epoch, batch); None is none.
        fixed: Repeat the first epoch for ever.

    >>> images, labels = torch.zeros(10, 1, 4, 4, dtype=torch.uint8), torch.arange(10)
    >>> loader = MemoryLoader(images, labels, EvalBatches(n=10, batch_size=4))
    >>> [y.tolist() for _, y in loader]
    [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        batches: TrainBatches | EvalBatches,
        augment: Augment | None = None,
        fixed: bool = False,
    ) -> None:
        super().__init__(batches, fixed, tuple(images.shape[2:]))
        self.images, self.labels, self.augment = images, labels, augment

    def load(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        augment = self.augment and self.augment.at(self.strength_at(epoch))
        size = self.size_at(epoch)
        for batch in self.batches_at(epoch).epoch(epoch, start):
            indices = batch.indices.to(self.images.device, non_blocking=True)
            # index_select copies whole images: ten times as fast as images[indices] on a CPU
            images, labels = self.images.index_select(0, indices), self.labels.index_select(0, indices)
            if augment is not None:
                images = augment(images, self._numbers(epoch, batch))
            yield resized(images, size), labels

    def double(self, batches: TrainBatches | EvalBatches) -> MemoryLoader:
        return MemoryLoader(self.images, self.labels, batches, self.augment)

    def _numbers(self, epoch: int, batch: Batch) -> Tensor:
        # drawn for the global batch, then cut to this process's rows
        numbers = generator("augment", self.batches.seed, epoch, batch.step)
        u = torch.rand(batch.total, COLUMNS, generator=numbers, dtype=torch.float32)
        return u[batch.rows].to(self.images.device, non_blocking=True)
