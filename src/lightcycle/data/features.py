"""The datamodule of cached features: the samples of an image set, in the same order, as a net's head sees them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from lightcycle.data.batches import EvalBatches, TrainBatches
from lightcycle.data.config import DataConfig
from lightcycle.data.feature_loader import FeatureLoader
from lightcycle.data.image_data import ImageData
from lightcycle.data.in_turn import ImagesInTurn
from lightcycle.data.loader import Loader
from lightcycle.transfer.cut import check_cut, split_head
from lightcycle.transfer.features import DTYPES, FeatureCache, Tick, fingerprint

PARTS = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}
"""What a trainer needs at its stages."""


class FeatureData(ImageData):
    """Inputs of a net's head for every image; batches arrive as ``[features, labels]``, float32.

    The body of the net runs once over the images, as in evaluation: not augmented, BatchNorm with its running
    statistics, in float32. What it gives is kept on disk under a key of all that it depends on. The batches are those
    of ``images``: the same seed and epoch give the same samples.

    Args:
        images: The set.
        net: Images to logits; from here on only its head may change.
        head: Name of the layer that gives the logits.
        folder: Of the files; one folder in it for each of train, val and test.
        dtype: ``fp32``, or ``fp16`` for half the space.
        copies: Of each training image: the first unchanged, the others augmented as ``images`` would be. An epoch has
            one of them, so many epochs have all.

    Raises:
        ValueError: For an unknown dtype, or copies where nothing would tell them apart.

    Source: fast.ai 0.7's ``precompute=True``.
    """

    def __init__(
        self,
        images: ImageData,
        net: nn.Module,
        head: str,
        folder: str | os.PathLike,
        dtype: str = "fp32",
        copies: int = 1,
    ) -> None:
        super().__init__(images.config, images.seed)
        self.given = images.given
        self.images, self.net, self.head = images, net, head
        self.folder, self.dtype, self.copies = Path(folder), dtype, copies
        self.parts: dict[str, tuple[Tensor, Tensor]] = {}
        self.filled_seconds = 0.0
        self._weights = ""
        if dtype not in DTYPES:
            raise ValueError(f"features_dtype must be fp32 or fp16 (got {dtype}); fp32 is exact")
        if copies < 1:
            raise ValueError(f"features_copies must be >= 1 (got {copies}); 1 is usual")
        if copies > 1 and not images.augmentation:
            raise ValueError(
                f"features_copies must be 1 where no augmentation tells copies apart (got {copies}); "
                "switch some on, such as data.flip=true"
            )

    def prepare_data(self) -> None:
        # one process comes here and fills; the others find in setup what it has left
        self.images.prepare_data()
        self.setup(self.trainer.state.fn.value if self.trainer is not None else None)

    def setup(self, stage: str | None = None) -> None:
        self._check_precision()
        self.images.trainer = self.trainer
        self.images.setup()
        self.counts = self.images.counts
        self.mean, self.std = self.images.mean, self.images.std
        for part in PARTS.get(stage, ("train", "val", "test")):
            if getattr(self.counts, part) and part not in self.parts and not self._skips(part):
                self.parts[part] = self._features(part), self.images.labels(part)
        self.parts = {part: (x.to(self.device), y.to(self.device)) for part, (x, y) in self.parts.items()}

    def make_loader(self, part: str, batches: TrainBatches | EvalBatches) -> Loader:
        self._check_weights()
        return FeatureLoader(*self.parts[part], batches, self.overfitting)

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> list[Tensor]:
        features, labels = batch[0].float(), batch[1]
        if self.trainer is not None:
            features = self.trainer.precision_plugin.convert_input(features)
        return [features, labels]

    def teardown(self, stage: str) -> None:
        self.images.teardown(stage)

    def labels(self, part: str) -> Tensor:
        return self.parts[part][1]

    def fingerprint(self, part: str) -> str:
        return self.images.fingerprint(part)

    @property
    def transform(self) -> str:
        return self.images.transform

    @property
    def augmentation(self) -> str:
        return self.images.augmentation if self.copies > 1 else ""

    def with_config(self, config: DataConfig) -> ImageData:
        """Refuse: features belong to one size and one augmentation."""
        raise ValueError("cached features know one way of serving their images; use their images' with_config")

    def key(self, part: str) -> dict[str, str | int]:
        """Say by name all that the features of a part depend on; known after ``setup``."""
        copies = self._copies(part)
        return {
            "weights": self._weights,
            "cut": f"{type(self.net).__name__}, inputs of {self.head}",
            "transform": self.transform,
            "size": " x ".join(map(str, self.images.size_of(part))),
            "samples": self.fingerprint(part),
            "dtype": self.dtype,
            "batch_norm": "eval",
            "copies": copies if copies == 1 else f"{copies} ({self.augmentation}, seed {self.seed})",
        }

    def _skips(self, part: str) -> bool:
        return part == "val" and self.trainer is not None and self.trainer.limit_val_batches == 0

    def _features(self, part: str) -> Tensor:
        body, _ = split_head(self.net.to(self.device), self.head)
        self._weights = self._weights or fingerprint(body)
        self._check_weights()
        cache = FeatureCache(self.folder / part, self.key(part))
        features, reason = cache.look()
        return self._fill(cache, part, body, reason) if features is None else features

    def _fill(self, cache: FeatureCache, part: str, body: nn.Module, reason: str) -> Tensor:
        began = time.perf_counter()
        images = ImagesInTurn(self.images, part, self._copies(part))
        text = f"{len(images):,} {part} images through the body"
        rank_zero_info(f"features: {text} ({reason})")
        try:
            check_cut(self.net, self.head, images.few())
            with progress(text, len(images)) as tick:
                features = cache.fill(body, images, len(images), tick)
        finally:
            self.images.teardown("fit")  # of the workers that read image files
        seconds = time.perf_counter() - began
        self.filled_seconds += seconds
        rank_zero_info(f"features: {cache.path.stat().st_size / 1e6:,.1f} MB in {seconds:.1f} s: {cache.path}")
        return features

    def _copies(self, part: str) -> int:
        return self.copies if part == "train" and not self.overfitting else 1

    def _check_precision(self) -> None:
        precision = str(self.trainer.precision) if self.trainer is not None else "32-true"
        if precision.endswith("-true") and precision != "32-true":
            raise ValueError(
                f"trainer.precision={precision} keeps the body in another precision than the float32 that features="
                "cached are computed in; set trainer.precision=32-true or bf16-mixed, or features=live"
            )

    def _check_weights(self) -> None:
        body, _ = split_head(self.net, self.head)
        if (now := fingerprint(body)) != self._weights:
            raise ValueError(
                f"features=cached belong to a body with other weights ({self._weights[:8]}, now {now[:8]}), as after "
                "resume from a run with another body; set model.weights to that one, or features=live"
            )


@contextmanager
def progress(text: str, total: int) -> Iterator[Tick]:
    """Draw a bar while something fills, on a terminal only; what is yielded is told how far it has come.

    >>> with progress("images", 2) as tick:
    ...     tick(2)
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(text, total=total)
        yield lambda done: bar.update(task, completed=done)
