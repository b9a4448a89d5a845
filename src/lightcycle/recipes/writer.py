"""Writing the record of a stage, from what the callbacks of its fit have seen."""

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightcycle.callbacks.checkpoints import save_whole
from lightcycle.callbacks.gradual_unfreezing import GradualUnfreezing
from lightcycle.callbacks.lr_finder import LRFinder, base_lr
from lightcycle.callbacks.param_scheduler import ParamScheduler
from lightcycle.callbacks.range_test import lr_ratios
from lightcycle.callbacks.recorder import Recorder
from lightcycle.callbacks.stage import StageMark
from lightcycle.callbacks.stop_on_overfitting import StopOnOverfitting
from lightcycle.recipes.record import FOLDER, StageRecord, forget_from, stem


class RecordWriter(Callback):
    """Writes ``stages/<k>-<name>.json`` as its stage ends, and the weights there unless the stage is the last.

    It comes behind all that has something to do at the end, and in front of the checkpoints: a checkpoint that says a
    stage is over has its record beside it.
    """

    def __init__(self, folder: Path, mark: StageMark) -> None:
        self.folder, self.mark = folder, mark
        self.record: StageRecord | None = None
        self._began = time.perf_counter()
        self._filled: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            forget_from(self.folder, self.mark.index)
        if (filled := getattr(trainer.datamodule, "filled_seconds", None)) is not None:
            self._filled = (self._filled or 0.0) + filled

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)
        if self.mark.index + 1 < self.mark.count:
            path = self.folder / FOLDER / f"{stem(self.mark.index, self.mark.name)}.ckpt"
            save_whole(trainer, path, weights_only=True)

    @property
    def seconds(self) -> float:
        """Those of this process, and those of the processes before it up to the checkpoint that was resumed."""
        return time.perf_counter() - self._began

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "filled": self._filled}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._began -= state_dict["seconds"]
        self._filled = state_dict.get("filled")

    def interrupted(self, trainer: Trainer) -> None:
        """Writes what happened so far, if anything did."""
        begun = the(ParamScheduler, trainer).plan is not None and bool(trainer.optimizers)
        if begun and trainer.global_step > self.mark.first_step and self.record is None:
            self._write(trainer, interrupted=True)

    def _write(self, trainer: Trainer, interrupted: bool = False) -> None:
        self.record = recorded(trainer, self.mark, self.seconds)
        self.record.interrupted, self.record.features_seconds = interrupted, self._filled
        if trainer.is_global_zero:
            self.record.write(self.folder)


def recorded(trainer: Trainer, mark: StageMark, seconds: float) -> StageRecord:
    """What happened in the stage that the trainer is in."""
    scheduler, seen = the(ParamScheduler, trainer), the(Recorder, trainer)
    plan, steps = scheduler.plan, trainer.global_step - mark.first_step
    found = [record for c in trainer.callbacks if isinstance(c, LRFinder) for record in c.found.values()]
    kept = next((c.figures for c in trainer.callbacks if isinstance(c, StopOnOverfitting)), {})
    return StageRecord(
        name=mark.name,
        index=mark.index,
        first_step=mark.first_step,
        first_epoch=mark.first_epoch,
        steps=steps,
        epochs=plan.horizon.epoch_at(steps) if plan.horizon.lengths else None,
        planned=plan.steps,
        lengths=plan.horizon.lengths and list(plan.horizon.lengths),
        schedule=repr(scheduler.schedule),
        stretch=plan.stretch,
        groups=seen.groups,
        ratios=lr_ratios(trainer.optimizers[0]),
        rates=_rates(trainer, mark, found),
        depth=next((c.plan.points for c in trainer.callbacks if isinstance(c, GradualUnfreezing) and c.plan), []),
        cycle_ends=list(plan.cycle_ends),
        points=seen.points,
        validations=seen.validations,
        val_losses=seen.val_losses,
        watch=seen.watch,
        figures={**numbers(trainer.callback_metrics), **kept},
        seconds=seconds,
        lr_find=found,
    )


def _rates(trainer: Trainer, mark: StageMark, found: list[dict[str, Any]]) -> list[tuple[int, float]]:
    """(step, base rate of the fastest group from there on): the stage's own, and what was found on the way."""
    applied = [each for each in found if each["applied"] is not None]
    first = applied[0]["before"] if applied else base_lr(trainer)
    return [(mark.first_step, first), *((each["step"], each["applied"]) for each in applied)]


def the(kind: type, trainer: Trainer) -> Any:
    """The trainer's callback of a kind."""
    return next(callback for callback in trainer.callbacks if isinstance(callback, kind))


def numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """Logged metrics as numbers, without those of single steps."""
    return {name: float(value) for name, value in metrics.items() if not name.endswith("_step")}
