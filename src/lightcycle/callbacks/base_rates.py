"""``BaseRates``: gives a fit its own base learning rates, whatever the module's ``configure_optimizers`` says."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightcycle.callbacks.layer_groups import layer_groups_of
from lightcycle.callbacks.param_scheduler import base_lrs, set_lr
from lightcycle.callbacks.range_test import lr_ratios
from lightcycle.transfer.rates import check_lr, rates


class BaseRates(Callback):
    """Writes base rates into the optimizer's groups as a fit starts; put it in front of the ``ParamScheduler``.

    Args:
        lr: a number is the rate of the fastest group, and the others keep their ratios to it; a list has one rate for
            each layer group, ``{"first": 1e-5, "last": 1e-3}`` spaces them evenly on a log scale.
        groups: the layer groups, as in ``GradualUnfreezing``; a list is its own number of them unless given.

    Raises:
        ValueError: in a sentence, for rates that are none, and for an optimizer whose groups mix layer groups.
    """

    def __init__(self, lr: float | Sequence[float] | Mapping[str, float], groups: Any = None) -> None:
        check_lr(lr)
        self.lr, self.how = lr, groups

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        optimizer = trainer.optimizers[0]
        if isinstance(self.lr, Mapping | Sequence):
            new = self._by_layer(trainer, pl_module)
        elif max(base_lrs(optimizer)) > 0:
            new = [self.lr * ratio for ratio in lr_ratios(optimizer)]
        else:
            new = [self.lr] * len(optimizer.param_groups)
        for group, rate in zip(optimizer.param_groups, new, strict=True):
            group["initial_lr"] = rate
            set_lr(group, rate)

    def _by_layer(self, trainer: Trainer, pl_module: LightningModule) -> list[float]:
        """The rate of each group of the optimizer: that of the layer group its parameters are in."""
        how = len(self.lr) if self.how is None and isinstance(self.lr, Sequence) else self.how
        groups = layer_groups_of(pl_module, how, trainer.optimizers)
        of_group = rates(self.lr, groups)
        at = {id(pl_module.get_parameter(name)): i for i, group in enumerate(groups) for name in group.parameters}
        found = []
        for group in trainer.optimizers[0].param_groups:
            layers = {at[id(parameter)] for parameter in group["params"] if id(parameter) in at}
            if len(layers) != 1:
                raise ValueError(
                    f"lr has a rate for each layer group, and one group of the optimizer holds parameters of "
                    f"{len(layers)} of them; make a parameter group for each: lightcycle.models.param_groups"
                )
            found.append(of_group[layers.pop()])
        return found
