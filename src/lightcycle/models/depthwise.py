"""Depthwise convolutions in single precision, where a processor's bfloat16 kernels for them are the slow ones.

There are fast bfloat16 kernels for 3x3 depthwise convolutions of stride 1. Of strided ones the gradient of the images,
and of larger ones that of the weights, take plain loops, many times slower than in single precision: without those of
its four strided convolutions, a mobilenet_v2's step is a fifth to two fifths shorter. docs/perf.md has the figures.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FAST_KERNEL = 3  # the largest kernel, at stride 1, that bfloat16 has a fast way for


class SinglePrecisionConv2d(nn.Conv2d):
    """A convolution that autocast leaves alone on a processor: images and weights in single precision."""

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) in any precision, to single precision; without autocast, as is."""
        if not (images.is_cpu and torch.is_autocast_enabled("cpu")):
            return super().forward(images)
        with torch.autocast("cpu", enabled=False):
            return super().forward(images.float())


def keep_single_precision(net: nn.Module) -> int:
    """Makes the slow ones of a net ``SinglePrecisionConv2d``, in place, and says how many those are.

    Names, weights, hooks and the state dict stay. Subclasses of ``nn.Conv2d`` have a forward of their own and are left.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, stride=2, groups=8))
        >>> keep_single_precision(net)
        1
    """
    found = [module for module in net.modules() if type(module) is nn.Conv2d and _is_slow(module)]
    for conv in found:
        conv.__class__ = SinglePrecisionConv2d
    return len(found)


def _is_slow(conv: nn.Conv2d) -> bool:
    depthwise = conv.groups == conv.in_channels > 1
    return depthwise and (max(conv.stride) > 1 or max(conv.kernel_size) > FAST_KERNEL)
