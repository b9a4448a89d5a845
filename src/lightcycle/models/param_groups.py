"""Which parameters decay, and at which base rate each layer group trains."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from lightcycle.transfer.groups import LayerGroup


def param_groups(
    module: nn.Module,
    weight_decay: float | None = None,
    no_decay: bool = True,
    groups: Sequence[LayerGroup] | None = None,
    rates: Sequence[float] | None = None,
) -> list[dict[str, Any]]:
    """Every parameter of `module`, once, in named groups `decay` and `no_decay`, or such a pair for each layer group.

    Biases and normalization parameters (those of at most one dimension) do not decay. Frozen parameters are in
    their group too, so that unfreezing never changes the optimizer.

    Args:
        module: whose parameters to sort.
        weight_decay: of the groups `decay`; None leaves it to the optimizer.
        no_decay: False puts all in `decay`.
        groups: layer groups that hold every parameter of `module`; None makes no difference between layers.
        rates: base learning rate of each layer group; None leaves it to the optimizer.

    Raises:
        ValueError: the layer groups leave a parameter out or have it twice, or there are more or fewer rates.

    >>> [(g["name"], len(g["params"])) for g in param_groups(nn.Linear(2, 3))]
    [('decay', 1), ('no_decay', 1)]
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    >>> layers = [LayerGroup("body", ("0.weight", "0.bias")), LayerGroup("head", ("1.weight", "1.bias"))]
    >>> [(g["name"], g["lr"]) for g in param_groups(net, groups=layers, rates=[0.01, 0.1])]
    [('body/decay', 0.01), ('body/no_decay', 0.01), ('head/decay', 0.1), ('head/no_decay', 0.1)]
    """
    own = {} if weight_decay is None else {"weight_decay": weight_decay}
    if groups is None:
        return _pair(list(module.parameters()), "", no_decay, own)
    _check(module, groups, rates)
    pairs = []
    for index, group in enumerate(groups):
        params = [module.get_parameter(name) for name in group.parameters]
        pairs += _pair(params, f"{group.name}/", no_decay, own, {} if rates is None else {"lr": rates[index]})
    return pairs


def _pair(
    params: list[nn.Parameter], prefix: str, no_decay: bool, own: dict[str, Any], rate: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Those that decay and those that do not, as far as there are any."""
    rate = rate or {}
    spared = [p for p in params if no_decay and p.ndim <= 1]
    decayed = [p for p in params if not (no_decay and p.ndim <= 1)]
    decay = {"name": f"{prefix}decay", "params": decayed, **own, **rate}
    groups = [decay, {"name": f"{prefix}no_decay", "params": spared, "weight_decay": 0.0, **rate}]
    return [group for group in groups if group["params"]]


def _check(module: nn.Module, groups: Sequence[LayerGroup], rates: Sequence[float] | None) -> None:
    listed = [name for group in groups for name in group.parameters]
    if rates is not None and len(rates) != len(groups):
        raise ValueError(f"rates has {len(rates)} entries for {len(groups)} layer groups; give one rate for each")
    if wrong := {name for name, _ in module.named_parameters()}.symmetric_difference(listed):
        raise ValueError(f"the layer groups and the net do not agree about {sorted(wrong)[0]}; split this very net")
    if len(listed) != len(set(listed)):
        twice = next(name for name in listed if listed.count(name) > 1)
        raise ValueError(f"{twice} is in two layer groups, and can have one rate; split this very net")
