"""The ensemble as a model: images in, one prediction out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lightcycle.ensembling.average import combine
from lightcycle.ensembling.batchnorm import evaluating

HOLD = ("device", "host", "stacked")


class Ensemble(nn.Module):
    """Averages what one network predicts with the weights of each member.

    Gives log-probabilities ``(batch, classes)``: logits whose softmax is the averaged prediction, so that it stands
    wherever a classifier does. Members run through the same network, in evaluation mode: one at a time, or stacked.

    Args:
        model: images ``(batch, channels, height, width)`` to logits ``(batch, classes)``; its own weights do not count.
        states: tensors of each member by name, as ``Snapshot.load`` gives them; names it lacks stay the model's.
        by: ``softmax``, ``logits`` or ``votes``, as in ``combine``.
        weights: of the members; equal unless given.
        hold: ``device`` keeps all members where the ensemble is moved to; ``host`` keeps them in host memory and
            brings one at a time, for networks that do not fit so often; ``stacked`` keeps them as one on the device
            and runs them at once (``torch.vmap``), for networks so small that starting each operation is the cost.

    Raises:
        ValueError: without members, and for a member whose names are not the model's.

    >>> model, states = nn.Linear(1, 2, bias=False), [{"weight": torch.tensor([[w], [0.0]])} for w in (1.0, 3.0)]
    >>> [round(p, 3) for p in Ensemble(model, states)(torch.ones(1, 1)).exp()[0].tolist()]
    [0.842, 0.158]

    References: Huang et al., Snapshot ensembles, arXiv:1704.00109.
    """

    def __init__(
        self,
        model: nn.Module,
        states: Sequence[Mapping[str, Tensor]],
        by: str = "softmax",
        weights: Sequence[float] | Tensor | None = None,
        hold: str = "device",
    ) -> None:
        super().__init__()
        if hold not in HOLD:
            raise ValueError(f"hold must be one of {', '.join(HOLD)} (got {hold!r}); device is usual")
        _check(model, states)
        combine(torch.ones(len(states), 1, 1), by, weights)  # refuses here, not at the first image
        self.model, self.by, self.hold = model, by, hold
        self.weights = None if weights is None else torch.as_tensor(weights).tolist()
        self.count = len(states)
        self.on_host = list(states) if hold == "host" else []
        held = [_stack(states)] if hold == "stacked" else states
        self.on_device = nn.ModuleList(_Tensors(state) for state in held if hold != "host")
        self.eval()

    def __len__(self) -> int:
        return self.count

    def train(self, mode: bool = True) -> Ensemble:
        """Stays in evaluation mode: members are finished."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Log-probabilities `(batch, classes)` of images `(batch, channels, height, width)`."""
        return combine(self.members(images), self.by, self.weights).log()

    def members(self, images: Tensor) -> Tensor:
        """Probabilities of each member, ``(members, batch, classes)``."""
        if self.hold == "stacked":
            (held,) = self.on_device
            said = torch.vmap(lambda state: functional_call(self.model, state, (images,)))(held.state())
            return said.float().softmax(-1)
        return torch.stack([self._member(state, images) for state in self.states])

    @property
    def states(self) -> list[Mapping[str, Tensor]]:
        """The tensors of each member by name, where they are held."""
        held = self.on_host or [tensors.state() for tensors in self.on_device]
        if self.hold != "stacked":
            return held
        return [{name: tensor[i] for name, tensor in held[0].items()} for i in range(self.count)]

    def _member(self, state: Mapping[str, Tensor], images: Tensor) -> Tensor:
        there = {name: tensor.to(images.device, non_blocking=True) for name, tensor in state.items()}
        return functional_call(self.model, there, (images,)).float().softmax(-1)


class _Tensors(nn.Module):
    """Tensors under names that have dots, which buffers may not have; they move with the module they are in."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = list(state)
        for i, tensor in enumerate(state.values()):
            self.register_buffer(f"t{i}", tensor)

    def state(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.buffers(recurse=False), strict=True))


@torch.no_grad()
def probabilities(model: nn.Module, batches: Iterable[Any], state: Mapping[str, Tensor] | None = None) -> Tensor:
    """What a model predicts for every sample, ``(n, classes)`` on the CPU, in evaluation mode.

    Args:
        model: images to logits; its mode and its weights are left as they were.
        batches: images ``(batch, channels, height, width)``, alone or in front of labels.
        state: weights to use in place of the model's own.

    >>> probabilities(nn.Linear(1, 2), [torch.ones(3, 1), [torch.ones(1, 1), torch.zeros(1)]]).shape
    torch.Size([4, 2])
    """
    return each_probabilities(model, batches, [state])[0]


@torch.no_grad()
def each_probabilities(
    model: nn.Module, batches: Iterable[Any], states: Sequence[Mapping[str, Tensor] | None]
) -> Tensor:
    """What several weights of a model predict, ``(states, n, classes)``: the batches, which cost more, are read once.

    Args:
        model, batches: as for ``probabilities``.
        states: of weights, in memory of any kind: each goes to the images' device when its turn comes; ``None`` is the
            model's own.

    >>> other = {"weight": torch.zeros(2, 1), "bias": torch.zeros(2)}
    >>> each_probabilities(nn.Linear(1, 2), [torch.ones(3, 1)], [None, other])[1].tolist()
    [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]
    """
    found = []
    with evaluating(model):
        for batch in batches:
            images = batch if isinstance(batch, Tensor) else batch[0]
            said = [_logits(model, images, state).float().softmax(-1).cpu() for state in states]
            found.append(torch.stack(said))
    return torch.cat(found, dim=1)


def _logits(model: nn.Module, images: Tensor, state: Mapping[str, Tensor] | None) -> Tensor:
    if state is None:
        return model(images)
    return functional_call(model, {name: tensor.to(images.device) for name, tensor in state.items()}, (images,))


def _stack(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    if any(state.keys() != states[0].keys() for state in states):
        raise ValueError("hold='stacked' needs the same names in every member; hold='device' does not")
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def _check(model: nn.Module, states: Sequence[Mapping[str, Tensor]]) -> None:
    if not states:
        raise ValueError("an ensemble needs at least one member (got none); snapshots(folder) lists what a run kept")
    known = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for i, state in enumerate(states):
        for name, tensor in state.items():
            if name not in known or known[name].shape != tensor.shape:
                there = f"{tuple(known[name].shape)}" if name in known else "no such name"
                raise ValueError(
                    f"member {i + 1} has {name} of shape {tuple(tensor.shape)} and the model {there}; "
                    "build the model that the members were trained as"
                )
