"""What the top level and the trainer may be: refused here, in a sentence, before data is read or torch imported."""

import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from lightcycle.app import features, layers, resizing, tta
from lightcycle.app.say import unknown, yaml
from lightcycle.app.schema import RootConfig, TrainerConfig
from lightcycle.schedules import Horizon, MetricDriven, Schedule

METRICS = ("val/acc", "val/loss", "train/acc", "train/loss_epoch")
"""What can be watched: logged once an epoch, by the classifier."""


@dataclass(frozen=True)
class Rule:
    """What a key may be, and what to do when it is not."""

    holds: Callable[[Any], bool]
    legal: str
    fix: str


def _one_of(*options: str) -> Rule:
    return Rule(lambda v: v in options, f"must be one of {', '.join(options)}", f"{options[0]} is usual")


def _whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _limit(low: int, fix: str) -> Rule:
    """Lightning's way to say how many batches: an int counts them, a float is a share of them."""

    def holds(value: Any) -> bool:
        return _whole(value, low) or (isinstance(value, float) and 0.0 <= value <= 1.0 and (value > 0.0 or low == 0))

    return Rule(holds, f"must be a whole number of batches >= {low} or a share between 0.0 and 1.0", fix)


def _devices(value: Any) -> bool:
    listed = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else None
    if listed is None:
        return _whole(value, 1) or value == -1
    return value == "auto" or (bool(listed) and all(str(one).strip().isdigit() for one in listed))


TOP = {
    "seed": Rule(lambda v: 0 <= v < 2**32, "must be >= 0 and < 2^32", "0 is a seed"),
    "label_smoothing": Rule(lambda v: 0.0 <= v < 1.0, "must be >= 0 and < 1", "0.1 is usual, 0 is off"),
    "monitor": _one_of(*METRICS),
    "test": _one_of("last", "best", "none"),
    "on_resume": _one_of("same", "keep", "replan"),
    "features": _one_of("live", "cached"),
    "features_cache": Rule(bool, "must be a folder", "outputs/cache is usual"),
    "features_dtype": _one_of("fp32", "fp16"),
    "features_copies": Rule(lambda v: v >= 1, "must be >= 1", "1 is usual"),
    "resume": Rule(
        lambda v: v is None or Path(v).is_dir() or zipfile.is_zipfile(v),
        "must be a checkpoint file, or the folder of a run",
        "null starts anew",
    ),
}

TRAINER = {
    "devices": Rule(_devices, "must be a number >= 1, -1, auto or a list of devices", "1 is usual"),
    "strategy": Rule(
        lambda v: v == "auto" or v.startswith("ddp"),
        "must be auto or ddp",
        "others take apart the parameters that layer groups and decay need whole; see docs/processes.md",
    ),
    "num_nodes": Rule(lambda v: v >= 1, "must be >= 1", "1 is usual"),
    "accumulate_grad_batches": Rule(lambda v: v >= 1, "must be >= 1", "1 is off"),
    "gradient_clip_val": Rule(lambda v: v is None or v > 0.0, "must be > 0 or null", "1.0 is usual, null is off"),
    "max_steps": Rule(lambda v: v == -1 or v >= 1, "must be >= 1, or -1", "-1 sets no bound"),
    "limit_train_batches": _limit(1, "1.0 is everything"),
    "limit_val_batches": _limit(0, "1.0 is everything"),
    "limit_test_batches": _limit(0, "1.0 is everything"),
    "overfit_batches": _limit(0, "0.0 is off"),
    "check_val_every_n_epoch": Rule(lambda v: v >= 1, "must be >= 1", "1 is after every epoch"),
    "log_every_n_steps": Rule(lambda v: v >= 1, "must be >= 1", "10 is usual"),
}


def check(config: DictConfig, parts: dict[str, Any]) -> None:
    """Holds a resolved config and its checked parts against the rules; the first that is broken raises ValueError."""
    _hold(config, TOP)
    _hold(parts["trainer"], TRAINER, "trainer.")
    _check_names(config, parts)
    _check_weights(parts["model"])
    _check_watched(config, parts["schedule"], parts["trainer"])
    _check_finder(config)
    features.check(config, parts["data"])
    tta.check(config, parts["data"])
    _check_snapshots(config, parts["schedule"])
    _check_stop(config, parts["schedule"], parts["trainer"])
    layers.check(config)
    resizing.check(config, parts["trainer"].overfit_batches)
    _check_share(parts["data"].batch_size, parts["trainer"])


def _hold(owner: Any, rules: dict[str, Rule], prefix: str = "") -> None:
    for name, rule in rules.items():
        value = getattr(owner, name)
        if not rule.holds(value):
            raise ValueError(f"{prefix}{name} {rule.legal} (got {yaml(value)}); {rule.fix}")


