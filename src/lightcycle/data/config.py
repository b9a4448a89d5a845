"""What can be said about the data: one plain dataclass per set, which is the Hydra schema and the object at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lightcycle.data.rules import check


@dataclass(kw_only=True)
class DataConfig:
    """What every set has.

    Args:
        name: The set, as in ``data=name``.
        size: Pixels of a side, or ``[height, width]``; None keeps the stored size.
        eval_size: The same for validation and test images; None is ``size``. A net trained on random crops does better
            on somewhat larger images (Touvron et al. 2019, arXiv:1906.06423).
        batch_size: Images in a training batch, over all devices together.
        eval_batch_size: Images in a validation or test batch, over all devices; None is twice ``batch_size``.
        limit: Use only this many training images, the first of each class, stratified; None uses every one.
        drop_last: Leave a last, smaller training batch out of each epoch.
        flip: Mirror half of the training images left to right.
        erase: Probability that a training image loses a random box (Zhong et al. 2017, arXiv:1708.04896).

    Raises:
        ValueError: With one sentence that names the key, its legal range and a fix.

    >>> DataConfig(name="digits", batch_size=0)
    Traceback (most recent call last):
    ...
    ValueError: data.batch_size must be >= 1 (got 0); 64 is usual.
    """

    name: str = ""
    size: Any = None
    eval_size: Any = None
    batch_size: int = 64
    eval_batch_size: int | None = None
    limit: int | None = None
    drop_last: bool = True
    flip: bool = False
    erase: float = 0.0

    def __post_init__(self) -> None:
        check(self)


@dataclass(kw_only=True)
class Split:
    """Where validation images come from.

    Args:
        val_size: Validation images taken from the training ones, stratified: a number, or a fraction below 1.
        split_seed: Which of them; the run's own seed does not change the split.
    """

    val_size: float = 0.1
    split_seed: int = 0


@dataclass(kw_only=True)
class Crop:
    """Shift training images: pad by ``crop`` reflected pixels, then cut a random window of the old size; 0 is off."""

    crop: int = 0


@dataclass(kw_only=True)
class TorchvisionConfig(Crop, Split, DataConfig):
    """A set that torchvision knows: read from ``root``, downloaded there if it is absent and ``download`` allows it."""

    root: str = "data"
    download: bool = True
    val_size: float = 5000
    batch_size: int = 128


@dataclass(kw_only=True)
class DigitsConfig(Crop, Split, DataConfig):
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels: 1,257 to train, 180 to validate, 360 to test."""

    name: str = "digits"
    val_size: float = 180
    batch_size: int = 32


@dataclass(kw_only=True)
class MNISTConfig(TorchvisionConfig):
    """Handwritten digits, 28 x 28 gray (LeCun et al. 1998): 55,000 / 5,000 / 10,000."""

    name: str = "mnist"
    crop: int = 2


@dataclass(kw_only=True)
class FashionMNISTConfig(TorchvisionConfig):
    """Clothes, 28 x 28 gray (Xiao et al. 2017, arXiv:1708.07747): 55,000 / 5,000 / 10,000."""

    name: str = "fashion_mnist"
    crop: int = 2
    flip: bool = True


@dataclass(kw_only=True)
class KMNISTConfig(TorchvisionConfig):
    """Cursive Japanese, 28 x 28 gray (Clanuwat et al. 2018, arXiv:1812.01718): 55,000 / 5,000 / 10,000."""

    name: str = "kmnist"
    crop: int = 2


@dataclass(kw_only=True)
class CIFAR10Config(TorchvisionConfig):
    """Ten kinds of things, 32 x 32 color (Krizhevsky 2009): 45,000 / 5,000 / 10,000."""

    name: str = "cifar10"
    crop: int = 4
    flip: bool = True


@dataclass(kw_only=True)
class CIFAR100Config(CIFAR10Config):
    """A hundred kinds of things, 32 x 32 color (Krizhevsky 2009): 45,000 / 5,000 / 10,000."""

    name: str = "cifar100"


@dataclass(kw_only=True)
class ArraysConfig(Crop, Split, DataConfig):
    """Your own arrays: an ``.npz`` at ``path`` with x_train, y_train, x_test, y_test and, if you like, classes.

    Images are uint8, ``(n, height, width)``, ``(n, height, width, channels)`` or ``(n, channels, height, width)``;
    labels are whole numbers from 0.
    """

    name: str = "arrays"
    path: str = "data/arrays.npz"


@dataclass(kw_only=True)
class ImageFolderConfig(Split, DataConfig):
    """Your own files: ``root/train/CLASS/*`` and ``root/val/CLASS/*``, or ``root/CLASS/*`` split three ways by seed.

    Args:
        root: The folder.
        test_size: Test images where ``root`` is one folder: a number, or a fraction below 1.
        on_bad: What to do about images that cannot be read: ``error`` names them all, ``skip`` leaves them out.
        check: Read every image once before training; without it a bad one is met only on the way.
        scale: Range of the area of a random crop, as shares of the image.
        ratio: Range of its width over its height.
        num_workers: Processes that read images; None is one per core, at most 8.
        mean, std: Of the channels, in 0..1 units; the defaults are ImageNet's, right for pretrained nets.
    """

    name: str = "image_folder"
    root: str = "data/images"
    size: Any = 224
    test_size: float = 0.1
    on_bad: str = "error"
    check: bool = True
    flip: bool = True
    scale: list[float] = field(default_factory=lambda: [0.35, 1.0])
    ratio: list[float] = field(default_factory=lambda: [3 / 4, 4 / 3])
    num_workers: int | None = None
    mean: list[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])
    std: list[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is None:
            raise ValueError("data.size must be pixels or [height, width] for image_folder (got None); 224 is usual.")


@dataclass(kw_only=True)
class SyntheticConfig(Crop, DataConfig):
    """Made-up images that can be learned: each class is a smooth random pattern, each image its class plus noise."""

    name: str = "synthetic"
    size: Any = 16
    n_train: int = 1000
    n_val: int = 200
    n_test: int = 200
    classes: int = 10
    channels: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is None:
            raise ValueError("data.size must be pixels or [height, width] for synthetic (got None); 16 is usual.")


CONFIGS: dict[str, type[DataConfig]] = {
    config.name: config
    for config in (
        DigitsConfig,
        MNISTConfig,
        FashionMNISTConfig,
        KMNISTConfig,
        CIFAR10Config,
        CIFAR100Config,
        ArraysConfig,
        ImageFolderConfig,
        SyntheticConfig,
    )
}
