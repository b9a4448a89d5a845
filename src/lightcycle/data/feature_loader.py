"""The loader for cached features: rows of a mapped file, in the batches that the images would come in."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lightcycle.data.batches import EvalBatches, TrainBatches
from lightcycle.data.loader import Loader
from lightcycle.data.order import generator


class FeatureLoader(Loader):
    """Serves features: of each sample one copy an epoch, and in the next epoch the next.

    Args:
        features: ``(copies * n, ...)``, the first copies of all samples in front, on any device.
        labels: ``(n,)`` int64, on the same device.
        batches: Which samples each batch holds.
        fixed: Repeat the first epoch for ever.

    >>> features, labels = torch.tensor([[0.0], [1.0], [0.5], [1.5]]), torch.tensor([0, 1])
    >>> loader = FeatureLoader(features, labels, TrainBatches(n=2, batch_size=2))
    >>> sorted(x.item() for epoch in range(2) for x in next(loader.load(epoch, 0))[0])
    [0.0, 0.5, 1.0, 1.5]
    """

    def __init__(
        self, features: Tensor, labels: Tensor, batches: TrainBatches | EvalBatches, fixed: bool = False
    ) -> None:
        super().__init__(batches, fixed)
        self.features, self.labels = features, labels

    def load(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        row_of = self._rows(epoch)
        for batch in self.batches.epoch(epoch, start):
            rows, indices = (
                at.to(self.labels.device, non_blocking=True) for at in (row_of[batch.indices], batch.indices)
            )
            yield self.features[rows], self.labels[indices]

    def double(self, batches: TrainBatches | EvalBatches) -> FeatureLoader:
        return FeatureLoader(self.features, self.labels, batches)

    def _rows(self, epoch: int) -> Tensor:
        # each sample begins with a copy of its own, else an epoch would show first copies only
        n = len(self.labels)
        copies = len(self.features) // n
        first = torch.randint(copies, (n,), generator=generator("copies", self.batches.seed or 0))
        return torch.arange(n) + n * ((first + epoch) % copies)
