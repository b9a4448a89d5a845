"""``features=cached``: what it refuses, what it puts in place of the images and of the net, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from lightcycle.app.say import yaml
from lightcycle.app.schema import typed
from lightcycle.data.config import ArraysConfig, DataConfig, ImageFolderConfig

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import nn

    from lightcycle.app.settings import Settings
    from lightcycle.data.features import FeatureData
    from lightcycle.data.module import ImageData
    from lightcycle.transfer.cut import HeadOnly

AUGMENTATION = ("crop", "flip", "erase", "scale", "ratio")
OF_THE_BODY = ("GradualUnfreezing", "BackboneFinetuning", "ProgressiveResizing")
"""Callbacks that change what the body is or sees, by the last part of their ``_target_``."""


def check(config: DictConfig, data: DataConfig) -> None:
    """Refuses what cached features cannot follow; raises ValueError.

    Augmentation that comes with a set is left out, and said to be; augmentation that was asked for, which is any other
    value than the set's own or one typed on the command line, is refused.
    """
    if config.features == "live":
        for name, usual in (("features_dtype", "fp32"), ("features_copies", 1)):
            if config[name] != usual:
                raise ValueError(f"{name}={config[name]} needs features=cached (got live); add it, or drop {name}")
        return
    # of a stage, what the whole run augments with is for the other stages
    asked = [name for name in AUGMENTATION if _asked(data, name)] if len(config.recipe.stages) == 1 else []
    if asked and config.features_copies == 1:
        raise ValueError(
            f"data.{asked[0]}={yaml(getattr(data, asked[0]))} changes nothing with features=cached, which are computed "
            "once from images as they are; drop it, set features=live, or keep augmented copies: features_copies=4"
        )
    for key, entry in config.callbacks.items():
        if entry and str(entry.get("_target_")).rpartition(".")[2] in OF_THE_BODY:
            raise ValueError(
                f"callbacks.{key} is for the body of the net, which features=cached does not run; leave it out with "
                f"~callbacks.{key}, or set features=live"
            )


def cached(settings: Settings, images: ImageData, net: nn.Module) -> tuple[FeatureData, HeadOnly]:
    """The features in place of the images, and the head in place of the net; the net learns what its head learns."""
    from lightcycle.data.features import FeatureData
    from lightcycle.models import head_name
    from lightcycle.transfer.cut import HeadOnly

    head, folder = head_name(net), Path(settings.features_cache) / f"{_name(settings.data)}-{_name(settings.model)}"
    data = FeatureData(images, net, head, folder, settings.features_dtype, settings.features_copies)
    return data, HeadOnly(net, head)


def describe(data: ImageData) -> list[str]:
    """What is said of the inputs before the first step: where their scale comes from, and whether they are cached."""
    lines = []
    if data.given:
        mean, std = (", ".join(f"{v:.3f}" for v in values) for values in data.given)
        lines.append(f"images normalized as the weights know them: mean {mean}, std {std}")
    if hasattr(data, "copies"):
        left_out = "" if data.copies > 1 else data.images.augmentation
        lines.append(
            f"features cached in {data.folder} ({data.dtype}, {data.copies} of each training image): trained, "
            f"validated and tested on; only the head {data.head} trains" + (left_out and f"; left out: {left_out}")
        )
    return lines


def _asked(data: DataConfig, name: str) -> bool:
    value = getattr(data, name, None)
    return bool(value) and (value != getattr(type(data)(), name) or f"data.{name}" in typed())


def _name(config: Any) -> str:
    """What a set or a net is called in the name of a folder."""
    if isinstance(config, ImageFolderConfig):
        return Path(config.root).absolute().name
    if isinstance(config, ArraysConfig):
        return Path(config.path).stem
    name = getattr(config, "name", type(config).__name__.removesuffix("Config").lower())
    return name.replace("/", "-").replace(":", "-")
