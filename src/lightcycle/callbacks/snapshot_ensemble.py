"""``SnapshotEnsemble``: keeps the model at the last step of every cycle."""

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lightcycle.callbacks.clock import StageClock
from lightcycle.callbacks.param_scheduler import ParamScheduler
from lightcycle.ensembling.members import Snapshot, host_copy, save_snapshot, snapshots
from lightcycle.schedules import Schedule


class SnapshotEnsemble(Callback):
    """Writes the live weights at the step where a cycle of the schedule ends, its lowest point, to a folder.

    The steps come from the plan, never from a look at the rate. The weights are copied to host memory inside the step;
    a thread writes them, and is waited for before the next snapshot and at the end. Each is a safetensors file, and a
    json with step, cycle, epoch, rates and the watched metric, where a validation follows on the same step (not with
    ``WeightAveraging``, which validates other weights). Under DDP the first process writes. A resumed run copies
    the earlier snapshots into its own folder. Works with any ``LightningModule``::

        cycles = SGDR(cycles=5, cycle_mult=1, cycle_len=8)
        Trainer(max_epochs=40, callbacks=[ParamScheduler(cycles), SnapshotEnsemble()])

    In the app::

        python train.py schedule=snapshot epochs=40 +callbacks=snapshot_ensemble

    Args:
        keep: only the last so many snapshots stay; all of them unless given.
        folder: of the files; ``snapshots`` under the trainer's ``default_root_dir`` unless given. Snapshots there of
            steps that a run has yet to do are an older run's, or a cut-off run's, and are removed as it starts.
        monitor: the validation metric for the json.
        schedule: whose cycles count; that of the trainer's ``ParamScheduler`` unless given. Give it where another
            hand sets the rate; it is stretched over the run.
        steps_per_epoch: for data without a length, with ``schedule``; as in ``ParamScheduler``.

    Raises:
        ValueError: in a sentence, for ``keep < 1``, where no schedule is found or it has no cycles, and for strategies
            that shard the weights.

    References: Huang et al., Snapshot ensembles: train 1, get M for free, arXiv:1704.00109.
    """

    def __init__(
        self,
        *,
        keep: int | None = None,
        folder: str | Path | None = None,
        monitor: str = "val/acc",
        schedule: Schedule | None = None,
        steps_per_epoch: int | Sequence[int] | None = None,
    ) -> None:
        if keep is not None and keep < 1:
            raise ValueError(f"keep must be >= 1, or None to keep all snapshots (got {keep}); 5 is usual")
        self.keep, self.monitor, self.schedule = keep, monitor, schedule
        self.folder = folder
        self.clock = StageClock(steps_per_epoch)
        self.ends: tuple[int, ...] | None = None  # the trainer's step at the end of each cycle
        self.taken: list[int] = []  # the steps of those that stay
        self._next: float = math.inf
        self._there: Path | None = None  # the folder of this fit
        self._latest: Snapshot | None = None
        self._writing: Future | None = None
        self._restored: dict[str, Any] | None = None

    # -- the start of a fit ------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        if self.schedule is None and _scheduler(trainer) is None:
            raise ValueError(
                "SnapshotEnsemble keeps the model at the ends of cycles, and no ParamScheduler says where they are; "
                "add one, or give the schedule: SnapshotEnsemble(schedule=SGDR(cycles=5, cycle_mult=1))"
            )
        if not (isinstance(trainer.strategy, SingleDeviceStrategy) or type(trainer.strategy) is DDPStrategy):
            raise ValueError(
                f"SnapshotEnsemble writes what one process holds, and {type(trainer.strategy).__name__} has spread the "
                "weights over several; train on one device or with strategy='ddp'"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        restored, self._restored = self._restored, None
        if self.schedule is not None:
            self.clock.start(trainer, resumed=restored is not None)
        self.ends = self._latest = None  # the plan is asked for when every callback has started
        self._there = Path(self.folder or Path(trainer.default_root_dir) / "snapshots").absolute()
        self.taken = [] if restored is None else list(restored["taken"])
        if trainer.is_global_zero:
            self._clear(trainer.global_step)
            if restored is not None:
                self._bring(Path(restored["folder"]))

    def _clear(self, step: int) -> None:
        for stale in [one for one in snapshots(self._there) if one.step > step]:
            stale.remove()
        for half in self._there.glob(".*.tmp"):  # a process was killed while it wrote
            half.unlink(missing_ok=True)

    def _bring(self, before: Path) -> None:
        """Copies the snapshots that the run had taken, where it goes on in another folder."""
        here, there = ({one.step: one for one in snapshots(folder)} for folder in (self._there, before))
        for step in [step for step in self.taken if step in there and step not in here]:
            save_snapshot(self._there, there[step].load(), there[step].info)
        if lost := [step for step in self.taken if step not in here and step not in there]:
            rank_zero_info(f"the snapshots of steps {lost} are no longer in {before}; the run goes on without them")

    def _plan(self, trainer: Trainer) -> None:
        """Where the cycles end, counted as the trainer counts; a resumed run may stand on an end."""
        if self.schedule is None:
            plan, first = _scheduler(trainer).plan, _scheduler(trainer).clock.first_step
        else:
            plan, first = self.schedule.bind(self.clock.horizon, stretch=True), self.clock.first_step
        if not plan.cycle_ends:
            raise ValueError(
                f"SnapshotEnsemble keeps the model at the ends of cycles, and {type(plan.schedule).__name__} has none; "
                "schedule=snapshot, sgdr and clr have some"
            )
        self.ends = tuple(first + end for end in plan.cycle_ends)

    # -- every step --------------------------------------------------------------------------------------------------

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.ends is None:
            self._plan(trainer)
            if trainer.global_step in self.ends and not self._is_there(trainer.global_step):
                self._take(trainer, pl_module)  # the checkpoint was written, and the run killed before its snapshot
            self._aim(trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step >= self._next:
            self._take(trainer, pl_module)
            self._aim(trainer.global_step)

    def _aim(self, step: int) -> None:
        """At the next end; the later batches of an accumulation window are still at this one."""
        self._next = min((end for end in self.ends if end > step), default=math.inf)

    def _is_there(self, step: int) -> bool:
        return any(one.step == step for one in snapshots(self._there))

    def _take(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The copy is made here, in the step; the file in a thread."""
        step = trainer.global_step
        self.taken = [*(one for one in self.taken if one != step), step][-(self.keep or 0) :]
        if trainer.is_global_zero:
            self._wait()
            thread = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
            self._writing = thread.submit(self._write, host_copy(pl_module.state_dict()), self._info(trainer, step))
            thread.shutdown(wait=False)

    def _info(self, trainer: Trainer, step: int) -> dict[str, Any]:
        clock = self.clock if self.schedule is not None else _scheduler(trainer).clock
        run, done = clock.horizon, clock.step(trainer)
        return {
            "step": step,
            "cycle": self.ends.index(step) + 1,
            "epoch": run.epoch_at(done) if run.lengths else None,
            "lr": [float(group["lr"]) for group in trainer.optimizers[0].param_groups],
            self.monitor: None,
        }

    def _write(self, state: dict[str, Any], info: dict[str, Any]) -> None:
        self._latest = save_snapshot(self._there, state, info)
        for old in snapshots(self._there)[: -self.keep] if self.keep else ():
            old.remove()

    def _wait(self) -> None:
        """For the thread; what went wrong there is raised here."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    # -- afterwards --------------------------------------------------------------------------------------------------

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = trainer.callback_metrics.get(self.monitor)
        others = any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks)
        if trainer.sanity_checking or value is None or others or trainer.global_step not in self.taken[-1:]:
            return
        if trainer.is_global_zero:
            self._wait()
            if self._latest is not None:
                self._latest = self._latest.note(**{self.monitor: float(value)})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._wait()
        self._latest = None  # a validation after the fit may be one of other weights

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._writing is not None:
            wait([self._writing])

    def state_dict(self) -> dict[str, Any]:
        return {"clock": self.clock.state_dict(), "taken": list(self.taken), "folder": str(self._there or "")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict
        self.clock.load_state_dict(state_dict["clock"])


def _scheduler(trainer: Trainer) -> ParamScheduler | None:
    """The callback that sets the rate."""
    found = (one for one in trainer.callbacks if isinstance(one, ParamScheduler) and "lr" in one.quantities)
    return next(found, None)
