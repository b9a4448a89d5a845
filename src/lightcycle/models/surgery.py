"""Changing the two ends of a net: the convolution that sees the image and the layer that gives the logits."""

import torch
from torch import Tensor, nn


def head_name(net: nn.Module) -> str:
    """The name of the layer that gives the logits: the last `Linear`, or the last `Conv2d` of a net without one.

    >>> head_name(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
    '2'
    """
    for kind in (nn.Linear, nn.Conv2d):
        names = [name for name, layer in net.named_modules() if isinstance(layer, kind)]
        if names:
            return names[-1]
    raise ValueError(f"{type(net).__name__} has no Linear or Conv2d layer whose outputs could be the logits; add one")


def replace_head(net: nn.Module, classes: int) -> None:
    """Put a freshly initialized layer with `classes` outputs in place of the head.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> replace_head(net, 5)
    >>> net[2]
    Linear(in_features=8, out_features=5, bias=True)
    """
    name = head_name(net)
    net.set_submodule(name, _with_outputs(net.get_submodule(name), classes))


def set_head_dropout(net: nn.Module, p: float) -> None:
    """Set the dropout beside the head to `p`, or put one in front of a head that has none.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    >>> set_head_dropout(net, 0.1)
    >>> net[1]
    Dropout(p=0.1, inplace=False)
    """
    name = head_name(net)
    beside = [m for m in net.get_submodule(name.rpartition(".")[0]).children() if isinstance(m, nn.Dropout)]
    for dropout in beside:
        dropout.p = p
    if not beside:
        net.set_submodule(name, nn.Sequential(nn.Dropout(p), net.get_submodule(name)))


def adapt_input(net: nn.Module, channels: int) -> None:
    """Make the first convolution of an RGB net take `channels` channels, keeping what it has learned.

    One channel gets the sum of the three kernels: the net then sees what it would see in a grey RGB image. Otherwise
    the kernels repeat, scaled by `3 / channels`.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3))
    >>> adapt_input(net, 1)
    >>> net[0].weight.shape
    torch.Size([8, 1, 3, 3])
    """
    conv = next(layer for layer in net.modules() if isinstance(layer, nn.Conv2d))
    if channels != conv.in_channels:
        conv.weight = nn.Parameter(_spread(conv.weight.detach(), channels))
        conv.in_channels = channels


def _spread(weight: Tensor, channels: int) -> Tensor:
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight[:, torch.arange(channels) % 3] * (3 / channels)


def _with_outputs(head: nn.Module, classes: int) -> nn.Module:
    bias = head.bias is not None
    if isinstance(head, nn.Linear):
        return nn.Linear(head.in_features, classes, bias=bias)
    return nn.Conv2d(head.in_channels, classes, head.kernel_size, head.stride, head.padding, bias=bias)
