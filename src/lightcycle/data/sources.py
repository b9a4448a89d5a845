"""Reads the sets that fit in memory, each as uint8 images and whole-number labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from lightcycle.data import npz
from lightcycle.data.config import ArraysConfig, DataConfig, SyntheticConfig, TorchvisionConfig
from lightcycle.data.count import KNOWN, count
from lightcycle.data.order import generator
from lightcycle.data.split import split


@dataclass(frozen=True)
class Arrays:
    """A set in memory: images ``(n, channels, height, width)`` uint8, labels ``(n,)`` int64, the classes' names."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: tuple[str, ...]


TORCHVISION = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
}


def load(config: DataConfig) -> Arrays:
    """Read a set, at the size it is stored in; training images are not yet split.

    Raises:
        FileNotFoundError: When files are absent and cannot be had; the sentence says where they were looked for.
    """
    if isinstance(config, SyntheticConfig):
        return synthetic(config)
    if isinstance(config, ArraysConfig):
        return from_npz(Path(config.path))
    return torchvision_set(config) if isinstance(config, TorchvisionConfig) else digits()


def digits() -> Arrays:
    """Read scikit-learn's digits; the 360 test images are the same whatever the seeds."""
    from sklearn.datasets import load_digits

    stored = load_digits()
    images = (stored.images * (255 / 16)).round().astype(np.uint8)[:, None]
    labels = stored.target.astype(np.int64)
    rest, test = split(labels, KNOWN["digits"].test, seed=0, part="test")
    return _arrays(images[rest], labels[rest], images[test], labels[test], KNOWN["digits"].names)


def synthetic(config: SyntheticConfig) -> Arrays:
    """Make up images that can be learned: one smooth random pattern per class, half of it drowned in noise."""
    counts = count(config)
    n = config.n_train + config.n_val
    numbers = generator("synthetic", config.classes, config.channels, *counts.size)
    coarse = torch.rand(config.classes, config.channels, 4, 4, generator=numbers)
    patterns = interpolate(coarse, size=counts.size, mode="bilinear", align_corners=False)
    labels = torch.arange(n + config.n_test) % config.classes
    noise = torch.rand(len(labels), config.channels, *counts.size, generator=numbers)
    images = (255 * (0.5 * patterns[labels] + 0.5 * noise)).round().to(torch.uint8)
    return Arrays(images[:n], labels[:n], images[n:], labels[n:], counts.names)


def from_npz(path: Path) -> Arrays:
    """Read an ``.npz`` of x_train, y_train, x_test, y_test and, if it is there, classes."""
    return _arrays(*npz.read_arrays(path))


def torchvision_set(config: TorchvisionConfig) -> Arrays:
    """Read a torchvision set from ``root``; a file such as ``cifar10.npz`` there stands in where its own are absent."""
    fetch(config)
    if not _present(config):
        return from_npz(_stand_in(config))
    train, test = (_dataset(config, train) for train in (True, False))
    return _arrays(*_pixels(train), *_pixels(test), KNOWN[config.name].names)


def fetch(config: DataConfig) -> None:
    """Download what is absent and may be downloaded; only torchvision's sets have anything to fetch.

    Raises:
        FileNotFoundError: When it is absent and cannot be had.
    """
    if not isinstance(config, TorchvisionConfig) or _present(config) or _stand_in(config).is_file():
        return
    looked = f"{config.name} is not under {Path(config.root).resolve()}"
    if not config.download:
        raise FileNotFoundError(f"{looked} and data.download is false; set data.root, or data.download=true.")
    try:
        _dataset(config, train=True, download=True)
    except (RuntimeError, OSError) as error:  # URLError is an OSError
        raise FileNotFoundError(
            f"{looked} and could not be downloaded ({error}); put torchvision's files there, or set data.root."
        ) from error


def _arrays(x_train, y_train, x_test, y_test, classes) -> Arrays:
    return Arrays(*(torch.from_numpy(np.ascontiguousarray(a)) for a in (x_train, y_train, x_test, y_test)), classes)


def _dataset(config: TorchvisionConfig, train: bool, download: bool = False):
    from torchvision import datasets

    return getattr(datasets, TORCHVISION[config.name])(config.root, train=train, download=download)


def _present(config: TorchvisionConfig) -> bool:
    try:
        _dataset(config, train=False)  # the smaller half; torchvision looks for the files of both
    except RuntimeError:  # its way to say that files are absent or damaged
        return False
    return True


def _stand_in(config: TorchvisionConfig) -> Path:
    return Path(config.root) / f"{config.name}.npz"


def _pixels(dataset) -> tuple[np.ndarray, np.ndarray]:
    return npz.channels_first(np.asarray(dataset.data)), np.asarray(dataset.targets, dtype=np.int64)
