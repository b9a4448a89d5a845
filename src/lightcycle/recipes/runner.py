"""The runner: one trainer, one ``trainer.fit`` for each stage; epochs, steps and loggers count on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lightcycle.callbacks.base_rates import BaseRates
from lightcycle.callbacks.checkpoints import LastCheckpoint, save_last
from lightcycle.callbacks.param_scheduler import ParamScheduler
from lightcycle.callbacks.requeue import Requeue
from lightcycle.callbacks.stage import StageMark
from lightcycle.recipes.record import FOLDER, StageRecord, finished, read, stem
from lightcycle.recipes.resume import Place, is_over
from lightcycle.recipes.writer import RecordWriter
from lightcycle.schedules import Schedule


@dataclass
class Fit:
    """One stage, ready to run.

    Args:
        name: of the stage.
        schedule: what its ParamScheduler applies.
        epochs: at most so many.
        callbacks: fresh ones, with a ParamScheduler and a Recorder among them.
        module, data: called as the stage begins; data may be `None`, where the module has its own.
        max_steps: at most so many optimizer steps; -1 sets no bound.
        carries: whether the base rate of the stage before is where this one begins.
    """

    name: str
    schedule: Schedule
    epochs: int
    callbacks: list[Callback]
    module: Callable[[], LightningModule]
    data: Callable[[], Any]
    max_steps: int = -1
    carries: bool = False


def run_fits(
    trainer: Trainer, fits: Sequence[Fit], folder: Path, place: Place | None = None
) -> tuple[list[StageRecord], LightningModule]:
    """Runs the stages from a place on; gives the records of all of them, and the last one's module.

    A record is written as its stage ends, and the last checkpoint after it. Where a run is interrupted, Lightning ends
    the program; the interrupted stage's record is written before.

    Raises:
        ValueError: where nothing is left to train.
    """
    place, names = place or Place(), [fit.name for fit in fits]
    if place.epochs is not None:
        _settle_over(place, folder, fits[place.index])
    records = _earlier(place, names, folder)
    if place.state is not None and place.path is None:
        restore_border(trainer, fits[place.index - 1].module(), place.state)
        place.state = None  # its optimizer is not held to the end of the run
    for index in range(place.index, len(fits)):
        fit, there = fits[index], place if index == place.index else Place(index)
        if fit.carries and records:
            fit.callbacks = [BaseRates(records[-1].rates[-1][1]), *fit.callbacks]
        records.append(_run(trainer, fit, StageMark(names[index], index, len(fits)), folder, there))
        if records[-1] is None:
            records[-1] = _over(place, names, index)
    return records, trainer.lightning_module


def _run(trainer: Trainer, fit: Fit, mark: StageMark, folder: Path, place: Place) -> StageRecord | None:
    """One stage; `None` where the checkpoint was at its end."""
    began = (place.first_step, place.first_epoch) if place.path else (trainer.global_step, trainer.current_epoch)
    mark.began_at(*began)
    writer = RecordWriter(folder, mark)
    requeue = [Requeue(folder / "checkpoints")] if SLURMEnvironment.detect() else []
    trainer.callbacks = arranged([mark, *fit.callbacks, writer, *requeue])
    trainer.fit_loop.epoch_loop.max_steps = began[0] + fit.max_steps if fit.max_steps >= 0 else -1
    trainer.fit_loop.max_epochs = began[1] + fit.epochs if place.epochs is None else place.epochs
    if mark.count > 1:
        rank_zero_info(f"stage {mark.index + 1} of {mark.count}: {mark.name}")
    module = fit.module()
    if place.path is not None:
        _restore_early(module, place.state["state_dict"])
        place.state = None
    try:
        trainer.fit(module, datamodule=fit.data(), ckpt_path=place.path, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        writer.interrupted(trainer)
        raise
    if writer.record is not None and not any(isinstance(callback, LastCheckpoint) for callback in fit.callbacks):
        save_last(trainer, folder / "checkpoints")
    return writer.record


def arranged(callbacks: Sequence[Callback]) -> list[Callback]:
    """Checkpoints come last, as Lightning would have it: they save what the others have done."""
    return sorted(callbacks, key=lambda callback: isinstance(callback, Checkpoint))


def restore_border(trainer: Trainer, module: LightningModule, state: dict[str, Any]) -> None:
    """Puts trainer and module where they were when a stage was over: weights, counters, gradient scaler.

    Args:
        trainer: that has not run yet.
        module: of the stage that was over; what it shares with the next stage's module is what counts.
        state: the checkpoint.
    """
    loops = {name: dict(value) for name, value in state["loops"]["fit_loop"].items()}
    loops["state_dict"].pop("combined_loader", None)  # the place in the data of the stage that is over
    trainer.fit_loop.epoch_loop.max_steps = -1  # with a bound on steps, Lightning takes every state for a half epoch
    trainer.fit_loop.load_state_dict(loops)
    trainer.fit_loop.epoch_loop.val_loop.restarting = False  # the next stage's first validation is a new one
    module.on_load_checkpoint(state)
    module.load_state_dict(state["state_dict"], strict=module.strict_loading)
    plugin = trainer.precision_plugin
    if scaler := state.get(type(plugin).__qualname__):
        plugin.load_state_dict(scaler)


def _restore_early(module: LightningModule, weights: dict[str, Any]) -> None:
    """Lightning restores weights behind the data, which may be features of this body; so they are put in before, too.

    Not where layers are still to be made, by ``configure_model``: those cannot have been cut in two yet.
    """
    if module.state_dict().keys() == weights.keys():
        module.load_state_dict(weights)


def _replans(fit: Fit) -> bool:
    """Whether the fit may be planned otherwise than the checkpoint was."""
    return any(isinstance(callback, ParamScheduler) and callback.on_resume != "same" for callback in fit.callbacks)


def _settle_over(place: Place, folder: Path, fit: Fit) -> None:
    """What a checkpoint at the end of training means: the end, its figures are missing, or a longer plan goes on.

    Raises:
        ValueError: nothing is left; the plan is another one, unasked; what is left belongs into another folder.
    """
    then, now = _plans(place.root, place.index, fit)
    if then != now and _replans(fit):
        place.epochs = None
    elif is_over(place.root):
        raise ValueError(_NOTHING_LEFT.format(path=place.path))
    elif place.root.resolve() != folder.resolve():
        raise ValueError(
            f"resume={place.path} is at the end of training, and what is left is done in its own folder (got {folder}"
            f"); give {place.root} as the run's folder too"
        )
    elif then != now:
        raise ValueError(
            f"resume={place.path} is at the end of training, which was planned as {then} (got {now}); take that plan "
            "to finish it, or on_resume=replan to go on"
        )


def _plans(root: Path, index: int, fit: Fit) -> tuple[str, str]:
    """The plan of a stage that is over, by its record, and the one of now; the same where there is no record."""
    path = root / FOLDER / f"{stem(index, fit.name)}.json"
    now = f"{fit.schedule!r}, epochs={fit.epochs}" + (f", max_steps={fit.max_steps}" if fit.max_steps >= 0 else "")
    if not path.exists():
        return now, now
    record = read(path)
    whole = sum(record.lengths) if record.lengths else record.planned
    bound = min(fit.max_steps, whole) if fit.max_steps >= 0 else whole
    same_length = record.planned == bound and (fit.max_steps >= 0 or len(record.lengths or ()) in (0, fit.epochs))
    if same_length and record.schedule == repr(fit.schedule):
        return now, now
    return f"{record.schedule}, epochs={len(record.lengths or ())} ({record.planned} steps)", now


_NOTHING_LEFT = (
    "resume={path} is at the end of its run, and nothing is left to train; resume an earlier checkpoint, or go on with "
    "epochs=... on_resume=replan"
)


def _earlier(place: Place, names: list[str], folder: Path) -> list[StageRecord]:
    """The records of the stages that are over, copied where the run goes on in another folder."""
    if place.root is None:
        return []
    records = finished(place.root, names[: place.index])
    for record in records:
        if not record.path(folder).exists():
            record.write(folder)
    return records


def _over(place: Place, names: list[str], index: int) -> StageRecord:
    """The record of a last stage that was over already: a run that was cut off behind it goes on to its test."""
    records = finished(place.root, names)
    if len(records) > index and not is_over(place.root):
        return records[index]
    raise ValueError(_NOTHING_LEFT.format(path=place.path))
