"""Several processes, one run: they share a folder, and those of a sweep's job are told of that job alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from lightcycle.recipes.record import holds_another

if TYPE_CHECKING:  # torch and Lightning take seconds to import
    from lightning.pytorch import Trainer

WAIT = timedelta(seconds=60)
ADDRESS = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What Lightning leaves in the environment when it starts processes: the next run would take itself for one of them."""
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
"""A process in which one of them is not 0 is not the first of its run: that one may have begun to write already."""


def started(pattern: str) -> str:
    """When the run began, as ``strftime`` has it: ``${started:%Y-%m-%d}``, the same in all processes of a run.

    Processes that something else has started compose a config each, at a time of their own: of torchrun's, the first
    tells the others.

    Raises:
        ValueError: processes of another kind, which cannot agree.
    """
    now = datetime.now().strftime(pattern)
    if "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1:
        return _of_first(pattern, now)
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ:
        raise ValueError(_GIVE.format(who=f"the {os.environ['SLURM_NTASKS']} tasks of srun"))
    return now


_GIVE = (
    "hydra.run.dir, or hydra.sweep.dir of a sweep, must be given where {who} share a run (got none); take one for all: "
    "hydra.run.dir=outputs/mine"
)


def _of_first(pattern: str, now: str) -> str:
    """What the first of torchrun's processes has put into the store that torchrun keeps for them."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise ValueError(_GIVE.format(who="processes without a store of torchrun's"))
    from torch.distributed import TCPStore

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False, timeout=WAIT, wait_for_workers=False)
    key = f"lightcycle/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{pattern}"
    if os.environ["RANK"] == "0":
        store.set(key, now)
    return store.get(key).decode()


def keep_other_run(resume: str | None) -> None:
    """Refuses to begin a run in the folder of another one; a sweep has looked into its folders itself.

    Args:
        resume: the folder or the checkpoint of the run that goes on.

    Raises:
        ValueError: the folder holds a run that would be overwritten.
    """
    hydra = HydraConfig.get()
    if hydra.mode is RunMode.MULTIRUN or any(os.environ.get(name, "0") != "0" for name in RANKS):
        return
    folder = Path(hydra.runtime.output_dir)
    if holds_another(folder, resume):
        raise ValueError(
            f"hydra.run.dir must be a folder without a run (got {folder}, which holds one); resume={folder} goes on "
            "with it, another folder or none begins anew"
        )


def check(trainer: Trainer) -> None:
    """Refuses a job of another launcher that would start processes: they would run that launcher's program, not ours.

    Raises:
        ValueError: in a sentence.
    """
    hydra = HydraConfig.get()
    launcher = hydra.runtime.choices.get("hydra/launcher")
    if hydra.mode is not RunMode.MULTIRUN or launcher == "basic" or trainer.world_size == 1:
        return
    if not trainer.strategy.cluster_environment.creates_processes_externally:
        raise ValueError(
            f"trainer.devices must be 1 with hydra/launcher={launcher} (got {trainer.world_size} processes): its jobs "
            "cannot start processes; leave the launcher out, or have the cluster start them with "
            f"hydra/launcher=slurm hydra.launcher.tasks_per_node={trainer.world_size}"
        )


@contextmanager
def job_of_a_sweep() -> Iterator[None]:
    """A job whose DDP processes are told its own overrides, and that leaves the next job nothing of them.

    Lightning starts the other processes with this one's command line, which is the whole sweep's.
    """
    line, before = sys.argv, {name: os.environ.get(name) for name in ADDRESS}
    sys.argv = [line[0], *HydraConfig.get().overrides.task, "hydra.mode=RUN"]
    try:
        yield
    finally:
        sys.argv = line
        if before["LOCAL_RANK"] is None and "LOCAL_RANK" in os.environ:
            _part(before)


def _part(before: dict[str, str | None]) -> None:
    """Leaves the group of processes that this job has started."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
