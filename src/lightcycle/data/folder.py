"""Turns image files into uint8 tensors of one size: a random crop to train on, the middle to evaluate."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.ExifTags import Base
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor
from torch.utils.data import Dataset

from lightcycle.data.augment import erase, weaker
from lightcycle.data.config import ImageFolderConfig
from lightcycle.data.count import pair
from lightcycle.data.listing import Files
from lightcycle.data.order import key

CENTER = 7 / 8  # of the largest box of the right shape: as "resize to 8/7 of the size, then cut the center"

Box = tuple[float, float, float, float]  # left, top, right, bottom


class Item(NamedTuple):
    """What is asked for: a file by its index, in an epoch, at a (height, width), with a share of the augmentation."""

    epoch: int
    index: int
    size: tuple[int, int] | None = None
    strength: float = 1.0


class ImageFiles(Dataset):
    """Image files, decoded on demand.

    The randomness of an item depends on (seed, epoch, index) and nothing else, so it does not matter which worker reads
    it, or when.

    Args:
        files: Paths and labels.
        config: Size and augmentation.
        seed: Of the augmentation; None serves the unchanged middle of each image.
        size: ``(height, width)`` where an item does not say it; None takes the config's.
    """

    def __init__(
        self,
        files: Files,
        config: ImageFolderConfig,
        seed: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.files, self.config, self.seed = files, config, seed
        self.size = size or pair(config.size)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, item: Item) -> tuple[Tensor, int]:
        item = Item(*item)
        path, label = self.files[item.index]
        size = item.size or self.size
        if self.seed is None:
            return _pixels(read_box(path, partial(center_box, shape=size[1] / size[0]), size[::-1])), label
        draw = random.Random(key("augment", self.seed, item.epoch, item.index))
        u = [draw.random() for _ in range(6)]  # always as many: one change switched off leaves the others' numbers
        scale = weaker(self.config.scale, item.strength)
        cut = read_box(path, partial(random_box, scale=scale, ratio=self.config.ratio, draw=draw), size[::-1])
        return self._change(cut, u, item.strength), label

    def _change(self, cut: Image.Image, u: list[float], strength: float) -> Tensor:
        if self.config.flip and u[0] < 0.5:
            cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        image = _pixels(cut)
        if self.config.erase:
            fill = 255 * torch.tensor(self.config.mean)
            image = erase(image[None], strength * self.config.erase, torch.tensor([u[1:]]), fill.round())[0]
        return image


def read_box(path: str, find: Callable[[int, int], Box], size: tuple[int, int]) -> Image.Image:
    """Read a box of an image file as RGB of one size, bilinear and antialiased.

    A JPEG is decoded at a half, a quarter or an eighth where the box still has as many pixels as are asked for: that
    costs a fraction of the time, and small images are cheap.

    Args:
        path: The file.
        find: Box of an image of some width and height.
        size: ``(width, height)`` of the result.
    """
    with Image.open(path) as stored:
        if isinstance(stored, JpegImageFile):
            image, box = _decode_small(stored, find, size)
        else:
            image = _upright_rgb(stored)
            box = find(*image.size)
        return image.resize(size, Image.Resampling.BILINEAR, box)


def read_rgb(path: str) -> Image.Image:
    """Read any image as upright 8-bit RGB: gray, palette, CMYK, 16-bit, transparent (on white), the first frame."""
    with Image.open(path) as image:
        return _upright_rgb(image)


def _decode_small(
    image: JpegImageFile, find: Callable[[int, int], Box], size: tuple[int, int]
) -> tuple[Image.Image, Box]:
    turned = image.getexif().get(Base.Orientation, 1) >= 5  # stored lying on its side
    width, height = image.size[::-1] if turned else image.size
    left, top, right, bottom = find(width, height)
    spare = min((right - left) / size[0], (bottom - top) / size[1])
    factor = max(f for f in (1, 2, 4, 8) if f <= max(spare, 1))
    image.draft("RGB", (image.width // factor, image.height // factor))
    image = _upright_rgb(image)
    x, y = image.width / width, image.height / height
    # min: the product may pass the border by a rounding, which PIL refuses
    return image, (left * x, top * y, min(right * x, image.width), min(bottom * y, image.height))


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    return _opaque(_eight_bit(image))


def _eight_bit(image: Image.Image) -> Image.Image:
    if not image.mode.startswith(("I", "F")):
        return image
    pixels = np.nan_to_num(np.asarray(image, dtype=np.float64))
    top = 65535 if pixels.max() > 255 else 255  # 32-bit modes are how PIL may hold 16-bit files
    return Image.fromarray((pixels.clip(0, top) * (255 / top)).round().astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")  # convert would copy
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def center_box(width: int, height: int, shape: float) -> Box:
    """Find the middle of an image: 7/8 of the largest box of a shape (width over height).

    >>> center_box(160, 80, 1.0)
    (45.0, 5.0, 115.0, 75.0)
    """
    w, h = CENTER * min(width, height * shape), CENTER * min(height, width / shape)
    return (width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2


def random_box(width: int, height: int, scale: list[float], ratio: list[float], draw: random.Random) -> Box:
    """Draw a box of random area, shape and place; after ten that do not fit, the largest middle of a legal shape.

    Args:
        width, height: Pixels of the image.
        scale: Range of the box's area, as shares of the image's.
        ratio: Range of its width over its height, drawn evenly in the logarithm.
        draw: The source of numbers.

    Source: Szegedy et al. 2014, arXiv:1409.4842, as torchvision's RandomResizedCrop does it.
    """
    for _ in range(10):
        area = width * height * draw.uniform(*scale)
        shape = math.exp(draw.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = math.sqrt(area * shape), math.sqrt(area / shape)
        if w <= width and h <= height:
            left, top = draw.uniform(0, width - w), draw.uniform(0, height - h)
            return left, top, left + w, top + h
    shape = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, height * shape), min(height, width / shape)
    return (width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2
