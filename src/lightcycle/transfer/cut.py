"""Cutting a net in two at its head: a body that is run once, and a head that trains on what the body gave."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def split_head(net: nn.Module, name: str) -> tuple[nn.Module, nn.Module]:
    """Cut ``net`` in front of the layer ``name``: ``head(body(images))`` is what the net gives in eval mode.

    The body is the net with the identity in place of the head, in eval mode (BatchNorm uses its running statistics) and
    without gradients. The head is the layer with the dropout right in front of it, so that this dropout still acts in
    training. Both share their tensors with ``net``, whose own modes and gradients stay as they are.

    Args:
        net: images ``(batch, channels, height, width)`` to logits.
        name: of the layer that gives the logits, such as ``fc`` or ``classifier.1``.

    Raises:
        ValueError: if ``net`` is nothing but a layer, and so has no body.

    >>> body, head = split_head(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)), "3")
    >>> body(torch.zeros(1, 4)).shape, [type(layer).__name__ for layer in head]
    (torch.Size([1, 8]), ['Dropout', 'Linear'])
    """
    if not name:
        raise ValueError(f"{type(net).__name__} is a head without a body; wrap it: nn.Sequential(nn.Flatten(), layer)")
    body = twin(net)
    body.set_submodule(name, nn.Identity())
    return body.eval(), nn.Sequential(*_head_layers(net, name))


def twin(net: nn.Module) -> nn.Module:
    """A copy of ``net`` that has modes of its own, needs no gradient, and shares every number with it.

    >>> net = nn.Linear(2, 1)
    >>> twin(net).weight.data_ptr() == net.weight.data_ptr(), twin(net).weight.requires_grad
    (True, False)
    """
    shared: dict[int, Tensor] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in net.parameters()}
    shared |= {id(buffer): buffer for buffer in net.buffers()}
    return copy.deepcopy(net, shared)


def check_cut(net: nn.Module, name: str, images: Tensor) -> None:
    """Hold the two halves against the whole, on a few images ``(batch, channels, height, width)``.

    Raises:
        ValueError: if the net does something to its logits after its head, or calls the head more than once.
    """
    if not _halves_agree(net, name, images):
        raise ValueError(
            f"{type(net).__name__} does more than its layer {name} with the features in front of it, "
            "so they cannot be cached; set features=live, or take another model"
        )


class HeadOnly(nn.Module):
    """A net that is given the inputs of its head instead of images; the rest of it is there, frozen, and does not run.

    It has the net's own parts under their own names, so that it is saved, loaded and sorted into parameter groups like
    the net, and whatever its head learns the net has learned.

    Args:
        net: images to logits; its parameters are frozen, but for the head's.
        name: of the layer that gives the logits.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    >>> trained = HeadOnly(net, "1")
    >>> trained(torch.zeros(3, 8)).shape, list(trained.state_dict()) == list(net.state_dict())
    (torch.Size([3, 2]), True)
    """

    def __init__(self, net: nn.Module, name: str) -> None:
        super().__init__()
        saved = net.state_dict()
        for key, module in net.named_children():
            self.add_module(key, module)
        for key, parameter in net.named_parameters(recurse=False):
            self.register_parameter(key, parameter)
        for key, buffer in net.named_buffers(recurse=False):
            self.register_buffer(key, buffer, persistent=key in saved)
        self._head_layers = tuple(_head_layers(net, name))  # a tuple: not registered a second time
        self.requires_grad_(False)
        net.get_submodule(name).requires_grad_(True)

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of features ``(batch, ...)``."""
        for layer in self._head_layers:
            features = layer(features)
        return features


@torch.inference_mode()
def _halves_agree(net: nn.Module, name: str, images: Tensor) -> bool:
    body, head = split_head(net, name)
    live = twin(net).eval()(images)
    try:
        halves = twin(head).eval()(body(images))
    except RuntimeError:  # what comes behind a convolution for a head may change the shape
        return False
    return live.shape == halves.shape and torch.allclose(live, halves, rtol=1e-4, atol=1e-5)


def _head_layers(net: nn.Module, name: str) -> list[nn.Module]:
    """The head, and the dropout in front of it."""
    leaves = [module for module in net.modules() if not any(module.children())]
    at = first = leaves.index(net.get_submodule(name))
    while first > 0 and isinstance(leaves[first - 1], nn.Dropout):
        first -= 1
    return leaves[first : at + 1]
