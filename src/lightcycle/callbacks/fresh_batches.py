"""Batches of their own for a range test: the running loader is never iterated, its order never moves."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, RandomSampler


def fresh_batches(trainer: Trainer, seed: int) -> Iterator[Any]:
    """Endless training batches, shuffled by ``seed``, each process its share; ready for ``training_step``.

    A loader with ``fresh(seed)`` (all of this project's) makes its own double; around a map-style data set a second
    ``DataLoader`` with workers of its own is built; iterable data is asked for anew.

    Raises:
        ValueError: in a sentence, when no second loader can be had.
    """
    loader = _double(trainer, trainer.train_dataloader, seed)
    epoch = 0
    while True:
        _set_epoch(loader, epoch)
        empty = True
        for batch in loader:
            empty = False
            yield _to_device(trainer, batch)
        if empty:
            raise ValueError("the training data has no batches to test a learning rate on")
        epoch += 1


def _double(trainer: Trainer, loader: Any, seed: int) -> Any:
    if hasattr(loader, "fresh"):
        return loader.fresh(seed)
    if not isinstance(loader, DataLoader):
        raise ValueError(
            f"the range test cannot make a second loader beside a {type(loader).__name__}; return one DataLoader from "
            "train_dataloader(), or give your loader a method fresh(seed) that returns an independent one"
        )
    if isinstance(loader.dataset, IterableDataset):
        return _asked_anew(trainer, loader)
    return DataLoader(
        loader.dataset,
        batch_size=getattr(loader.batch_sampler, "batch_size", None) or loader.batch_size,
        sampler=_sampler(trainer, loader, seed),
        collate_fn=loader.collate_fn,
        drop_last=getattr(loader.batch_sampler, "drop_last", loader.drop_last),
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=torch.Generator().manual_seed(seed),  # else the seed of its workers is drawn from the global one
    )


def _sampler(trainer: Trainer, loader: DataLoader, seed: int) -> Any:
    if trainer.world_size > 1:
        shares = {"num_replicas": trainer.world_size, "rank": trainer.global_rank}
        return DistributedSampler(loader.dataset, shuffle=True, seed=seed, **shares)
    return RandomSampler(loader.dataset, generator=torch.Generator().manual_seed(seed))


def _asked_anew(trainer: Trainer, running: DataLoader) -> Any:
    source = trainer.datamodule or trainer.lightning_module
    try:
        loader = source.train_dataloader()
    except Exception as error:  # Lightning raises its own kind when the loader was passed to fit()
        raise ValueError(
            "the training data is iterable and was handed to fit() as a loader, so that the range test has no second "
            "one; put it into a datamodule whose train_dataloader() builds it"
        ) from error
    if loader is running:
        raise ValueError("train_dataloader() returns the same loader again; build a new one at each call")
    return loader


def _set_epoch(loader: Any, epoch: int) -> None:
    set_epoch = getattr(getattr(loader, "sampler", None), "set_epoch", None)
    if callable(set_epoch):
        set_epoch(epoch)


def _to_device(trainer: Trainer, batch: Any) -> Any:
    """What Lightning does to a batch between the loader and ``training_step``."""
    batch = trainer.precision_plugin.convert_input(batch)
    batch = _hook_owner(trainer, "on_before_batch_transfer").on_before_batch_transfer(batch, 0)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=0)


def _hook_owner(trainer: Trainer, hook: str) -> Any:
    """The datamodule where it has a hook of its own, else the module: Lightning's rule."""
    data = trainer.datamodule
    own = data is not None and getattr(type(data), hook) is not getattr(LightningDataModule, hook)
    return data if own else trainer.lightning_module
