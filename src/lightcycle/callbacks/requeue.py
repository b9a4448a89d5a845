"""``Requeue``: SLURM announces the end of a job, the run is saved at the end of a step, and the job queues again."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lightcycle.callbacks.checkpoints import ends_here, save_last


class Requeue(Checkpoint):
    """On a signal, saves ``last.ckpt`` where the step at hand ends, and hands the job back to SLURM's queue.

    Lightning's own answer saves the moment the signal comes: in the middle of a step, where the processes of DDP may
    wait for each other, or between two epochs, from where a resumed run leaves an epoch out (Lightning 2.6). It stands
    back where a signal has a handler already, and this callback has set one by then.

    In the app it is there in every SLURM job. In a job script: ``#SBATCH --signal=SIGUSR1@120 --requeue``.

    Args:
        dirpath: folder of ``last.ckpt``.
        signum: the signal; not that of submitit's jobs, which are queued again by submitit.
    """

    def __init__(self, dirpath: str | os.PathLike, signum: int | None = None) -> None:
        self.folder = Path(dirpath)
        self.signum = getattr(signal, "SIGUSR1", None) if signum is None else signum  # Windows has none
        self.announced = False
        self._before: Any = None
        self._began = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and self.signum is not None:
            self._before = signal.signal(self.signum, self._note)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and self.signum is not None:
            signal.signal(self.signum, self._before)

    def _note(self, signum: int, frame: Any) -> None:
        self.announced = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._began = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Not amid accumulation, whose gradients no checkpoint has, nor between the last batch and its validation."""
        if trainer.global_step > self._began and not trainer.is_last_batch:
            self._answer(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not ends_here(trainer):
            self._answer(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._answer(trainer)

    def _answer(self, trainer: Trainer) -> None:
        """The processes get the signal at different moments, and answer at the same step."""
        if not trainer.strategy.reduce_boolean_decision(self.announced, all=False):
            return
        self.announced = False
        save_last(trainer, self.folder)
        for logger in trainer.loggers:
            logger.save()
        if trainer.is_global_zero:
            _requeue(trainer.global_step)


def _requeue(step: int) -> None:
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        answer = subprocess.run(["scontrol", "requeue", job], check=False, capture_output=True, text=True)
        refused = answer.stderr.strip() if answer.returncode else ""
    except OSError as error:
        refused = str(error)
    rank_zero_info(f"saved at step {step}; " + (f"job {job} is not requeued: {refused}" if refused else "requeued"))
