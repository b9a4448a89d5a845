"""Images of anybody's batch, made smaller or larger on the device that trains."""

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.nn.functional import interpolate

from lightcycle.data.resize import resized


def resize_batch(batch: Any, size: tuple[int, int]) -> Any:
    """The batch with its images interpolated to ``size`` (bilinear, antialiased), in the same kind of container.

    Args:
        batch: images, or a tuple, a list or a dictionary; its images are the first tensor of shape
            ``(batch, channels, height, width)`` in it.
        size: height and width in pixels.

    Raises:
        ValueError: if there are no images in it.

    >>> images, labels = resize_batch((torch.zeros(2, 3, 8, 8), torch.tensor([0, 1])), (4, 6))
    >>> images.shape, labels.tolist()
    (torch.Size([2, 3, 4, 6]), [0, 1])
    """
    key = _place(batch)
    if key is None:
        return _resize(batch, size)
    if isinstance(batch, dict):
        return {**batch, key: _resize(batch[key], size)} if type(batch) is dict else _filled(batch, key, size)
    parts = [_resize(part, size) if place == key else part for place, part in enumerate(batch)]
    return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)


def images_of(batch: Any) -> Tensor:
    """The images that ``resize_batch`` would resize, ``(batch, channels, height, width)``."""
    key = _place(batch)
    return batch if key is None else batch[key]


def hook_owner(trainer: Trainer, hook: str) -> Any:
    """Whose data hook Lightning calls: the datamodule's, unless only the module has one of its own."""
    data, module = trainer.datamodule, trainer.lightning_module
    if data is None or (is_overridden(hook, module) and not is_overridden(hook, data)):
        return module
    return data


def wrap(owner: Any, hook: str, change: Callable[[Any], Any]) -> Callable[[], None]:
    """Puts ``change`` behind a hook of one object; returns a function that takes it away again."""
    original = getattr(owner, hook)

    def changed(batch: Any, dataloader_idx: int) -> Any:
        return change(original(batch, dataloader_idx))

    setattr(owner, hook, changed)
    return lambda: owner.__dict__.pop(hook, None)


def _place(batch: Any) -> Any:
    """Where the images are: an index or a key, or ``None`` where the batch is the images."""
    if _are_images(batch):
        return None
    places = batch.items() if isinstance(batch, dict) else enumerate(batch) if isinstance(batch, list | tuple) else ()
    for key, value in places:
        if _are_images(value):
            return key
    raise ValueError(
        f"ProgressiveResizing finds no images (batch, channels, height, width) in a batch that is a "
        f"{type(batch).__name__}; let the loader give a tensor, or a tuple, list or dictionary with one in it"
    )


def _are_images(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4


def _filled(batch: Any, key: Any, size: tuple[int, int]) -> Any:
    """Dictionaries of somebody else's class are changed in place: nobody knows how to make another."""
    batch[key] = _resize(batch[key], size)
    return batch


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(images.shape[2:]) == size:
        return images
    if images.dtype == torch.uint8:
        return resized(images, size)
    floats = interpolate(
        images.float(), size=size, mode="bilinear", antialias=True
    )  # half precision knows no antialias
    return floats.to(images.dtype)
