"""Random changes to a batch, each sample its own: pure functions of images and of uniform numbers.

No function here draws anything. The numbers come in as ``u``, one row per sample, drawn for the whole global batch at
its address in time; so two processes with half a batch each see exactly what one process would.

Strength, in [0, 1], is how much of what was asked for is done. It scales what makes an image harder: the padding of a
crop, the probability of an erased box, and how far below its top the area of a random crop may fall. At 1 all is as
asked for; at 0 the whole image is seen. Mirroring is not scaled: half of the images are mirrored whatever the strength.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

COLUMNS = 8  # uniform numbers per sample: 2 for crop, 1 for flip, 5 for erase


@dataclass(frozen=True)
class Augment:
    """Crop, flip and erase, in that order; switching one off leaves the others' numbers as they were.

    Args:
        crop: Pixels of padding, 0 is off.
        flip: Mirror half of the images.
        erase: Probability of losing a box, 0 is off.
        fill: ``(channels,)`` what an erased box shows, in the images' own units; None is 0.
    """

    crop: int = 0
    flip: bool = False
    erase: float = 0.0
    fill: Tensor | None = None

    def at(self, strength: float) -> Augment:
        """Make the same augmentation weaker.

        >>> Augment(crop=4, erase=0.5).at(0.25)
        Augment(crop=1, flip=False, erase=0.125, fill=None)
        """
        return replace(self, crop=round(strength * self.crop), erase=strength * self.erase)

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        """Change ``images`` ``(batch, channels, height, width)`` by ``u`` ``(batch, COLUMNS)``."""
        if self.crop:
            images = crop(images, self.crop, u[:, 0:2])
        if self.flip:
            images = flip(images, u[:, 2])
        if self.erase:
            images = erase(images, self.erase, u[:, 3:8], self.fill)
        return images


def crop(images: Tensor, padding: int, u: Tensor) -> Tensor:
    """Shift each image by up to ``padding`` pixels: pad by reflection, then cut a random window of the old size.

    Args:
        images: ``(batch, channels, height, width)``, any dtype; ``padding`` is less than height and width.
        padding: Pixels.
        u: ``(batch, 2)`` in [0, 1): where the window starts, down and across; 0.5 leaves the image as it is.

    >>> image = torch.arange(4.0).view(1, 1, 2, 2)
    >>> crop(image, 1, torch.tensor([[0.5, 0.99]])).tolist()
    [[[[1.0, 0.0], [3.0, 2.0]]]]
    """
    batch, channels, height, width = images.shape
    shift = (u * (2 * padding + 1)).long()
    rows = _reflect(shift[:, :1] - padding + torch.arange(height, device=images.device), height)
    left, right = images[..., 1 : padding + 1].flip(-1), images[..., -padding - 1 : -1].flip(-1)
    wide = torch.cat([left, images, right], -1).flatten()
    # A row of a window is a run of pixels in memory. Looked at as all its runs of `width` pixels, whichever row they
    # begin in, the batch gives them by index, and whole runs are copied: a fifth of the time of a gather on a CPU.
    runs = wide.as_strided((len(wide) - width + 1, width), (1, 1))
    stored_rows = torch.arange(batch * channels, device=images.device).view(batch, channels, 1) * height + rows[:, None]
    begin = stored_rows * (width + 2 * padding) + shift[:, 1].view(-1, 1, 1)
    return runs.index_select(0, begin.flatten()).view(images.shape)


def flip(images: Tensor, u: Tensor) -> Tensor:
    """Mirror left to right the images whose ``u`` ``(batch,)`` is below one half.

    >>> flip(torch.tensor([[[[1, 2]]], [[[1, 2]]]]), torch.tensor([0.1, 0.9])).flatten().tolist()
    [2, 1, 1, 2]
    """
    both = torch.cat([images, images.flip(-1)])
    n = len(images)
    return both.index_select(0, torch.arange(n, device=images.device) + n * (u < 0.5))  # a third of the time of where()


def erase(images: Tensor, probability: float, u: Tensor, fill: Tensor | None = None) -> Tensor:
    """Blank a random box of some images: 2 to 33 % of the area, 0.3 to 3.3 times as high as wide.

    Args:
        images: ``(batch, channels, height, width)``.
        probability: Of an image to lose a box.
        u: ``(batch, 5)`` in [0, 1): whether, area, shape, down, across.
        fill: ``(channels,)`` in the images' units; None is 0.

    Source: Zhong et al. 2017, arXiv:1708.04896; a box that would not fit is cut to the image.

    >>> erase(torch.ones(1, 1, 4, 4), 1.0, torch.tensor([[0.0, 0.5, 0.5, 0.0, 0.0]]))[0, 0].sum(1).tolist()
    [2.0, 2.0, 4.0, 4.0]
    """
    _, channels, height, width = images.shape
    area = (0.02 + 0.31 * u[:, 1]) * height * width
    shape = torch.exp((2 * u[:, 2] - 1) * math.log(10 / 3))
    rows = _box((area * shape).sqrt(), u[:, 3], height)
    columns = _box((area / shape).sqrt(), u[:, 4], width)
    box = (rows[:, :, None] & columns[:, None, :] & (u[:, 0] < probability)[:, None, None]).unsqueeze(1)
    blank = images.new_zeros(channels) if fill is None else fill.to(images)
    return torch.where(box, blank.view(1, -1, 1, 1), images)


def weaker(span: Sequence[float], strength: float) -> tuple[float, float]:
    """Give the range of a random crop's area at a strength.

    >>> weaker((0.5, 1.0), 1.0), weaker((0.5, 1.0), 0.5), weaker((0.5, 1.0), 0.0)
    ((0.5, 1.0), (0.75, 1.0), (1.0, 1.0))
    """
    low, high = span
    return high - strength * (high - low), high


def _reflect(index: Tensor, n: int) -> Tensor:
    index = index.abs()
    return torch.where(index >= n, 2 * (n - 1) - index, index)


def _box(length: Tensor, u: Tensor, n: int) -> Tensor:
    # which of n pixels lie in a box of this length that starts at u of the way
    length = length.round().clamp(1, n)
    start = (u * (n - length + 1)).floor()
    pixels = torch.arange(n, device=u.device)
    return (pixels >= start[:, None]) & (pixels < (start + length)[:, None])
