"""Turns image files into uint8 tensors of one size: a random crop to train on, the middle to evaluate."""

from __future__ import annotations

import math
import random

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from lightcycle.data.augment import erase
from lightcycle.data.config import ImageFolderConfig
from lightcycle.data.count import pair
from lightcycle.data.listing import Files
from lightcycle.data.order import generator, key

CENTER = 7 / 8  # of the largest box of the right shape: as "resize to 8/7 of the size, then cut the center"

Box = tuple[float, float, float, float]  # left, top, right, bottom


class ImageFiles(Dataset):
    """Image files, decoded on demand.

    An item is asked for by ``(epoch, index)``: its randomness depends on (seed, epoch, index) and nothing else, so it
    does not matter which worker reads it, or when.

    Args:
        files: Paths and labels.
        config: Size and augmentation.
        seed: Of the augmentation; None serves the unchanged middle of each image.
    """

    def __init__(self, files: Files, config: ImageFolderConfig, seed: int | None = None) -> None:
        self.files, self.config, self.seed = files, config, seed
        self.size = pair(config.size)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, index = item
        path, label = self.files[index]
        if self.seed is None:
            return self._read(path, center_box), label
        draw = random.Random(key("augment", self.seed, epoch, index))
        image = self._read(path, lambda w, h, _: random_box(w, h, self.config.scale, self.config.ratio, draw))
        return self._change(image, epoch, index), label

    def _read(self, path: str, box) -> Tensor:
        height, width = self.size
        image = read_rgb(path, self._least())
        cut = image.resize((width, height), Image.Resampling.BILINEAR, box(*image.size, width / height))
        return torch.from_numpy(np.array(cut)).permute(2, 0, 1)

    def _least(self) -> tuple[int, int]:
        # decode no smaller than the smallest crop needs to fill the output
        height, width = self.size
        shrink = CENTER if self.seed is None else math.sqrt(self.config.scale[0] / max(self.config.ratio))
        return math.ceil(width / shrink), math.ceil(height / shrink)

    def _change(self, image: Tensor, epoch: int, index: int) -> Tensor:
        u = torch.rand(6, generator=generator("change", self.seed, epoch, index), dtype=torch.float32)
        if self.config.flip and u[0] < 0.5:
            image = image.flip(-1)
        if self.config.erase:
            fill = 255 * torch.tensor(self.config.mean)
            image = erase(image[None], self.config.erase, u[None, 1:], fill.round())[0]
        return image


def read_rgb(path: str, least: tuple[int, int] | None = None) -> Image.Image:
    """Read any image as upright 8-bit RGB: gray, palette, CMYK, 16-bit, transparent (on white), animated (first frame).

    Args:
        path: The file.
        least: ``(width, height)``; a JPEG may be decoded at a half, a quarter or an eighth, but not below this.
    """
    with Image.open(path) as image:
        if least is not None:
            image.draft("RGB", (max(least), max(least)))  # square, since the file may be turned by its EXIF tag
        return _opaque(ImageOps.exif_transpose(_eight_bit(image)))


def _eight_bit(image: Image.Image) -> Image.Image:
    if not image.mode.startswith(("I", "F")):
        return image
    pixels = np.asarray(image, dtype=np.float64)
    top = 65535 if pixels.max() > 255 else 255  # 32-bit modes are how PIL may hold 16-bit files
    return Image.fromarray((pixels.clip(0, top) * (255 / top)).round().astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
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
