"""``StopOnOverfitting``: ends a fit at the end of a cycle behind which it only learns its training images by heart."""

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lightcycle.callbacks.param_scheduler import ParamScheduler


class StopOnOverfitting(Callback):
    """Ends the fit at a cycle's end when the validation loss has risen while the training loss fell; keeps the best.

    A cycle counts as over-fitted when its end has a validation loss above that of the best cycle end so far, and a
    training loss (mean over the cycle's last epoch) below it. After ``patience`` of them in a row the fit ends.
    Whenever it ends, the module gets the weights with the lowest validation loss back: those of a cycle's end, or those
    that the fit began with, which are validated first. Between cycle ends nothing is judged: the rate is high there,
    and the model at no minimum. Works with any ``LightningModule``::

        Trainer(max_epochs=15, callbacks=[ParamScheduler(SGDR(cycles=4)), StopOnOverfitting()])

    In the app a stage says ``until: overfitting``, or::

        python train.py +callbacks=stop_on_overfitting

    Args:
        patience: over-fitted cycles in a row that end the fit.
        monitor: the validation loss.

    Raises:
        ValueError: in a sentence, without a ParamScheduler that has cycles, without a validation at their ends.

    Source: step 8 of the fast.ai checklist, "train full network with cycle_mult=2 until over-fitting".
    """

    def __init__(self, patience: int = 1, monitor: str = "val/loss") -> None:
        if not isinstance(patience, int) or isinstance(patience, bool) or patience < 1:
            raise ValueError(f"stop_on_overfitting.patience must be a whole number >= 1 (got {patience!r}); 1 is usual")
        self.patience, self.monitor = patience, monitor
        self.kept: dict[str, Any] | None = None
        self.overfitted = 0
        self.ends: list[dict[str, float]] = []
        self._sum: torch.Tensor | float = 0.0
        self._count = 0
        self._restored = False
        self._sanity_steps: int | float | None = None

    # -- the start of a fit ------------------------------------------------------------------------------------------

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not any(isinstance(callback, ParamScheduler) for callback in trainer.callbacks):
            raise ValueError("StopOnOverfitting ends a fit at the end of a cycle; add a ParamScheduler with cycles")
        restored, self._restored = self._restored, False
        if restored:
            return
        self.kept, self.overfitted, self.ends = None, 0, []
        self._sum, self._count = 0.0, 0
        # Lightning's sanity check, made a whole validation: it says how good the weights are to begin with
        self._sanity_steps, trainer.num_sanity_val_steps = trainer.num_sanity_val_steps, math.inf

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._sanity_steps is not None:
            trainer.num_sanity_val_steps, self._sanity_steps = self._sanity_steps, None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_ends(trainer)
        self._sum, self._count = 0.0, 0

    def _check_ends(self, trainer: Trainer) -> None:
        """Every cycle has to end with an epoch that is validated, else nobody knows how it did."""
        scheduler = self._scheduler(trainer)
        plan, cut = scheduler.plan, scheduler.clock.is_cut_short(trainer)
        if not plan.cycle_ends:
            raise ValueError(
                f"StopOnOverfitting judges at the ends of cycles, and {type(plan.schedule).__name__} has none; use "
                "schedule=sgdr or clr"
            )
        inside = [end for end in plan.cycle_ends if plan.horizon.lengths and end not in plan.horizon.starts]
        if inside and not cut:
            raise ValueError(
                f"StopOnOverfitting judges a cycle by the validation at its end, and one ends inside an epoch, after "
                f"{inside[0]} steps; give cycles of whole epochs"
            )
        if not cut and (not trainer.enable_validation or trainer.check_val_every_n_epoch != 1):
            raise ValueError("StopOnOverfitting needs a validation after every epoch; give the trainer validation data")

    # -- every step --------------------------------------------------------------------------------------------------

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, torch.Tensor):
            self._sum = self._sum + loss.detach().float() * trainer.accumulate_grad_batches
            self._count += 1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        if trainer.sanity_checking:
            self._keep(trainer, pl_module, self._reduced(trainer, self._validation_loss(trainer)))
            return
        scheduler = self._scheduler(trainer)
        step = scheduler.clock.step(trainer)
        if scheduler.plan is not None and step in scheduler.plan.cycle_ends and self._is_new(trainer):
            self._judge(trainer, pl_module)

    def _is_new(self, trainer: Trainer) -> bool:
        return not self.ends or self.ends[-1]["step"] != trainer.global_step

    # -- a cycle's end -----------------------------------------------------------------------------------------------

    def _judge(self, trainer: Trainer, pl_module: LightningModule) -> None:
        val, train = self._reduced(trainer, self._validation_loss(trainer), self._sum / max(self._count, 1))
        best = min(self.ends, key=lambda end: end["val"], default=None)
        self.ends.append({"step": trainer.global_step, "val": val, "train": train})
        if self.kept is None or val < self.kept["val"]:
            self._keep(trainer, pl_module, [val])
        if best is None or val < best["val"]:
            self.overfitted = 0
            return
        self.overfitted = self.overfitted + 1 if val > best["val"] and train < best["train"] else 0
        if self.overfitted >= self.patience:
            trainer.should_stop = True
            rank_zero_info(
                f"over-fitting: since step {best['step']} the validation loss rose from {best['val']:.4f} to "
                f"{val:.4f} while the training loss fell from {best['train']:.4f} to {train:.4f}"
            )

    def _keep(self, trainer: Trainer, pl_module: LightningModule, loss: list[float]) -> None:
        weights = {name: value.detach().cpu().clone() for name, value in pl_module.state_dict().items()}
        figures = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val")}
        self.kept = {"step": trainer.global_step, "val": loss[0], "figures": figures, "weights": weights}

    def _validation_loss(self, trainer: Trainer) -> float:
        if (val := trainer.callback_metrics.get(self.monitor)) is None:
            logged = ", ".join(sorted(trainer.callback_metrics)) or "none"
            raise ValueError(f"StopOnOverfitting watches {self.monitor}, which nobody logged; logged are: {logged}")
        return float(val)

    def _reduced(self, trainer: Trainer, *losses: float | torch.Tensor) -> list[float]:
        """Losses, the same on all processes."""
        each = torch.tensor([float(loss) for loss in losses], device=trainer.strategy.root_device)
        return trainer.strategy.reduce(each, reduce_op="mean").tolist()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.ends and self.kept is not None and self.kept["step"] != trainer.global_step:
            pl_module.load_state_dict(self.kept["weights"])
            which = "the best end of a cycle" if self.kept["step"] in self._end_steps() else "those it began with"
            rank_zero_info(f"the weights of step {self.kept['step']}, {which}, are put back")

    def _end_steps(self) -> list[float]:
        return [end["step"] for end in self.ends]

    @property
    def figures(self) -> dict[str, float]:
        """The validation's figures for the weights that were kept; empty before the first cycle end."""
        return dict(self.kept["figures"]) if self.ends and self.kept is not None else {}

    def _scheduler(self, trainer: Trainer) -> ParamScheduler:
        return next(callback for callback in trainer.callbacks if isinstance(callback, ParamScheduler))

    # -- the checkpoint ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        state = {"kept": self.kept, "overfitted": self.overfitted, "ends": self.ends}
        return {**state, "sum": float(self._sum), "count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.kept, self.overfitted = state_dict["kept"], state_dict["overfitted"]
        self.ends, self._restored = list(state_dict["ends"]), True
        self._sum, self._count = state_dict["sum"], state_dict["count"]
