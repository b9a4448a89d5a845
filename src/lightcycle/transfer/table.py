"""The table of the layer groups: what trains, and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lightcycle.transfer.groups import LayerGroup

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

HEADER = ["group", "parameters", "lr", "trainable", "weight decay"]


def group_table(
    module: nn.Module, groups: Sequence[LayerGroup], optimizer: Optimizer
) -> tuple[list[str], list[list[Any]]]:
    """Header and rows: of each layer group its parameters, base rate, whether it trains, and its weight decay.

    Where parameters of a group differ, the cell holds all values.

    >>> from torch import nn, optim
    >>> net = nn.Linear(4, 2)
    >>> group_table(net, [LayerGroup("head", ("weight", "bias"))], optim.SGD(net.parameters(), lr=0.1))[1]
    [['head', '10', 0.1, 'yes', 0]]
    """
    settings = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    rows = []
    for group in groups:
        parameters = [module.get_parameter(name) for name in group.parameters]
        own = [settings[id(p)] for p in parameters if id(p) in settings]
        rows.append(
            [
                group.name,
                f"{sum(p.numel() for p in parameters):,}",
                _joined(float(one.get("initial_lr", one["lr"])) for one in own),
                _joined("yes" if p.requires_grad else "no" for p in parameters),
                _joined(one.get("weight_decay") for one in own),
            ]
        )
    return HEADER, rows


def _joined(values) -> Any:
    """The one value there is, or all of them in order."""
    distinct = list(dict.fromkeys(values))
    return distinct[0] if len(distinct) == 1 else ", ".join(str(value) for value in distinct)
