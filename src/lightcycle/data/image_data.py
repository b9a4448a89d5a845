"""What all datamodules share: what a set looks like, its loaders, the step from uint8 pixels to normalized numbers."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace

import torch
from lightning import LightningDataModule
from torch import Tensor

from lightcycle.data.batches import EvalBatches, TrainBatches
from lightcycle.data.config import DataConfig
from lightcycle.data.count import Counts, count, pair
from lightcycle.data.loader import Clock, Loader, OwnLengths
from lightcycle.data.rules import check_same_images
from lightcycle.data.statistics import Stats, for_channels


class ImageData(LightningDataModule):
    """Images and labels for a Lightning module; batches arrive as ``[images, labels]``.

    Args:
        config: The set and how it is served.
        seed: Of order and augmentation; the split has its own.
        stats: Mean and standard deviation of the images that pretrained weights know; None takes the set's own.

    Known before any pixel is read: ``counts``, ``num_classes``, ``channels``, ``size`` (height, width), ``classes``
    (names). Known after ``setup``: ``mean`` and ``std`` per channel, in 0..1 units, and the exact ``counts``.

    ``sizes``, ``strengths`` and ``batch_sizes`` are those of its training loaders, see ``Loader``.
    """

    def __init__(self, config: DataConfig, seed: int = 0, stats: Stats | None = None) -> None:
        super().__init__()
        self.config, self.seed = config, seed
        self.read_as = config  # datamodules that share images all read them by the config of the first
        self.counts: Counts = count(config)
        self.num_classes, self.channels, self.size = self.counts.classes, self.counts.channels, self.counts.size
        self.classes = self.counts.names
        self.sizes: Callable[[int], tuple[int, int]] | None = None
        self.strengths: Callable[[int], float] | None = None
        self.batch_sizes: Callable[[int], int] | None = None
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

    def size_of(self, part: str) -> tuple[int, int]:
        """Say how large, ``(height, width)``, the images of "train", "val" or "test" are served."""
        return self.size if part == "train" else pair(self.config.eval_size) or self.size

    def with_config(self, config: DataConfig) -> ImageData:
        """Serve the same images in another way; what has been read is shared, whichever of the two reads first.

        Args:
            config: May differ in size, batches and augmentation; which images there are, and in which part, may not.

        Raises:
            ValueError: Naming the key that differs and may not.

        >>> from lightcycle.data.config import DigitsConfig
        >>> from lightcycle.data.module import build
        >>> small = build(DigitsConfig(crop=1)).with_config(DigitsConfig(size=4))
        >>> small.size, small.counts.train
        ((4, 4), 1257)
        """
        check_same_images(self.config, config)
        other = copy.copy(self)
        other.config, other.trainer = config, None
        other.sizes = other.strengths = other.batch_sizes = None
        other.size = pair(config.size) or count(config).size
        other.counts = replace(self.counts, size=other.size)
        other._take_config()
        return other

    def _take_config(self) -> None:
        """Begin anew with what depends on how images are served."""

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
        loader = self.make_loader("train", batches)
        loader.sizes, loader.strengths, loader.batch_sizes = self.sizes, self.strengths, self.batch_sizes
        return loader

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

    def train_dataloader(self) -> Loader | OwnLengths:
        loader = self.train_loader()
        if isinstance(loader.sampler, Clock) and self.trainer is not None:
            # Lightning does so too, but asks for the length before
            loader.sampler.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed)
        return loader if self.batch_sizes is None else OwnLengths(loader, self._limit())

    def _limit(self) -> int | None:
        limit = self.trainer.limit_train_batches if self.trainer is not None else None
        if isinstance(limit, float) and limit != 1.0:
            raise ValueError(
                "trainer.limit_train_batches must be a whole number or 1.0 where the batch size changes "
                f"(got {limit}); data.limit uses fewer images"
            )
        return limit if isinstance(limit, int) else None

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
