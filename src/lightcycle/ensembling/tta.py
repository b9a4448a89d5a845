"""Test-time augmentation: the mean prediction over views of an image, mixed with that of the image itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

View = Callable[[Tensor], Tensor]
"""Images ``(batch, channels, height, width)`` to images of the same shape."""


def mix(plain: Tensor, views: Tensor, beta: float | None = 0.25) -> Tensor:
    """``beta * plain + (1 - beta) * mean of the views``, on probabilities.

    Args:
        plain: ``(n, classes)``.
        views: ``(views, n, classes)``.
        beta: share of the plain image; ``None`` gives each view and the plain image the same share.

    Raises:
        ValueError: unless 0 <= beta <= 1.

    >>> mix(torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.0, 1.0]], [[0.5, 0.5]]])).tolist()
    [[0.4375, 0.5625]]

    References: fast.ai's ``tta(n=4, beta=0.25)``.
    """
    beta = 1 / (1 + len(views)) if beta is None else beta
    if not 0.0 <= beta <= 1.0:
        raise ValueError(f"beta must be between 0 and 1 (got {beta:g}); 0.25 is fast.ai's share of the plain image")
    return beta * plain + (1.0 - beta) * views.mean(0)


@torch.no_grad()
def tta(model: nn.Module, images: Tensor, views: Sequence[View], beta: float | None = None) -> Tensor:
    """Probabilities ``(batch, classes)`` of images and of views of them, mixed; an ``Ensemble`` is a model too.

    Args:
        model: images to logits, in evaluation mode.
        images: ``(batch, channels, height, width)``, as the model takes them.
        views: such as ``FIXED["flips"]``, or functions of your own; random ones draw from generators of their own.
        beta: as in ``mix``; equal shares unless given.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> tta(model, torch.ones(1, 1, 2, 2), FIXED["flips"]).shape
    torch.Size([1, 2])
    """
    plain, *seen = (model(view(images)).float().softmax(-1) for view in (_same, *views))
    return mix(plain, torch.stack(seen), beta)


def flip(images: Tensor) -> Tensor:
    """Left and right change places."""
    return images.flip(-1)


def shift(images: Tensor, down: int, right: int) -> Tensor:
    """The content moved by so many pixels; what comes in is the border pixel again.

    >>> shift(torch.tensor([[[[1, 2], [3, 4]]]]), 1, -1).tolist()
    [[[[2, 2], [2, 2]]]]
    """
    height, width = images.shape[-2:]
    rows = (torch.arange(height, device=images.device) - down).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) - right).clamp(0, width - 1)
    return images[..., rows[:, None], columns]


def up_left(images: Tensor) -> Tensor:
    """One pixel up and to the left."""
    return shift(images, -1, -1)


def down_right(images: Tensor) -> Tensor:
    """One pixel down and to the right."""
    return shift(images, 1, 1)


def flip_up_left(images: Tensor) -> Tensor:
    """Mirrored, then one pixel up and to the left."""
    return up_left(flip(images))


def flip_down_right(images: Tensor) -> Tensor:
    """Mirrored, then one pixel down and to the right."""
    return down_right(flip(images))


FIXED: dict[str, tuple[View, ...]] = {
    "flips": (flip,),
    "shifts": (flip, up_left, down_right, flip_up_left, flip_down_right),
}
"""Sets of views beside the plain image; ``shifts`` are the six of airbench, with the plain one."""


def _same(images: Tensor) -> Tensor:
    return images
