"""Brings a batch of images to another size: bilinear, and antialiased where it shrinks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize uint8 images, ``(batch, channels, height, width)``, to ``size``, ``(height, width)``; uint8 again.

    They are weighed as floats and rounded, as only a CPU can do it in whole numbers: so every device gives the same
    pixels, but for ties of the rounding.

    >>> resized(torch.tensor([[[[0, 100], [100, 200]]]], dtype=torch.uint8), (1, 1)).item()
    100
    """
    if tuple(images.shape[2:]) == tuple(size):
        return images
    floats = interpolate(images.float(), size=size, mode="bilinear", antialias=True)
    return floats.round_().clamp_(0, 255).to(torch.uint8)


def all_resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a whole set a part at a time, so that its floats need not fit in memory; the set itself if that is all."""
    if tuple(images.shape[2:]) == tuple(size):
        return images
    return torch.cat([resized(part, size) for part in images.split(1024)])
