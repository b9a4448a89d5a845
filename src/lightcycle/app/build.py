"""Building: the only place that calls Hydra's ``instantiate``."""

import math
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from lightcycle.app.csv_log import CSVLog
from lightcycle.app.settings import Settings
from lightcycle.callbacks import ParamScheduler, Recorder, StepSeed
from lightcycle.callbacks.progress import EpochLines, Progress


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
        built[key] = instantiate(entry, _convert_="all")
    return built


def callbacks(settings: Settings, *, interactive: bool) -> list[Callback]:
    """Ours first (the seed of the step, its rate), then the chosen ones, then those that only look."""
    scheduler = ParamScheduler(settings.schedule, on_resume=settings.on_resume)
    chosen = entries(settings.config.callbacks, "callbacks").values()
    shown = [Progress() if interactive else EpochLines(settings.monitor)] if settings.trainer.progress else []
    return [StepSeed(settings.seed), scheduler, *chosen, Recorder(settings.monitor), *shown]


def loggers(settings: Settings, folder: Path) -> list[Logger]:
    """The chosen loggers; metrics.csv is always written."""
    chosen = list(entries(settings.config.logger, "logger").values())
    return chosen if any(isinstance(logger, CSVLog) for logger in chosen) else [CSVLog(str(folder)), *chosen]


def trainer(settings: Settings, folder: Path, steps: int, *, interactive: bool) -> Trainer:
    """Lightning's Trainer for a run of ``settings.epochs``; half epochs become ``max_steps``."""
    options = {name: value for name, value in vars(settings.trainer).items() if name not in ("extra", "progress")}
    options = {name: value for name, value in options.items() if value != 1.0 or "limit" not in name}  # 1.0: all of it
    if settings.epochs != int(settings.epochs):
        options["max_steps"] = steps
    return Trainer(
        **{**options, **settings.trainer.extra},
        max_epochs=math.ceil(settings.epochs),
        default_root_dir=folder,
        callbacks=callbacks(settings, interactive=interactive),
        logger=loggers(settings, folder),
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the loaders share out each global batch themselves
        enable_progress_bar=interactive and settings.trainer.progress,
        enable_model_summary=False,
        enable_checkpointing="checkpoint" in settings.config.callbacks,
    )
