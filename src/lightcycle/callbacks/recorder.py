"""``Recorder``: what was really applied, and the loss it met, for the timeline picture and the loggers."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

VAL_LOSS = "val/loss"
"""The metric that the picture draws beside the training loss, where the module logs it."""

_FLUSH = 64  # steps between two copies of the losses from the device


class Recorder(Callback):
    """Remembers rates, momentum, both losses and the watched metric, thinned to a bounded number of points.

    Values are read back from the optimizer after the step, so that they are what was trained with. The record is in
    the checkpoint: a resumed run shows the whole picture. Rates also go to the loggers, as ``lr`` (or ``lr/GROUP``
    where groups differ) and ``momentum``, every ``log_every_n_steps``.

    Args:
        watch: the validation metric to remember.
        limit: at most so many training points, besides the last; when full, every second one is dropped.
    """

    def __init__(self, watch: str = "val/acc", limit: int = 4096) -> None:
        if limit < 2:
            raise ValueError(f"limit must be >= 2 (got {limit}); 4096 is enough for a picture")
        self.watch, self.limit = watch, limit
        self.stride = 1
        self.points: list[tuple[int, list[float], float | None, float]] = []  # step, lr per group, momentum, loss
        self.validations: list[tuple[int, float]] = []  # steps done, metric
        self.val_losses: list[tuple[int, float]] = []  # steps done, loss
        self.groups: list[str] = []
        self.validated_at = -1  # steps that were done at the latest validation
        self._waiting: list[tuple[int, list[float], float | None, torch.Tensor]] = []
        self._step, self._outputs = -1, None  # the latest step, and what its training_step gave

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for logger in trainer.loggers:
            if hasattr(
                logger, "forget_after"
            ):  # rows of a run that was cut off behind the checkpoint, or of an older run
                logger.forget_after(trainer.global_step - 1)
        optimizer, self._step = trainer.optimizers[0], trainer.global_step - 1
        self.groups = [group.get("name", f"group {i}") for i, group in enumerate(optimizer.param_groups)]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step - 1
        if step == self._step:  # still inside a window of accumulated batches
            return
        self._step, self._outputs = step, outputs
        if step % self.stride == 0:
            self._keep(trainer, step)
        if len(self._waiting) >= _FLUSH:
            self._flush()
        if step % trainer.log_every_n_steps == 0:
            self._log(trainer, step)

    def _keep(self, trainer: Trainer, step: int) -> None:
        if (loss := _loss(self._outputs)) is not None:
            self._waiting.append((step, *_applied(trainer), loss * trainer.accumulate_grad_batches))

    def _log(self, trainer: Trainer, step: int) -> None:
        rates, momentum = _applied(trainer)
        values = (
            {"lr": rates[0]}
            if len(set(rates)) == 1
            else {f"lr/{name}": rate for name, rate in zip(self.groups, rates, strict=True)}
        )
        if momentum is not None:
            values["momentum"] = momentum
        for logger in trainer.loggers:
            logger.log_metrics(values, step=step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.validated_at = trainer.global_step
        for name, points in ((self.watch, self.validations), (VAL_LOSS, self.val_losses)):
            if (value := trainer.callback_metrics.get(name)) is not None:
                points.append((trainer.global_step, float(value)))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._flush()
        if self._outputs is not None and self._step % self.stride:  # the last step, which the thinning passed over
            self._keep(trainer, self._step)
            self._take()
        self._outputs = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._flush()

    def _flush(self) -> None:
        """Takes what waits, and thins."""
        self._take()
        while len(self.points) > self.limit:
            self.stride *= 2
            self.points = [point for point in self.points if point[0] % self.stride == 0]

    def _take(self) -> None:
        """Brings the waiting losses over from the device, all at once."""
        if self._waiting:
            losses = torch.stack([point[3].float() for point in self._waiting]).tolist()
            self.points += [(*point[:3], loss) for point, loss in zip(self._waiting, losses, strict=True)]
            self._waiting = []

    def state_dict(self) -> dict[str, Any]:
        self._flush()
        kept = ("stride", "points", "validations", "val_losses")
        return {name: getattr(self, name) for name in kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.stride = state_dict["stride"]
        self.points, self.validations = list(state_dict["points"]), list(state_dict["validations"])
        self.val_losses = list(state_dict.get("val_losses", []))  # older checkpoints have none


def _applied(trainer: Trainer) -> tuple[list[float], float | None]:
    """The rate of each group and the momentum of the first, as the optimizer has them."""
    groups = trainer.optimizers[0].param_groups
    return [float(group["lr"]) for group in groups], momentum_of(groups[0])


def momentum_of(group: dict[str, Any]) -> float | None:
    """SGD's or RMSprop's momentum, Adam's beta1, ``None`` for optimizers without."""
    return float(group["betas"][0]) if "betas" in group else group.get("momentum")


def _loss(outputs: Any) -> torch.Tensor | None:
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    return loss.detach() if isinstance(loss, torch.Tensor) else None
