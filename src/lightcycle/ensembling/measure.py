"""The loss of every image at one point between models."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lightcycle.ensembling.batchnorm import refresh
from lightcycle.ensembling.landscape import State, blend


@torch.no_grad()
def measure(
    module: nn.Module,
    states: Sequence[State],
    weights: Sequence[float],
    batches: Iterable[tuple[Tensor, Tensor]],
    stale: Collection[str] = (),
    training: Iterable[Tensor] = (),
) -> tuple[Tensor, Tensor]:
    """Loss and correctness of each image, ``(images,)`` both on the CPU, under a blend of states.

    A state itself, one weight of 1 among zeros, is measured as it is: its own loss, to the bit.

    Args:
        module: images to logits; its tensors are overwritten.
        states: see ``blend``.
        weights: one for each state.
        batches: normalized images ``(batch, channels, height, width)`` and labels ``(batch,)``.
        stale: BatchNorm layers whose running statistics are made anew at a blend.
        training: images to make them from.

    >>> states = [{"weight": torch.tensor([[w], [0.0]])} for w in (0.0, 2.0)]
    >>> batches = [(torch.ones(1, 1), torch.tensor([0]))]
    >>> losses, right = measure(nn.Linear(1, 2, bias=False), states, [0.5, 0.5], batches)
    >>> round(losses.item(), 4), right.tolist()  # log(1 + e^-1)
    (0.3133, [True])
    """
    module.eval()
    module.load_state_dict(blend(states, weights))
    if sum(map(bool, weights)) > 1:
        refresh(module, stale, training)
    answers = [(module(images).float(), labels) for images, labels in batches]
    losses = torch.cat([cross_entropy(logits, labels, reduction="none").cpu() for logits, labels in answers])
    return losses, torch.cat([(logits.argmax(1) == labels).cpu() for logits, labels in answers])
