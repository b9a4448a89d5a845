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

    Args:
        watch: the validation metric to print.
    """

    def __init__(self, watch: str = "val/acc") -> None:
        self.watch = watch
        self._began = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.perf_counter()

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        logged = trainer.callback_metrics
        values = [f"{name} {float(logged[name]):.4f}" for name in ("train/loss", self.watch) if name in logged]
        rate = float(trainer.optimizers[0].param_groups[-1]["lr"])
        seconds = f"{time.perf_counter() - self._began:.1f} s" if self._began else ""
        print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", *values, f"lr {rate:.2e}", seconds, sep="  ")
