"""The loader for image files: worker processes decode, the order and the place in it stay here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightcycle.data.batches import EvalBatches, TrainBatches
from lightcycle.data.folder import ImageFiles, Item
from lightcycle.data.loader import Loader


class FolderLoader(Loader):
    """Serves image files through a ``DataLoader`` whose workers live until ``close``.

    Workers are told epoch and size with every index, so they need not be started anew, nor hear of epochs otherwise,
    and what they fetch ahead is right too.

    Args:
        images: The files, by item.
        batches: Which samples each batch holds.
        num_workers: Worker processes; 0 decodes here.
        pin_memory: Whether batches are put where a GPU can fetch them.
        fixed: Repeat the first epoch for ever.
    """

    def __init__(
        self,
        images: ImageFiles,
        batches: TrainBatches | EvalBatches,
        num_workers: int = 0,
        pin_memory: bool = False,
        fixed: bool = False,
    ) -> None:
        super().__init__(batches, fixed, images.size)
        self.images, self.num_workers, self.pin_memory = images, num_workers, pin_memory
        self._items = _Items()
        self._workers: DataLoader | None = None

    def load(self, epoch: int, start: int) -> Iterator[list[Tensor]]:
        if self._workers is None:
            self._workers = self._start_workers()
        self._items.plan = partial(self._plan, epoch, start)
        yield from self._workers

    def double(self, batches: TrainBatches | EvalBatches) -> FolderLoader:
        images = self.images
        if images.seed is not None:
            images = ImageFiles(images.files, images.config, batches.seed, images.size)
        return FolderLoader(images, batches, self.num_workers, self.pin_memory)

    def close(self) -> None:
        """Stop the workers; a later iteration starts new ones.

        Left to the garbage collector, which closes their queues before it tells them to stop, each takes five seconds.
        """
        self._workers = None

    def _plan(self, epoch: int, start: int) -> Iterator[list[Item]]:
        size, strength = self.size_at(epoch), self.strength_at(epoch)
        for batch in self.batches_at(epoch).epoch(epoch, start):
            yield [Item(epoch, index, size, strength) for index in batch.indices.tolist()]

    def _start_workers(self) -> DataLoader:
        return DataLoader(
            self.images,
            batch_sampler=self._items,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=self.pin_memory,
            generator=torch.Generator(),  # its own: else the seed of its workers is drawn from the global one
        )


class _Items:
    """Lists the items of each batch, by a plan that the loader sets before it iterates."""

    plan: Callable[[], Iterator[list[Item]]]

    def __iter__(self) -> Iterator[list[Item]]:
        return self.plan()


def workers(wanted: int | None, processes: int = 1) -> int:
    """Choose a number of workers: what is wanted, or one per core that this process may use, at most 8.

    >>> workers(3), 1 <= workers(None) <= 8
    (3, True)
    """
    if wanted is not None:
        return wanted
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores // processes))
