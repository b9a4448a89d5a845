"""Batches of their own for a range test: the running loader is never iterated, its order never moves."""

import copy
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, RandomSampler, SequentialSampler


def fresh_batches(trainer: Trainer, seed: int, skip: int = 0) -> Iterator[Any]:
    """Endless training batches, shuffled by ``seed``, each process its share; ready for ``training_step``.

    A loader with ``fresh(seed)`` (all of this project's) makes its own double; around a map-style data set a second
    ``DataLoader`` is built, with workers of its own and a copy of its sampler; iterable data is asked for anew, and has
    no seed: its first ``skip`` batches are passed over instead. Where the run sees only some batches of an epoch, so
    does the test.

    Raises:
        ValueError: in a sentence, when no second loader can be had.
    """
    loader = _double(trainer, trainer.train_dataloader, seed)
    passed = skip if isinstance(getattr(loader, "dataset", None), IterableDataset) else 0
    limit = trainer.num_training_batches
    try:
        for epoch in range(10**9):
            _set_epoch(loader, epoch)
            count = 0
            for batch in islice(loader, passed, None if limit == float("inf") else passed + int(limit)):
                count += 1
                yield to_device(trainer, batch)
            if not count:
                raise ValueError("the training data has no batches to test a learning rate on")
    finally:
        close(loader)


def sequential(loader: Any) -> Any:
    """A second loader over the same data in stored order, for evaluation beside the running one."""
    if hasattr(loader, "fresh"):
        return loader.fresh(0)
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        raise ValueError(f"a range test cannot make a second loader beside a {type(loader).__name__}")
    return DataLoader(loader.dataset, batch_size=loader.batch_size or 64, collate_fn=loader.collate_fn)


def close(loader: Any) -> None:
    """Ends the workers of a double, where it has some."""
    if callable(getattr(loader, "close", None)):
        loader.close()


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
        **_order(loader, seed, shuffle=not trainer.overfit_batches),
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        prefetch_factor=loader.prefetch_factor,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=torch.Generator().manual_seed(seed),  # else the seed of its workers is drawn from the global one
    )


def _order(loader: DataLoader, seed: int, *, shuffle: bool) -> dict[str, Any]:
    """Which samples in which batches: as the running loader has it (weights, subsets, shares), but for the seed.

    A stored order is shuffled, so that several sweeps see different batches.
    """
    if loader.batch_sampler is not None and loader.batch_size is None:
        return {"batch_sampler": _reseeded(loader.batch_sampler, seed)}
    if shuffle and type(loader.sampler) is SequentialSampler:
        sampler = RandomSampler(loader.dataset, generator=torch.Generator().manual_seed(seed))
    else:
        sampler = _reseeded(loader.sampler, seed)
    return {"sampler": sampler, "batch_size": loader.batch_size, "drop_last": loader.drop_last}


def _reseeded(sampler: Any, seed: int) -> Any:
    """A copy of a sampler, and of the samplers inside it, that draws from a generator of its own."""
    try:
        double = copy.copy(sampler)
    except Exception as error:
        raise ValueError(
            f"the range test cannot copy {type(sampler).__name__}, and iterating the sampler itself would change the "
            "order of the run; make it copyable, or find the rate with a plain loader"
        ) from error
    inner = getattr(double, "sampler", None)
    if inner is not None:
        double.sampler = _reseeded(inner, seed)
    if hasattr(double, "generator"):
        double.generator = torch.Generator().manual_seed(seed)
    if isinstance(double, DistributedSampler):
        double.seed = seed
    return double


def _asked_anew(trainer: Trainer, running: DataLoader) -> Any:
    source = trainer.datamodule or trainer.lightning_module
    try:
        loader = source.train_dataloader()
    except Exception as error:  # Lightning raises its own kind when the loader was passed to fit()
        raise ValueError(
            "the training data is iterable and was handed to fit() as a loader, so that the range test has no second "
            "one; put it into a datamodule whose train_dataloader() builds it"
        ) from error
    if loader is running or loader.dataset is running.dataset:
        raise ValueError(
            "train_dataloader() returns the same iterable data again, and reading it would move the run; build a new "
            "data set at each call"
        )
    return loader


def _set_epoch(loader: Any, epoch: int) -> None:
    set_epoch = getattr(getattr(loader, "sampler", None), "set_epoch", None)
    if callable(set_epoch):
        set_epoch(epoch)


def to_device(trainer: Trainer, batch: Any) -> Any:
    """What Lightning does to a batch between the loader and ``training_step``."""
    batch = trainer.precision_plugin.convert_input(batch)
    batch = _hook_owner(trainer, "on_before_batch_transfer").on_before_batch_transfer(batch, 0)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=0)


def _hook_owner(trainer: Trainer, hook: str) -> Any:
    """The datamodule where it has a hook of its own, else the module: Lightning's rule."""
    data = trainer.datamodule
    own = data is not None and getattr(type(data), hook) is not getattr(LightningDataModule, hook)
    return data if own else trainer.lightning_module
