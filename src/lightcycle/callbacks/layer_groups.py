"""The layer groups of a module in training, and the table of them."""

from collections.abc import Iterable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.optim import Optimizer

from lightcycle.models.surgery import head_name
from lightcycle.transfer.groups import LayerGroup, layer_groups
from lightcycle.transfer.table import group_table


def layer_groups_of(pl_module: LightningModule, how: Any, optimizers: Iterable[Optimizer]) -> list[LayerGroup]:
    """The layer groups of a module, without parameters that no optimizer has: those are somebody else's.

    Args:
        pl_module: the module; where one child holds all its parameters, names and stages are that child's.
        how: ``None`` (the module's own ``layer_groups``, or its stages), ``"stages"``, a number, patterns, a list of
            groups, or a function of the module that returns one.
        optimizers: those of the trainer.

    Raises:
        ValueError: in a sentence, where the module cannot be split so, or has fewer than two groups.
    """
    found = _found(pl_module, how)
    ours = {id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    groups = []
    for group in found:
        kept = tuple(name for name in group.parameters if id(pl_module.get_parameter(name)) in ours)
        if kept:
            groups.append(LayerGroup(group.name, kept, sum(pl_module.get_parameter(name).numel() for name in kept)))
    if len(groups) < 2:
        raise ValueError(
            f"{type(pl_module).__name__} has {len(groups)} layer group in its optimizer, so there is nothing to "
            "unfreeze; give the optimizer all parameters from the start, and groups=2 or more"
        )
    return groups


def _found(pl_module: LightningModule, how: Any) -> list[LayerGroup]:
    if how is None:
        how = getattr(pl_module, "layer_groups", None) or "stages"
    if callable(how):
        how = how(pl_module)
    if isinstance(how, list | tuple) and how and isinstance(how[0], LayerGroup):
        return list(how)
    path, net = _net(pl_module)
    groups = layer_groups(net, how, head_name(net))
    return [group.under(path) for group in groups] if path else groups


def _net(pl_module: LightningModule) -> tuple[str, nn.Module]:
    """The child that holds all parameters, with its name; else the module itself."""
    total = len(list(pl_module.parameters()))
    whole = [(name, child) for name, child in pl_module.named_children() if len(list(child.parameters())) == total]
    return whole[0] if whole else ("", pl_module)


class GroupTable(Callback):
    """Prints the table of the layer groups when training starts: group, parameters, lr, trainable, weight decay.

    Args:
        groups: as in ``GradualUnfreezing``.
    """

    def __init__(self, groups: Any = None) -> None:
        self.how = groups

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            from lightcycle.report.table import print_table

            groups = layer_groups_of(pl_module, self.how, trainer.optimizers)
            print_table("layer groups", *group_table(pl_module, groups, trainer.optimizers[0]))
