"""What one sees while it trains: a bar on a terminal, a line per epoch elsewhere."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities.rank_zero import rank_zero_only


class Progress(RichProgressBar):
    """Lightning's rich bar with the learning rate beside the loss.

    Args:
        refresh_rate: batches between two redraws; drawing at every batch slows small nets down.
    """

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate=refresh_rate)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        if trainer.training and trainer.optimizers:
            metrics["lr"] = f"{float(trainer.optimizers[0].param_groups[-1]['lr']):.2e}"
        return metrics


class EpochLines(Callback):
    """Prints a line after every epoch, for logs and pipes: loss, the watched metric, the rate, seconds.

    A line comes when the next epoch starts, or at the end: only then the module's own means of the epoch are there.

    Args:
        watch: the metric to print beside the loss.
    """

    def __init__(self, watch: str = "val/acc") -> None:
        self.watch = watch
        self._epochs, self._began = 0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epochs, self._began = trainer.current_epoch, time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._line(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._line(trainer)

    @rank_zero_only
    def _line(self, trainer: Trainer) -> None:
        """The line of the epoch that is done, once."""
        if trainer.current_epoch == self._epochs:
            return
        logged = trainer.callback_metrics
        names = dict.fromkeys(("train/loss_epoch", self.watch))
        values = [f"{name.removesuffix('_epoch')} {float(logged[name]):.4f}" for name in names if name in logged]
        rate = float(trainer.optimizers[0].param_groups[-1]["lr"])
        seconds = f"{time.perf_counter() - self._began:.1f} s"
        print(f"epoch {trainer.current_epoch}/{trainer.max_epochs}", *values, f"lr {rate:.2e}", seconds, sep="  ")
        self._epochs, self._began = trainer.current_epoch, time.perf_counter()
