"""Which parameters decay."""

from typing import Any

from torch import nn


def param_groups(module: nn.Module, weight_decay: float | None = None, no_decay: bool = True) -> list[dict[str, Any]]:
    """Every parameter of `module`, once, in named groups `decay` and `no_decay`.

    Biases and normalization parameters (those of at most one dimension) do not decay. Frozen parameters are in
    their group too, so that unfreezing never changes the optimizer.

    Args:
        module: whose parameters to sort.
        weight_decay: of the group `decay`; None leaves it to the optimizer.
        no_decay: False puts all in `decay`.

    >>> [(g["name"], len(g["params"])) for g in param_groups(nn.Linear(2, 3))]
    [('decay', 1), ('no_decay', 1)]
    """
    params = list(module.parameters())
    spared = [p for p in params if no_decay and p.ndim <= 1]
    decayed = [p for p in params if not (no_decay and p.ndim <= 1)]
    own = {} if weight_decay is None else {"weight_decay": weight_decay}
    groups = [{"name": "decay", "params": decayed, **own}, {"name": "no_decay", "params": spared, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
