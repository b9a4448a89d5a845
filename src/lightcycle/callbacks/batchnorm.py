"""BatchNorm's running statistics, measured anew on a number of batches; weights are not touched."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lightcycle.ensembling.batchnorm import measuring
from lightcycle.transfer.freezing import BATCH_NORMS


def refresh_batchnorm(
    module: nn.Module,
    batches: Iterable[Any],
    forward: Callable[[Any], Any],
    mean: Callable[[Tensor], Tensor] = lambda value: value,
) -> int:
    """Replaces the running statistics by the plain mean over the batches; returns how many layers have some.

    Layers in evaluation mode, which are frozen, are left alone. Everything else runs in evaluation mode meanwhile, so
    that dropout is off as it will be when the statistics are used.

    Args:
        module: the net or the module around it.
        batches: what ``forward`` is called with.
        forward: runs the net.
        mean: over the processes, where there are several.

    References: Izmailov et al., arXiv:1803.05407, section 3.2; Wu & Johnson, arXiv:2105.07576.
    """
    layers = [part for part in module.modules() if isinstance(part, BATCH_NORMS)]
    layers = [layer for layer in layers if layer.training and layer.running_mean is not None]
    if not layers:
        return 0
    counted = [layer.num_batches_tracked.clone() for layer in layers]
    with measuring(module, layers), torch.no_grad():
        for batch in batches:
            forward(batch)
    for layer, count in zip(layers, counted, strict=True):
        layer.num_batches_tracked.copy_(count)
        layer.running_mean.copy_(mean(layer.running_mean))
        layer.running_var.copy_(mean(layer.running_var))
    return len(layers)
