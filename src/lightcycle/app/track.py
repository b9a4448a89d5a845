"""Weights & Biases: the one place that knows it."""

import netrc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info


def wandb_logger(
    folder: str, project: str, group: str | None, job_type: str, tags: list[str], offline: bool | None = None
) -> Any:
    """Lightning's WandbLogger, offline where there is no API key, so that it never prompts and never hangs.

    Args:
        folder: the run's output folder; W&B's files go to ``wandb/`` in it.
        project, group, job_type, tags: as W&B names them.
        offline: ``None`` decides by the API key.
    """
    from lightning.pytorch.loggers import WandbLogger

    offline = not has_api_key() if offline is None else offline
    if offline:
        os.environ["WANDB_MODE"] = "offline"
        rank_zero_info(f"W&B records offline; to upload: wandb sync {Path(folder) / 'wandb'}/offline-run-*")
    name = Path(folder).name
    return WandbLogger(
        name=name, save_dir=folder, project=project, group=group, job_type=job_type, tags=list(tags), offline=offline
    )


@contextmanager
def closing() -> Iterator[None]:
    """Ends W&B's run with ours, also after an error: the next run of a sweep would go on in it."""
    code = 1
    try:
        yield
        code = 0
    finally:
        if (wandb := sys.modules.get("wandb")) and wandb.run is not None:
            wandb.finish(exit_code=code)


def has_api_key() -> bool:
    """Whether W&B would find a key: in the environment or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return any("wandb" in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False
