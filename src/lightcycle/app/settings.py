"""From the composed config to checked objects: everything that can be refused is refused here, before data is read."""

import math
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lightcycle.app.checks import check
from lightcycle.app.layers import plain
from lightcycle.app.perf import PerfConfig
from lightcycle.app.schema import GROUPS, TrainerConfig
from lightcycle.data.config import DataConfig
from lightcycle.models.optimizer_config import OptimizerConfig
from lightcycle.schedules import Horizon, Schedule

DEFAULT_EPOCHS = 7.0
"""The length of a run whose schedule fills whatever it is given, when nobody says."""


@dataclass
class Settings:
    """One run, checked: typed objects beside the config they came from.

    With ``lr=auto`` the rate is ``unfound`` until the finder has found another. Of a run of several stages these are
    the settings of one: its name, its number from 0, how many there are, and whether it ``carries`` on with the rate of
    the stage before.
    """

    config: DictConfig
    data: DataConfig
    model: Any
    optimizer: OptimizerConfig
    schedule: Schedule
    trainer: TrainerConfig
    perf: PerfConfig
    lr: float
    epochs: float
    finds_lr: bool = False
    name: str = "all"
    index: int = 0
    count: int = 1
    carries: bool = False

    def cuts_short(self, run: Horizon) -> bool:
        """Whether ``max_steps`` ends the run before its epochs are over."""
        return run.steps < sum(run.lengths) or run.epochs < self.epochs

    def __getattr__(self, name: str) -> Any:
        """The scalars of the top level: seed, monitor, test, resume, ..."""
        if name not in self.__dict__.get("config", ()):
            raise AttributeError(name)
        return self.config[name]


def read(config: DictConfig) -> Settings:
    """The checked settings of a composed config.

    Raises:
        ValueError: in one sentence that names the key, the value, the legal range and a fix.
    """
    OmegaConf.resolve(config)
    if missing := [name for name in GROUPS if config.get(name) is None]:
        raise ValueError(f"{missing[0]} must be chosen (got null); python train.py --help lists the choices")
    parts = {name: OmegaConf.to_object(config[name]) for name in GROUPS}
    check(config, parts)
    schedule, epochs = fitted(parts["schedule"], config.epochs)
    finds = config.lr == "auto"
    lr = unfound(parts["optimizer"], parts["model"]) if finds else learning_rate(config.lr)
    return Settings(config=config, **{**parts, "schedule": schedule}, lr=lr, epochs=epochs, finds_lr=finds)


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


def unfound(optimizer: OptimizerConfig, model: Any) -> float:
    """The rate of ``lr=auto`` until one is found, and where none is: the optimizer's usual one.

    Of trained weights, which a net's usual rate from scratch would tear, it is a tenth of that.

    >>> from lightcycle.models.config import TorchvisionConfig
    >>> from lightcycle.models.optimizer_config import SGDConfig
    >>> unfound(SGDConfig(), TorchvisionConfig()), unfound(SGDConfig(), TorchvisionConfig(weights="DEFAULT"))
    (0.1, 0.01)
    """
    return optimizer.lr / 10 if getattr(model, "weights", None) else optimizer.lr


def learning_rate(lr: Any) -> float:
    """The base rate, checked; of several, which are checked already, the highest."""
    if isinstance(several := plain(lr), dict | list):
        return float(max(several.values() if isinstance(several, dict) else several))
    if isinstance(lr, bool) or not isinstance(lr, int | float) or not 0 < lr < math.inf:
        raise ValueError(
            f"lr must be a number > 0, or auto (got {lr!r}); lr=0.1 is usual for sgd, lr=0.001 for adamw, "
            "lr=auto finds one, and lr=[1e-4,1e-3,1e-2] has one for each layer group"
        )
    return float(lr)
