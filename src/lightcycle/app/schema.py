"""Schemas of the config groups, so that a typo or a wrong type is refused while the command line is read."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from lightcycle.app.perf import PerfConfig
from lightcycle.app.processes import started
from lightcycle.data.config import CONFIGS as DATA
from lightcycle.models.config import MODELS
from lightcycle.models.optimizer_config import OPTIMIZERS
from lightcycle.schedules import SCHEDULES

PROJECT = Path(__file__).resolve().parents[3]
"""The repository: `conf/` and `data/` lie here, wherever the command is run from."""


@dataclass(kw_only=True)
class TrainerConfig:
    """What goes to Lightning's Trainer under the same names; `extra` takes its other arguments."""

    accelerator: str = "auto"
    devices: Any = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: Any = None
    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = None
    max_steps: int = -1
    limit_train_batches: Any = 1.0
    limit_val_batches: Any = 1.0
    limit_test_batches: Any = 1.0
    overfit_batches: Any = 0.0
    check_val_every_n_epoch: int = 1
    log_every_n_steps: int = 10
    deterministic: bool = False
    benchmark: bool = False
    profiler: str | None = None
    progress: bool = True
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class RecipeConfig:
    """The stages of a run; what each of them may say is checked in `app/recipe.py`."""

    stages: list[Any] = field(default_factory=lambda: [{"name": "all"}])


@dataclass(kw_only=True)
class RootConfig:
    """The top level of the command line; `Any` marks the groups, which have schemas of their own."""

    lr: Any = None
    groups: Any = None
    lr_decay_per_group: float = 1.0
    epochs: float | None = None
    seed: int = 0
    label_smoothing: float = 0.1
    monitor: str = "val/acc"
    test: str = "last"
    on_resume: str = "same"
    features: str = "live"
    features_cache: str | None = None
    features_dtype: str = "fp32"
    features_copies: int = 1
    tta: Any = None
    resume: str | None = None
    tags: list[str] = field(default_factory=list)
    data: Any = None
    model: Any = None
    optimizer: Any = None
    schedule: Any = None
    trainer: Any = None
    perf: Any = None
    callbacks: dict[str, Any] = field(default_factory=dict)
    logger: dict[str, Any] = field(default_factory=dict)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)


GROUPS = {
    "data": DATA,
    "model": MODELS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "trainer": {"base": TrainerConfig},
    "perf": {"base": PerfConfig},
}


def register() -> None:
    """Puts every schema into Hydra's store, under `schema/` so that it is not listed beside the options."""
    store = ConfigStore.instance()
    store.store(group="schema", name="root", node=RootConfig)
    for group, schemas in GROUPS.items():
        for name, schema in schemas.items():
            store.store(group=f"schema/{group}", name=name, node=schema)
    OmegaConf.register_new_resolver("project", lambda path: str(PROJECT / path), replace=True)
    OmegaConf.register_new_resolver("direction", direction, replace=True)
    OmegaConf.register_new_resolver("started", started, use_cache=True, replace=True)


def typed() -> set[str]:
    """The keys on the command line, or those of this job of a sweep."""
    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return {override.partition("=")[0].lstrip("+") for override in overrides}


def direction(metric: str) -> str:
    """Where better lies for a metric, by its name.

    >>> direction("val/acc"), direction("train/loss_epoch")
    ('max', 'min')
    """
    return "min" if "loss" in metric else "max"


def choices() -> str:
    """The options of every group, a line each, for --help."""
    groups = sorted(folder for folder in (PROJECT / "conf").iterdir() if folder.is_dir() and folder.name != "hydra")
    return "\n".join(f"  {g.name}: {', '.join(sorted(f.stem for f in g.glob('*.yaml')))}" for g in groups)
