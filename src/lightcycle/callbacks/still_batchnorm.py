"""``StillBatchNorm``: a pretrained net keeps the statistics that its weights came with, while the weights train."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from lightcycle.transfer.freezing import BATCH_NORMS


class StillBatchNorm(Callback):
    """Keeps BatchNorm layers in evaluation mode during training: they normalize as they do in validation.

    A short fine-tuning gives running statistics no time to follow the weights, and small batches make poor ones. Scale
    and shift of the layers train on. Layers that somebody else has put into evaluation mode stay there afterwards.
    Works with any ``LightningModule``::

        Trainer(max_epochs=3, callbacks=[StillBatchNorm(), ParamScheduler(OneCycle())])

    In the app::

        python train.py +callbacks=still_batchnorm

    Source: "inference mode" of BatchNorm in Keras's guide to transfer learning and fine-tuning.
    """

    def __init__(self) -> None:
        self._still: list[nn.Module] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._hold(pl_module)  # a range test may follow

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._hold(pl_module)  # unfreezing wakes what joins, and a validation may have called train()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for layer in self._still:
            layer.training = True
        self._still = []

    def _hold(self, pl_module: LightningModule) -> None:
        for layer in pl_module.modules():
            if layer.training and isinstance(layer, BATCH_NORMS):
                layer.training = False
                if layer not in self._still:
                    self._still.append(layer)
