"""From the composed config to checked objects: everything that can be refused is refused here, before data is read."""

import math
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lightcycle.app.schema import TrainerConfig
from lightcycle.data.config import DataConfig
from lightcycle.models.optimizer_config import OptimizerConfig
from lightcycle.schedules import Schedule

DEFAULT_EPOCHS = 7.0
"""The length of a run whose schedule fills whatever it is given, when nobody says."""

_CHOICES = {"mode": ("max", "min"), "test": ("last", "best", "none"), "on_resume": ("same", "keep", "replan")}


@dataclass
class Settings:
    """One run, checked: typed objects beside the config they came from."""

    config: DictConfig
    data: DataConfig
    model: Any
    optimizer: OptimizerConfig
    schedule: Schedule
    trainer: TrainerConfig
    lr: float
    epochs: float

    def __getattr__(self, name: str) -> Any:
        """The scalars of the top level: seed, monitor, mode, test, resume, ..."""
        return self.config[name]


def read(config: DictConfig) -> Settings:
    """The checked settings of a composed config.

    Raises:
        ValueError: in one sentence that names the key, the value, the legal range and a fix.
    """
    OmegaConf.resolve(config)
    parts = {name: OmegaConf.to_object(config[name]) for name in ("data", "model", "optimizer", "schedule", "trainer")}
    _check_scalars(config)
    check_trainer(parts["trainer"])
    schedule, epochs = fitted(parts["schedule"], config.epochs)
    return Settings(config=config, **{**parts, "schedule": schedule}, lr=learning_rate(config.lr), epochs=epochs)


def fitted(schedule: Schedule, epochs: float | None) -> tuple[Schedule, float]:
    """The schedule and the length of its run: its own unless ``epochs`` says otherwise, and then it is stretched.

    >>> from lightcycle.schedules import SGDR
    >>> fitted(SGDR(cycles=3), None)[1], fitted(SGDR(cycles=3), 10)[0].cycle_len
    (7.0, None)
    """
    if epochs is None:
        return schedule, schedule.epochs or DEFAULT_EPOCHS
    if not 0 < epochs < math.inf:
        raise ValueError(f"epochs must be > 0 (got {epochs:g}); leave it out to get the schedule's own length")
    return (schedule.stretched() if schedule.misfit(epochs) and schedule.epochs else schedule), epochs


def learning_rate(lr: Any) -> float:
    """The base rate, checked."""
    if isinstance(lr, bool) or not isinstance(lr, int | float) or not 0 < lr < math.inf:
        raise ValueError(f"lr must be a number > 0 (got {lr!r}); lr=0.1 is usual for sgd, lr=0.001 for adamw")
    return float(lr)


def check_trainer(trainer: TrainerConfig) -> None:
    """Raises a sentence for values that Lightning would refuse only after the data is loaded."""
    if trainer.accumulate_grad_batches < 1:
        raise ValueError(
            f"trainer.accumulate_grad_batches must be >= 1 (got {trainer.accumulate_grad_batches}); 1 is off"
        )
    for name in ("limit_train_batches", "limit_val_batches", "limit_test_batches"):
        value = getattr(trainer, name)
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= (1 if "train" in name else 0)
        if not whole and not (isinstance(value, float) and 0.0 <= value <= 1.0 and (value or "train" not in name)):
            raise ValueError(
                f"trainer.{name} must be a whole number of batches or a share between 0.0 and 1.0 (got {value!r}); "
                "1.0 is everything"
            )


def _check_scalars(config: DictConfig) -> None:
    for name, options in _CHOICES.items():
        if config[name] not in options:
            raise ValueError(f"{name} must be one of {', '.join(options)} (got {config[name]!r})")
    if config.seed < 0:
        raise ValueError(f"seed must be >= 0 (got {config.seed}); 0 is a seed")
    if not 0.0 <= config.label_smoothing < 1.0:
        raise ValueError(f"label_smoothing must be >= 0 and < 1 (got {config.label_smoothing}); 0.1 is usual, 0 is off")
