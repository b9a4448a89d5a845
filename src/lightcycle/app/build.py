"""Building: the only place that calls Hydra's ``instantiate``."""

import math
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from lightcycle.app import layers, perf
from lightcycle.app.csv_log import CSVLog
from lightcycle.app.settings import Settings
from lightcycle.callbacks import (
    GradualUnfreezing,
    GroupTable,
    LRFinder,
    ParamScheduler,
    ProgressiveResizing,
    Recorder,
    StepSeed,
    StillBatchNorm,
)
from lightcycle.callbacks.progress import EpochLines, Progress
from lightcycle.schedules import BoundSchedule

PLANNED = GradualUnfreezing | ProgressiveResizing
AHEAD = PLANNED | StillBatchNorm
"""Callbacks that decide what a step trains, and on what: a range test comes behind them, in a run and alone."""


def entries(group: DictConfig, name: str) -> dict[str, Any]:
    """The objects of a group of ``_target_`` entries, by key.

    Raises:
        ValueError: naming the entry, if it has no ``_target_`` or cannot be built.
    """
    built = {}
    for key, entry in group.items():
        if not isinstance(entry, DictConfig) or "_target_" not in entry:
            raise ValueError(
                f"{name}.{key} has no _target_, so nobody knows what it is; is it spelled like one of the files in "
                f"conf/{name}/? To leave it out: ~{name}.{key}"
            )
        try:
            built[key] = instantiate(entry, _convert_="all")
        except InstantiationException as error:
            raise ValueError(f"{name}.{key} cannot be built: {_reason(error)}; see conf/{name}/") from error
    return built


def _reason(error: InstantiationException) -> str:
    """What is wrong with an entry, without Hydra's frame around it."""
    cause = error.__cause__
    while cause is not None and isinstance(cause.__cause__, Exception):
        cause = cause.__cause__
    return " ".join(str(cause or error).split())


def callbacks(settings: Settings, folder: Path, plan: BoundSchedule, *, interactive: bool) -> list[Callback]:
    """Ours first (seed, depth, size, finder, rate of the step), then the chosen ones, then those that only look."""
    scheduler = ParamScheduler(settings.schedule, stretch=plan.stretch, on_resume=settings.on_resume)
    chosen = list(entries(settings.config.callbacks, "callbacks").values())
    finders = [callback for callback in chosen if isinstance(callback, LRFinder)]
    planned = [callback for callback in chosen if isinstance(callback, PLANNED)]
    still = [callback for callback in chosen if isinstance(callback, StillBatchNorm)]
    chosen = [callback for callback in chosen if callback not in [*finders, *planned, *still]]
    for callback in planned:
        callback.on_resume = settings.on_resume
    if settings.finds_lr and not finders:
        finders = [LRFinder(apply=True)]
    for finder in finders:
        finder.schedule, finder.seed, finder.folder = settings.schedule, settings.seed, folder
    shown = [Progress() if interactive else EpochLines(settings.monitor)] if settings.trainer.progress else []
    table = [GroupTable()] if layers.how(settings.config) is not None else []
    return [
        StepSeed(settings.seed),
        *planned,
        *still,
        *finders,
        scheduler,
        *chosen,
        Recorder(settings.monitor),
        *table,
        *shown,
    ]


def loggers(settings: Settings, folder: Path) -> list[Logger]:
    """The chosen loggers; metrics.csv is always written."""
    chosen = list(entries(settings.config.logger, "logger").values())
    return chosen if any(isinstance(logger, CSVLog) for logger in chosen) else [CSVLog(str(folder)), *chosen]


def _is_all(limit: float) -> bool:
    """1.0 is the whole epoch, which Lightning announces when it is told; 1 is one batch."""
    return isinstance(limit, float) and limit == 1.0


def trainer(
    settings: Settings, folder: Path, plan: BoundSchedule, called: list[Callback], *, interactive: bool
) -> Trainer:
    """Lightning's Trainer for a run of ``settings.epochs``, with these callbacks; half epochs become ``max_steps``.

    Raises:
        ValueError: with Lightning's own words, where it refuses a setting.
    """
    options = {name: value for name, value in vars(settings.trainer).items() if name not in ("extra", "progress")}
    options = {name: value for name, value in options.items() if not ("limit" in name and _is_all(value))}
    options["precision"] = perf.precision(settings)
    if settings.epochs != int(settings.epochs):
        options["max_steps"] = plan.steps
    ours = {
        "max_epochs": math.ceil(settings.epochs),
        "default_root_dir": folder,
        "callbacks": called,
        "logger": loggers(settings, folder),
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,  # the loaders share out each global batch themselves
        "enable_progress_bar": interactive and settings.trainer.progress,
        "enable_model_summary": False,
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in called),
    }
    try:
        return Trainer(**{**options, **ours, **settings.trainer.extra})
    except (ValueError, TypeError, MisconfigurationException) as error:
        raise ValueError(
            f"Lightning refuses trainer.*: {' '.join(str(error).split()).rstrip('.')}; see conf/trainer/"
        ) from error
