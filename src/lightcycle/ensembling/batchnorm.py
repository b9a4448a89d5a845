"""BatchNorm's running statistics made anew: mixed weights have no use for mixed statistics."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lightcycle.transfer.freezing import BATCH_NORMS


def moved(module: nn.Module, states: Sequence[Mapping[str, Tensor]]) -> list[str]:
    """Names of the BatchNorm layers whose running statistics are not the same in all states; frozen ones are.

    A single state cannot tell: all layers count.

    >>> net = nn.Sequential(nn.BatchNorm1d(2))
    >>> moved(net, [net.state_dict(), {**net.state_dict(), "0.running_mean": torch.ones(2)}])
    ['0']
    """
    return [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, BATCH_NORMS)
        and layer.running_mean is not None
        and _differs(f"{name}.running_mean", states)
    ]


@torch.no_grad()
def refresh(module: nn.Module, layers: Collection[str], batches: Iterable[Tensor]) -> None:
    """Set the running statistics of some BatchNorm layers to their means over batches; the rest evaluates meanwhile.

    ``torch.optim.swa_utils.update_bn`` does it for all layers, with dropout on.

    Args:
        module: its mode is left as it was.
        layers: names of BatchNorm layers in it.
        batches: images ``(batch, channels, height, width)``, each batch of the same size.

    Source: Izmailov et al. 2018, arXiv:1803.05407; why mixed nets need it: Jordan et al. 2022,
    arXiv:2211.08403.
    """
    chosen = [module.get_submodule(name) for name in layers]
    with measuring(module, chosen):
        for images in batches if chosen else ():
            module(images)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; afterwards each part has the mode it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def measuring(module: nn.Module, layers: Collection[nn.Module]) -> Iterator[None]:
    """For a while the layers count from zero and average over all batches, and the rest of the module evaluates."""
    momenta = [layer.momentum for layer in layers]
    with evaluating(module):
        try:
            for layer in layers:
                layer.reset_running_stats()
                layer.momentum = None  # torch's way to say: the mean over all
                layer.train()
            yield
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum


def _differs(name: str, states: Sequence[Mapping[str, Tensor]]) -> bool:
    return len(states) == 1 or any(not torch.equal(states[0][name], state[name]) for state in states[1:])
