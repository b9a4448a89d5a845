"""``LastCheckpoint``: the run as it was at the end of the latest epoch, and of the one before, each file whole."""

import os
import zipfile
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class LastCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` after every epoch and at the end of the fit; the one before it stays as ``previous.ckpt``.

    A file is written beside its place, synced, and renamed: a process that is killed at any moment leaves at least one
    whole checkpoint behind, once there was one. What is saved is all that a resumed fit needs.

    In the app it is always there; its YAML is ``callbacks.last``.

    Args:
        dirpath: folder of the two files.
        every_n_epochs: epochs between two checkpoints.

    Raises:
        ValueError: if ``every_n_epochs`` is below 1.
    """

    def __init__(self, dirpath: str | os.PathLike, every_n_epochs: int = 1) -> None:
        if not isinstance(every_n_epochs, int) or isinstance(every_n_epochs, bool) or every_n_epochs < 1:
            raise ValueError(f"every_n_epochs must be a whole number >= 1 (got {every_n_epochs!r}); 1 is usual")
        self.folder, self.every_n_epochs = Path(dirpath), every_n_epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Not after the fit's last epoch: other callbacks have something to do at its end, which belongs to it."""
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0 and not ends_here(trainer):
            save_last(trainer, self.folder)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        save_last(trainer, self.folder)


def ends_here(trainer: Trainer) -> bool:
    """Whether the epoch that is over is the last of its fit."""
    by_epochs = (trainer.max_epochs or -1) >= 0 and trainer.current_epoch + 1 >= trainer.max_epochs
    by_steps = trainer.max_steps >= 0 and trainer.global_step >= trainer.max_steps
    return by_epochs or by_steps or trainer.should_stop


def save_last(trainer: Trainer, folder: Path) -> None:
    """Writes ``last.ckpt`` and keeps the one before it; every process takes part."""
    save_whole(trainer, folder / LAST, keep=folder / PREVIOUS)


def save_whole(trainer: Trainer, path: Path, *, weights_only: bool = False, keep: Path | None = None) -> None:
    """Saves a checkpoint beside its place and renames it, so that it is whole or not there; all processes take part.

    Args:
        trainer: what to save.
        path: the file.
        weights_only: leaves out the optimizer and the callbacks.
        keep: where the file goes that was there before.
    """
    temp = path.with_name(f".{path.name}.tmp")
    for logger in trainer.loggers:
        if hasattr(logger, "flush"):  # what was logged before the checkpoint is not logged again after a resume
            logger.flush()
    trainer.save_checkpoint(temp, weights_only=weights_only)
    if trainer.is_global_zero:
        _sync(temp)
        if keep is not None and zipfile.is_zipfile(path):  # a torn one does not take the place of a whole one
            os.replace(path, keep)
        os.replace(temp, path)
        _sync(path.parent)
    trainer.strategy.barrier()


def _sync(path: Path) -> None:
    """Waits until the disk has it, where the system can be asked."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