def _check_names(config: DictConfig, parts: dict[str, Any]) -> None:
    """Refuses keys added with a plus: Hydra takes them, and nobody would read them."""
    for prefix, owner, schema in [("", config, RootConfig), *((f"{n}.", config[n], type(p)) for n, p in parts.items())]:
        known = [f.name for f in fields(schema)]
        if extra := [key for key in owner if key not in known]:
            raise ValueError(unknown(f"{prefix}{extra[0]}", known))


def _check_weights(model: Any) -> None:
    """A file that is not there; names of weights, which are words, are for the net to know."""
    weights = getattr(model, "weights", None)
    if weights and not weights.isidentifier() and not Path(weights).expanduser().is_file():
        raise ValueError(
            f"model.weights must be a name such as DEFAULT, a .pth or .safetensors file, or null (got {weights}); "
            f"there is no file {Path(weights).expanduser().absolute()}"
        )


def _check_watched(config: DictConfig, schedule: Schedule, trainer: TrainerConfig) -> None:
    watched = {"the schedule": schedule.metrics if isinstance(schedule, MetricDriven) else ()}
    watched |= {f"callbacks.{k}": (e["monitor"],) for k, e in config.callbacks.items() if e and e.get("monitor")}
    for who, names in watched.items():
        there = METRICS[:2] if who == "the schedule" else METRICS
        if unlogged := [name for name in names if name not in there]:
            raise ValueError(f"{who} cannot watch {unlogged[0]}; there are: {', '.join(there)}")
    if config.test == "best" and "checkpoint" not in config.callbacks:
        raise ValueError("test=best needs callbacks.checkpoint (got none); test=last is the weights at the end")
    if config.monitor.startswith("val/") and trainer.limit_val_batches == 0:
        raise ValueError(
            f"monitor={config.monitor} needs validation (got trainer.limit_val_batches={trainer.limit_val_batches}); "
            "watch monitor=train/acc, or validate"
        )


def _check_finder(config: DictConfig) -> None:
    """``lr=auto`` uses what is found, from the first step on."""
    finder = config.callbacks.get("lr_finder")
    if config.lr != "auto" or not finder:
        return
    if not finder.get("apply", False):
        raise ValueError(
            "lr=auto uses the rate that is found (got callbacks.lr_finder.apply=false); drop one of the two"
        )
    at = finder.get("at", "start")
    if at not in ("start", "cycles", 0) and not (isinstance(at, ListConfig) and 0 in at):
        raise ValueError(f"lr=auto needs a rate from the first step on (got callbacks.lr_finder.at={at}); add epoch 0")


def _check_snapshots(config: DictConfig, schedule: Schedule) -> None:
    """Snapshots are taken where cycles end; any run long enough shows whether there are some."""
    if not config.callbacks.get("snapshot_ensemble"):
        return
    if not _has_cycles(schedule):
        raise ValueError(
            f"callbacks.snapshot_ensemble keeps the model at the ends of cycles, and {type(schedule).__name__} has "
            "none; schedule=snapshot has equal ones, sgdr and clr have some"
        )


def _check_stop(config: DictConfig, schedule: Schedule, trainer: TrainerConfig) -> None:
    """Over-fitting is judged by the validation at the end of each cycle."""
    if not config.callbacks.get("stop_on_overfitting") or trainer.max_steps >= 1:  # which a trial of few steps skips
        return
    if not _has_cycles(schedule):
        raise ValueError(
            f"until: overfitting (callbacks.stop_on_overfitting) judges at the ends of cycles, and "
            f"{type(schedule).__name__} has none; take schedule=sgdr or clr"
        )
    never = trainer.limit_val_batches == 0
    if never or trainer.check_val_every_n_epoch != 1:
        name = "limit_val_batches" if never else "check_val_every_n_epoch"
        raise ValueError(
            "until: overfitting (callbacks.stop_on_overfitting) needs a validation after every epoch "
            f"(got trainer.{name}={getattr(trainer, name)}); leave one of the two out"
        )


def _has_cycles(schedule: Schedule) -> bool:
    long = Horizon.of_epochs([10**6] * math.ceil(schedule.epochs or 1000))
    return bool(schedule.bind(long, stretch=True).cycle_ends)


def _check_share(batch_size: int, trainer: TrainerConfig) -> None:
    """Each process takes the same share of a batch."""
    processes = trainer.num_nodes * (trainer.devices if _whole(trainer.devices, 1) else 1)
    if rest := batch_size % processes:
        raise ValueError(
            f"data.batch_size must be a multiple of the {processes} processes (got {batch_size}); "
            f"try data.batch_size={batch_size + processes - rest}"
        )
