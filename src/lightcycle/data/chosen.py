"""Some images of a set, by their numbers: what a look at a few of them needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from lightcycle.data.batches import Batch
from lightcycle.data.in_turn import InTurn


@dataclass(frozen=True, kw_only=True)
class Chosen(InTurn):
    """Batches of chosen samples, in the order given.

    Args:
        samples: ``(n,)`` numbers of the samples.

    >>> import torch
    >>> chosen = Chosen(n=3, batch_size=2, samples=torch.tensor([7, 5, 9]))
    >>> [batch.indices.tolist() for batch in chosen.epoch(0)]
    [[7, 5], [9]]
    """

    samples: Tensor

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Go through the batches from batch ``start`` on."""
        for batch in super().epoch(epoch, start):
            yield batch._replace(indices=self.samples[batch.indices])
