"""The datamodule: what a set looks like, its loaders, and the step from uint8 pixels to normalized numbers."""

from __future__ import annotations

import os
from abc import abstractmethod
from dataclasses import replace
from hashlib import sha256
from weakref import WeakSet

import torch
from lightning import LightningDataModule
from torch import Tensor

from lightcycle.data import sources
from lightcycle.data.augment import Augment
from lightcycle.data.batches import EvalBatches, TrainBatches
from lightcycle.data.config import DataConfig, ImageFolderConfig
from lightcycle.data.count import Counts, count
from lightcycle.data.folder import CENTER, ImageFiles
from lightcycle.data.folder_loader import FolderLoader, workers
from lightcycle.data.loader import Loader
from lightcycle.data.memory import MemoryLoader
from lightcycle.data.scan import find_files
from lightcycle.data.split import limit, split
from lightcycle.data.statistics import Stats, for_channels, normalization, statistics


class ImageData(LightningDataModule):
    """Images and labels for a Lightning module; batches arrive as ``[images, labels]``.

    Args:
        config: The set and how it is served.
        seed: Of order and augmentation; the split has its own.
        stats: Mean and standard deviation of the images that pretrained weights know; None takes the set's own.

    Known before any pixel is read: ``counts``, ``num_classes``, ``channels``, ``size`` (height, width), ``classes``
    (names). Known after ``setup``: ``mean`` and ``std`` per channel, in 0..1 units, and the exact ``counts``.
    """

    def __init__(self, config: DataConfig, seed: int = 0, stats: Stats | None = None) -> None:
        super().__init__()
        self.config, self.seed = config, seed
        self.counts: Counts = count(config)
        self.num_classes, self.channels, self.size = self.counts.classes, self.counts.channels, self.counts.size
        self.classes = self.counts.names
        self.given = stats and for_channels(stats, self.channels)
        self.mean: tuple[float, ...] | None = None
        self.std: tuple[float, ...] | None = None

    @property
    def world_size(self) -> int:
        """Processes that share each batch."""
        return self.trainer.world_size if self.trainer is not None else 1

    @property
    def rank(self) -> int:
        """This process's number among them."""
        return self.trainer.global_rank if self.trainer is not None else 0

    @property
    def device(self) -> torch.device:
        """Where batches are wanted."""
        return self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")

    def normalize(self, images: Tensor) -> Tensor:
        """Turn uint8 images ``(batch, channels, height, width)`` into (x / 255 - mean) / std, float32."""
        return images.to(torch.float32).mul_(self._affine[0]).add_(self._affine[1])

    def train_loader(self, seed: int | None = None) -> Loader:
        """Make a training loader of its own, in the order of another seed if one is given; no other loader moves."""
        c = self.config
        batches = TrainBatches(
            n=self.counts.train,
            batch_size=c.batch_size,
            seed=self.seed if seed is None else seed,
            drop_last=c.drop_last,
            rank=self.rank,
            world_size=self.world_size,
        )
        return self.make_loader("train", batches)

    def eval_loader(self, part: str) -> Loader:
        """Make a loader of the "val" or "test" images in stored order, each once over all processes."""
        size = self.config.eval_batch_size or 2 * self.config.batch_size
        n = getattr(self.counts, part)
        return self.make_loader(part, EvalBatches(n=n, batch_size=size, rank=self.rank, world_size=self.world_size))

    @abstractmethod
    def make_loader(self, part: str, batches: TrainBatches | EvalBatches) -> Loader:
        """Serve one part of the set in the given batches; without a seed they are not augmented."""

    @abstractmethod
    def labels(self, part: str) -> Tensor:
        """Give the labels ``(n,)`` of a part, in stored order."""

    @abstractmethod
    def fingerprint(self, part: str) -> str:
        """Hash what a part's images are, in stored order: 64 hexadecimal digits."""

    @property
    @abstractmethod
    def transform(self) -> str:
        """What is done to an image that is not augmented, beside its size, in a line."""

    @property
    @abstractmethod
    def augmentation(self) -> str:
        """What is random in training images, in a line; empty where nothing is."""

    @property
    def overfitting(self) -> bool:
        """Whether the trainer wants the same few batches again and again, unchanged."""
        return self.trainer is not None and self.trainer.overfit_batches > 0

    def train_dataloader(self) -> Loader:
        return self.train_loader()

    def val_dataloader(self) -> Loader:
        return self.eval_loader("val")

    def test_dataloader(self) -> Loader:
        if not self.counts.test:
            raise ValueError(f"{self.config.name} has no test images: data.root has train/ and val/ only; add a test/.")
        return self.eval_loader("test")

    def predict_dataloader(self) -> Loader:
        return self.test_dataloader()

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> list[Tensor]:
        images, labels = batch
        if images.dtype == torch.uint8:
            images = self.normalize(images)
            if self.trainer is not None:  # a model kept in half precision wants its images so
                images = self.trainer.precision_plugin.convert_input(images)
        return [images, labels]

    def set_statistics(self, mean: list[float], std: list[float]) -> None:
        """Fix what ``normalize`` subtracts and divides by, per channel, in 0..1 units."""
        self.mean, self.std = tuple(mean), tuple(std)
        m, s = (torch.tensor(v, dtype=torch.float32, device=self.device).view(-1, 1, 1) for v in (mean, std))
        self._affine = 1 / (255 * s), -m / s


