"""What each key of the data may be: one table, and one sentence for whoever breaks a rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any


def _size(value: Any) -> bool:
    sides = value if isinstance(value, list | tuple) and len(value) == 2 else [value]
    return value is None or all(isinstance(s, int) and not isinstance(s, bool) and s >= 1 for s in sides)


def _share(value: float) -> bool:
    return 0 < value < 1 or (value >= 1 and value == int(value))


def _range(value: list[float]) -> bool:
    return len(value) == 2 and 0 < value[0] <= value[1]


@dataclass(frozen=True)
class Rule:
    """What a key may be, and what to do when it is not."""

    holds: Callable[[Any], bool]
    legal: str
    fix: str


RULES = {
    "name": Rule(bool, "must be the name of a set", "digits is the embedded one"),
    "size": Rule(_size, "must be pixels, [height, width] or null", "null keeps the stored size"),
    "eval_size": Rule(_size, "must be pixels, [height, width] or null", "null is data.size"),
    "batch_size": Rule(lambda v: v >= 1, "must be >= 1", "64 is usual"),
    "eval_batch_size": Rule(lambda v: v is None or v >= 1, "must be >= 1 or null", "null is twice the batch size"),
    "limit": Rule(lambda v: v is None or v >= 1, "must be >= 1 or null", "null uses every training image"),
    "val_size": Rule(_share, "must be a fraction below 1 or a whole number of images", "0.1 is usual"),
    "test_size": Rule(_share, "must be a fraction below 1 or a whole number of images", "0.2 is usual"),
    "split_seed": Rule(lambda v: v >= 0, "must be >= 0", "0 is the split the docs quote"),
    "crop": Rule(lambda v: v >= 0, "must be >= 0 pixels of padding", "0 is off, 4 is usual at 32 pixels"),
    "erase": Rule(lambda v: 0 <= v <= 1, "must be a probability in [0, 1]", "0 is off, 0.25 is usual"),
    "path": Rule(bool, "must be an .npz file", "for example data.path=/data/mine.npz"),
    "root": Rule(bool, "must be a folder", "for example data.root=/data/pets"),
    "on_bad": Rule(lambda v: v in ("error", "skip"), "must be error or skip", "skip leaves unreadable images out"),
    "scale": Rule(lambda v: _range(v) and v[1] <= 1, "must be 0 < low <= high <= 1", "[0.35, 1] is usual"),
    "ratio": Rule(_range, "must be 0 < low <= high", "[0.75, 1.333] is usual"),
    "num_workers": Rule(lambda v: v is None or v >= 0, "must be >= 0 or null", "null is one per core"),
    "mean": Rule(lambda v: len(v) == 3, "must be three numbers in 0..1 units", "ImageNet's are [0.485, 0.456, 0.406]"),
    "std": Rule(
        lambda v: len(v) == 3 and min(v) > 0, "must be three numbers > 0", "ImageNet's are [0.229, 0.224, 0.225]"
    ),
    "n_train": Rule(lambda v: v >= 1, "must be >= 1", "1000 is usual"),
    "n_val": Rule(lambda v: v >= 1, "must be >= 1", "200 is usual"),
    "n_test": Rule(lambda v: v >= 1, "must be >= 1", "200 is usual"),
    "classes": Rule(lambda v: v >= 2, "must be >= 2", "10 is usual"),
    "channels": Rule(lambda v: v in (1, 3), "must be 1 or 3", "3 is color"),
}


def check(config: Any) -> None:
    """Hold a config's fields against the rules; the first that breaks one raises ValueError."""
    for name in (f.name for f in fields(config) if f.name in RULES):
        rule, value = RULES[name], getattr(config, name)
        if not rule.holds(value):
            raise ValueError(f"data.{name} {rule.legal} (got {value!r}); {rule.fix}.")


_SIZES = {"size", "eval_size", "batch_size", "eval_batch_size", "drop_last", "num_workers"}
SERVING = _SIZES | {"crop", "flip", "erase", "scale", "ratio"}
"""Keys that say how images are served; the others say which images there are."""


def check_same_images(one: Any, other: Any) -> None:
    """Hold two configs against each other; the first key that makes them other images raises ValueError."""
    if type(one) is not type(other):
        raise ValueError(f"data must be the same set (got {other.name}, beside {one.name}); give it a set of its own.")
    for name in (f.name for f in fields(one) if f.name not in SERVING):
        here, there = getattr(one, name), getattr(other, name)
        if here != there:
            raise ValueError(
                f"data.{name} must stay {here!r} where images are shared (got {there!r}); give it a set of its own."
            )
