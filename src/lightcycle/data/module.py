"""The datamodules: a set held in memory, and a set of image files."""

from __future__ import annotations

import os
from dataclasses import replace
from hashlib import sha256
from weakref import WeakSet

import torch
from torch import Tensor

from lightcycle.data import sources
from lightcycle.data.augment import Augment
from lightcycle.data.batches import EvalBatches, TrainBatches
from lightcycle.data.config import DataConfig, ImageFolderConfig
from lightcycle.data.folder import CENTER, ImageFiles
from lightcycle.data.folder_loader import FolderLoader, workers
from lightcycle.data.image_data import ImageData
from lightcycle.data.loader import Loader
from lightcycle.data.memory import MemoryLoader
from lightcycle.data.resize import all_resized
from lightcycle.data.scan import find_files
from lightcycle.data.split import limit, split
from lightcycle.data.statistics import Stats, normalization, statistics


class MemoryData(ImageData):
    """A set held in memory as uint8, on the device that trains."""

    def __init__(self, config: DataConfig, seed: int = 0, stats: Stats | None = None) -> None:
        super().__init__(config, seed, stats)
        self.stored: dict[str, tuple[Tensor, Tensor]] = {}
        self._take_config()

    def prepare_data(self) -> None:
        sources.fetch(self.config)

    def setup(self, stage: str | None = None) -> None:
        if not self.stored:
            self.stored.update(self._read())
        if self.mean is None:  # of the stored pixels, so that a net meets the same numbers at every size
            self.mean, self.std = self.given or statistics(self.stored["train"][0])
        parts = self.parts or {part: (all_resized(x, self.size_of(part)), y) for part, (x, y) in self.stored.items()}
        self.parts = {part: (x.to(self.device), y.to(self.device)) for part, (x, y) in parts.items()}
        self.set_statistics(self.mean, self.std)

    def _take_config(self) -> None:
        self.parts: dict[str, tuple[Tensor, Tensor]] = {}
        crop, side = self.config.crop, min(self.size)
        if crop >= side:
            raise ValueError(f"data.crop must be below the {side} pixels of a side (got {crop}); {side // 8} is usual.")

    def make_loader(self, part: str, batches: TrainBatches | EvalBatches) -> Loader:
        train = batches.seed is not None and not self.overfitting
        return MemoryLoader(*self.parts[part], batches, self._augment() if train else None, self.overfitting)

    def labels(self, part: str) -> Tensor:
        return self.parts[part][1]

    def fingerprint(self, part: str) -> str:
        return sha256(self.parts[part][0].cpu().contiguous().numpy()).hexdigest()

    @property
    def transform(self) -> str:
        return normalization(self.mean, self.std)

    @property
    def augmentation(self) -> str:
        return _switched_on(self.config, "crop", "flip", "erase")

    def _augment(self) -> Augment:
        c = self.config
        return Augment(c.crop, c.flip, c.erase, (255 * torch.tensor(self.mean)).round())

    def _read(self) -> dict[str, tuple[Tensor, Tensor]]:
        arrays = sources.load(self.read_as)
        labels = arrays.y_train.numpy()
        train, val = self._split(labels)
        train = train[limit(labels[train], self.read_as.limit)]
        x, y = arrays.x_train, arrays.y_train
        return {"train": (x[train], y[train]), "val": (x[val], y[val]), "test": (arrays.x_test, arrays.y_test)}

    def _split(self, labels):
        seed = getattr(self.config, "split_seed", 0)  # synthetic images are all alike and have no such key
        return split(labels, self.counts.val, seed, "val")


class FolderData(ImageData):
    """A set of image files, decoded by worker processes as they are needed."""

    def __init__(self, config: ImageFolderConfig, seed: int = 0, stats: Stats | None = None) -> None:
        super().__init__(config, seed, stats)
        self.files: dict[str, list[tuple[str, int]]] = {}
        self.skipped: list[str] = []
        self._take_config()
        self._set_statistics()

    def setup(self, stage: str | None = None) -> None:
        if not self.files:
            files, skipped = find_files(self.config)
            self.files.update(files)  # in place: other ways of serving these files share both
            self.skipped.extend(skipped)
        self.counts = replace(self.counts, **{part: len(files) for part, files in self.files.items()})
        self._set_statistics()

    def _take_config(self) -> None:
        self._loaders: WeakSet[FolderLoader] = WeakSet()

    def make_loader(self, part: str, batches: TrainBatches | EvalBatches) -> Loader:
        train = batches.seed is not None and not self.overfitting
        images = ImageFiles(self.files[part], self.config, batches.seed if train else None, self.size_of(part))
        loader = FolderLoader(
            images,
            batches,
            num_workers=workers(self.config.num_workers, self.trainer.num_devices if self.trainer else 1),
            pin_memory=self.device.type == "cuda",
            fixed=self.overfitting,
        )
        self._loaders.add(loader)
        return loader

    def labels(self, part: str) -> Tensor:
        return torch.tensor([label for _, label in self.files[part]])

    def fingerprint(self, part: str) -> str:
        stats = ((path, os.stat(path)) for path, _ in self.files[part])
        lines = [f"{path} {stat.st_size} {stat.st_mtime_ns}\n" for path, stat in stats]
        return sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()  # a path may be no UTF-8

    @property
    def transform(self) -> str:
        return f"middle {CENTER:g} of a side, bilinear, {normalization(self.mean, self.std)}"

    @property
    def augmentation(self) -> str:
        return _switched_on(self.config, "scale", "ratio", "flip", "erase")

    def _set_statistics(self) -> None:
        c, usual = self.config, ImageFolderConfig()
        if (c.mean, c.std) != (usual.mean, usual.std):  # what the user has set goes before what the weights know
            self.given = None
        self.set_statistics(*(self.given or (c.mean, c.std)))

    def teardown(self, stage: str | None = None) -> None:
        for loader in self._loaders:
            loader.close()


def _switched_on(config: DataConfig, *names: str) -> str:
    return ", ".join(f"{name} {value}" for name in names if (value := getattr(config, name)))


def build(config: DataConfig, seed: int = 0, stats: Stats | None = None) -> ImageData:
    """Make the datamodule for a config; ``stats`` are those of pretrained weights.

    >>> from lightcycle.data.config import DigitsConfig
    >>> build(DigitsConfig()).num_classes
    10
    """
    return (FolderData if isinstance(config, ImageFolderConfig) else MemoryData)(config, seed, stats)