class MemoryData(ImageData):
    """A set held in memory as uint8, on the device that trains."""

    def __init__(self, config: DataConfig, seed: int = 0, stats: Stats | None = None) -> None:
        super().__init__(config, seed, stats)
        self.parts: dict[str, tuple[Tensor, Tensor]] = {}
        crop, side = config.crop, min(self.size)
        if crop >= side:
            raise ValueError(f"data.crop must be below the {side} pixels of a side (got {crop}); {side // 8} is usual.")

    def prepare_data(self) -> None:
        sources.fetch(self.config)

    def setup(self, stage: str | None = None) -> None:
        if not self.parts:
            self._read()
        self.parts = {name: (x.to(self.device), y.to(self.device)) for name, (x, y) in self.parts.items()}
        self.set_statistics(self.mean, self.std)

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

    def _read(self) -> None:
        arrays = sources.load(self.config)
        labels = arrays.y_train.numpy()
        train, val = self._split(labels)
        train = train[limit(labels[train], self.config.limit)]
        x, y = arrays.x_train, arrays.y_train
        self.parts = {"train": (x[train], y[train]), "val": (x[val], y[val]), "test": (arrays.x_test, arrays.y_test)}
        self.mean, self.std = self.given or statistics(self.parts["train"][0])

    def _split(self, labels):
        seed = getattr(self.config, "split_seed", 0)  # synthetic images are all alike and have no such key
        return split(labels, self.counts.val, seed, "val")


class FolderData(ImageData):
    """A set of image files, decoded by worker processes as they are needed."""

    def __init__(self, config: ImageFolderConfig, seed: int = 0, stats: Stats | None = None) -> None:
        super().__init__(config, seed, stats)
        self.files: dict[str, list[tuple[str, int]]] = {}
        self.skipped: list[str] = []
        self._loaders: WeakSet[FolderLoader] = WeakSet()
        self._set_statistics()

    def setup(self, stage: str | None = None) -> None:
        if not self.files:
            self.files, self.skipped = find_files(self.config)
            self.counts = replace(self.counts, **{part: len(files) for part, files in self.files.items()})
        self._set_statistics()

    def make_loader(self, part: str, batches: TrainBatches | EvalBatches) -> Loader:
        train = batches.seed is not None and not self.overfitting
        images = ImageFiles(self.files[part], self.config, batches.seed if train else None)
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
        return sha256("".join(lines).encode()).hexdigest()

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
