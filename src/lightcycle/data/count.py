"""How large a set is, without touching its pixels: known numbers, file headers, and folder listings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lightcycle.data.config import ArraysConfig, DataConfig, ImageFolderConfig, SyntheticConfig
from lightcycle.data.listing import list_images


@dataclass(frozen=True)
class Counts:
    """Images in each part, and what one image looks like.

    Args:
        train, val, test: Images; ``test`` is 0 where there is no test set.
        classes: How many classes.
        channels: 1 or 3.
        size: ``(height, width)`` in pixels, as the model will see them.
        names: The classes' names, in the order of their labels.
    """

    train: int
    val: int
    test: int
    classes: int
    channels: int
    size: tuple[int, int]
    names: tuple[str, ...]


_FASHION = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
_CIFAR10 = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"
_CIFAR100 = (
    "apple,aquarium_fish,baby,bear,beaver,bed,bee,beetle,bicycle,bottle,bowl,boy,bridge,bus,butterfly,camel,can,castle,"
    "caterpillar,cattle,chair,chimpanzee,clock,cloud,cockroach,couch,crab,crocodile,cup,dinosaur,dolphin,elephant,"
    "flatfish,forest,fox,girl,hamster,house,kangaroo,keyboard,lamp,lawn_mower,leopard,lion,lizard,lobster,man,"
    "maple_tree,motorcycle,mountain,mouse,mushroom,oak_tree,orange,orchid,otter,palm_tree,pear,pickup_truck,pine_tree,"
    "plain,plate,poppy,porcupine,possum,rabbit,raccoon,ray,road,rocket,rose,sea,seal,shark,shrew,skunk,skyscraper,"
    "snail,snake,spider,squirrel,streetcar,sunflower,sweet_pepper,table,tank,telephone,television,tiger,tractor,train,"
    "trout,tulip,turtle,wardrobe,whale,willow_tree,wolf,woman,worm"
)
_DIGITS = "0,1,2,3,4,5,6,7,8,9"


def _known(train: int, test: int, channels: int, side: int, names: str) -> Counts:
    listed = tuple(names.split(","))
    return Counts(train, 0, test, len(listed), channels, (side, side), listed)


KNOWN = {
    "digits": _known(1437, 360, 1, 8, _DIGITS),
    "mnist": _known(60_000, 10_000, 1, 28, _DIGITS),
    "fashion_mnist": _known(60_000, 10_000, 1, 28, _FASHION),
    "kmnist": _known(60_000, 10_000, 1, 28, "o,ki,su,tsu,na,ha,ma,ya,re,wo"),
    "cifar10": _known(50_000, 10_000, 3, 32, _CIFAR10),
    "cifar100": _known(50_000, 10_000, 3, 32, _CIFAR100),
}


def count(config: DataConfig) -> Counts:
    """Count the images of each part as the datamodule will serve them.

    Args:
        config: Any set's config.

    Raises:
        FileNotFoundError, ValueError: With one sentence, where files are needed and absent or unfit.

    >>> from lightcycle.data.config import DigitsConfig
    >>> counts = count(DigitsConfig())
    >>> counts.train, counts.val, counts.test, counts.classes, counts.size
    (1257, 180, 360, 10, (8, 8))
    """
    if isinstance(config, SyntheticConfig):
        counts = _synthetic(config)
    elif isinstance(config, ImageFolderConfig):
        counts = _folder(config)
    else:
        stored = _arrays(config) if isinstance(config, ArraysConfig) else KNOWN[config.name]
        val = take("val_size", config.val_size, stored.train)
        counts = replace(stored, train=stored.train - val, val=val)
    limited = min(config.limit or counts.train, counts.train)
    return replace(counts, train=limited, size=pair(config.size) or counts.size)


def take(key: str, size: float, n: int) -> int:
    """Turn a share into a number of images, leaving at least one behind.

    >>> take("val_size", 0.1, 1437), take("val_size", 5000, 60000)
    (144, 5000)
    """
    images = max(1, round(size * n)) if size < 1 else int(size)
    if images >= n:
        raise ValueError(f"data.{key} must be below the {n} images it is taken from (got {size:g}); 0.1 is usual.")
    return images


def pair(size: int | list[int] | None) -> tuple[int, int] | None:
    """Read ``data.size`` as (height, width).

    >>> pair(28), pair([32, 48]), pair(None)
    ((28, 28), (32, 48), None)
    """
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def _synthetic(config: SyntheticConfig) -> Counts:
    names = tuple(str(label) for label in range(config.classes))
    size = pair(config.size)
    return Counts(config.n_train, config.n_val, config.n_test, config.classes, config.channels, size, names)


def _folder(config: ImageFolderConfig) -> Counts:
    found = list_images(config.root)
    train, val, test = (None if part is None else len(part) for part in (found.train, found.val, found.test))
    if found.flat:
        test = take("test_size", config.test_size, train)
        train -= test
    if val is None:
        val = take("val_size", config.val_size, train)
        train -= val
    return Counts(train, val, test or 0, len(found.classes), 3, pair(config.size), found.classes)


def _arrays(config: ArraysConfig) -> Counts:
    from lightcycle.data.npz import read_header

    header = read_header(Path(config.path))
    size = header.height, header.width
    return Counts(header.train, 0, header.test, len(header.classes), header.channels, size, header.classes)
