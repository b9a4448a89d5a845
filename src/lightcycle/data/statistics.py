"""Mean and standard deviation of images per channel: of a set's own, or of those that pretrained weights know."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Stats = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation per channel, in 0..1 units."""


def statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute mean and standard deviation per channel, in 0..1 units, of uint8 images ``(n, channels, height, width)``.

    A channel of one color gets the deviation of one gray level, since it has to be divided by.
    """
    levels = torch.arange(256, dtype=torch.float64)
    # how often each gray level occurs says it all, exactly, and needs no copy of the set as floats
    levels_of = (torch.bincount(channel.flatten(), minlength=256) for channel in images.transpose(0, 1))
    shares = [counts.double() / counts.sum() for counts in levels_of]
    means = [float(share @ levels) for share in shares]
    spreads = [float(share @ (levels - m) ** 2) for share, m in zip(shares, means, strict=True)]
    return tuple(m / 255 for m in means), tuple(max(v, 1.0) ** 0.5 / 255 for v in spreads)


def for_channels(stats: Stats, channels: int) -> Stats:
    """Fit statistics of color images to a set; a gray one gets their averages.

    >>> for_channels(((0.25, 0.5, 0.75), (0.5, 0.5, 0.5)), 1)
    ((0.5,), (0.5,))
    """
    mean, std = (tuple(values) if channels == len(values) else (sum(values) / len(values),) for values in stats)
    return mean, std


def normalization(mean: Sequence[float], std: Sequence[float]) -> str:
    """Say in a line what ``normalize`` does.

    >>> normalization((0.5,), (0.25,))
    'minus (0.5), over (0.25)'
    """
    mean, std = (", ".join(f"{v:.6g}" for v in values) for values in (mean, std))
    return f"minus ({mean}), over ({std})"
