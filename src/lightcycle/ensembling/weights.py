"""Averaging weights instead of predictions: one model at the price of one, where the members lie in one valley."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from lightcycle.ensembling.batchnorm import moved, refresh
from lightcycle.ensembling.members import host_copy


def average_weights(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of every floating point tensor; counters are the last member's.

    The running statistics of BatchNorm belong to the members' weights, not to their mean: ``averaged`` makes them anew.
    Snapshots of separate minima do not average to a good model; compare before use.

    Args:
        states: tensors by name, the same names in each.

    >>> average_weights([{"w": torch.tensor([0.0])}, {"w": torch.tensor([1.0])}])["w"].tolist()
    [0.5]

    References: Izmailov et al., Averaging weights leads to wider optima, arXiv:1803.05407.
    """
    if not states:
        raise ValueError("an average needs at least one state (got none)")
    return {name: _mean([state[name] for state in states]) for name in states[-1]}


@torch.no_grad()
def averaged(model: nn.Module, states: Sequence[Mapping[str, Tensor]], batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """The mean of the states, ready to use: BatchNorm has statistics of its own.

    Args:
        model: images to logits; left as it was.
        states: of the model, by name.
        batches: training images ``(batch, channels, height, width)`` where the model is, all batches of the same size;
            not read where no statistics differ.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> averaged(model, [{"weight": torch.zeros(1, 1)}, {"weight": torch.ones(1, 1)}], [])["weight"].item()
    0.5

    References: Izmailov et al., Averaging weights leads to wider optima, arXiv:1803.05407, section 3.2.
    """
    before = host_copy(model.state_dict())
    try:
        model.load_state_dict(average_weights(states))
        refresh(model, moved(model, states), batches)
        return host_copy(model.state_dict())
    finally:
        model.load_state_dict(before)


def _mean(tensors: list[Tensor]) -> Tensor:
    if not tensors[0].is_floating_point():
        return tensors[-1].clone()
    total = torch.zeros_like(tensors[0], dtype=torch.promote_types(tensors[0].dtype, torch.float32))
    for tensor in tensors:
        total += tensor
    return (total / len(tensors)).to(tensors[0].dtype)
