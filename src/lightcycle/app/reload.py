"""A finished run, put together again from its own folder: its settings, its data, its net."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from lightcycle.app import inputs
from lightcycle.app.inputs import Inputs
from lightcycle.app.schema import PROJECT, register
from lightcycle.data.config import DataConfig
from lightcycle.models.optimizer_config import OptimizerConfig

if TYPE_CHECKING:  # torch and Lightning take seconds to import
    from torch import Tensor

    from lightcycle.data.module import ImageData
    from lightcycle.models.classifier import Classifier

SECTIONS = ("data", "model", "optimizer")
"""What of a saved config says which net this is and what it was shown; how it was trained does not matter here."""


@dataclass
class Saved:
    """What a run's config.yaml says, as typed objects.

    Args:
        folder: of the run.
        config: all of it.
        choices: which option each group had.
    """

    folder: Path
    config: DictConfig
    choices: dict[str, str]
    data: DataConfig
    model: Any
    optimizer: OptimizerConfig


def reload(folder: str | Path) -> tuple[Saved, ImageData, Classifier]:
    """The settings of a run, its data after ``setup``, and its module, whose weights ``load`` puts in.

    Raises:
        ValueError: no such folder, no config.yaml in it, or one that today's options cannot read.
    """
    saved = settings(folder)
    data = ready_data(saved)
    return saved, data, build_module(saved, inputs.of_data(data))


def settings(folder: str | Path) -> Saved:
    """Reads ``config.yaml``; options that have come since then take their defaults."""
    folder = run_folder(folder)
    config = OmegaConf.load(folder / "config.yaml")
    if missing := [name for name in (*SECTIONS, "choices") if name not in config]:
        raise ValueError(
            f"{folder / 'config.yaml'} has no {missing[0]}; give the folder of a run that train.py has left"
        )
    choices = {group: str(option) for group, option in config.choices.items()}
    return Saved(folder, config, choices, **_typed(config, choices))


def run_folder(folder: str | Path | None) -> Path:
    """The folder, if a run lies in it."""
    if not folder:
        raise ValueError("run must be the folder of a finished run (got null); for example run=outputs/2026-01-31/run")
    path = Path(folder).expanduser()
    if not (path / "config.yaml").is_file():
        lack = "without config.yaml" if path.is_dir() else "which is absent"
        raise ValueError(f"run must be the folder of a finished run (got {folder}, {lack}); {_nearby(path)}")
    return path


def ready_data(saved: Saved) -> ImageData:
    """The run's data after ``setup``, normalized as in the run; inputs.json keeps what a net needs to know of it."""
    from lightcycle.data.module import build
    from lightcycle.models import weights_stats

    data = build(saved.data, saved.config.get("seed", 0), weights_stats(saved.model))
    data.prepare_data()
    data.setup()
    if inputs.load(saved.folder) is None:
        inputs.save(inputs.of_data(data), saved.folder)
    return data


def inputs_of(saved: Saved) -> Inputs:
    """What the run's net wants to be given: from inputs.json, or else from the data."""
    return inputs.load(saved.folder) or inputs.of_data(ready_data(saved))


def build_module(saved: Saved, wanted: Inputs) -> Classifier:
    """The run's module, in evaluation mode; its weights come from ``load``, so pretrained ones are not looked for."""
    from lightcycle.models.classifier import Classifier

    model = replace(saved.model, weights=None) if hasattr(saved.model, "weights") else saved.model
    net = model.build(channels=wanted.channels, size=wanted.trained_size, classes=len(wanted.classes))
    return Classifier(net, saved.optimizer.build).eval()


def load(module: Classifier, state: dict[str, Tensor], where: Path) -> None:
    """Puts tensors into the module.

    Raises:
        ValueError: they are of another net.
    """
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the weights in {where} do not fit the net of config.yaml ({reason}); is one of the two newer?"
        ) from error


def _typed(config: DictConfig, choices: dict[str, str]) -> dict[str, Any]:
    """The sections over today's defaults of the options that were chosen."""
    register()
    inside = GlobalHydra.instance().is_initialized()  # in a command of ours, which has opened conf/ already
    with nullcontext() if inside else initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        composed = compose("train", [f"{group}={choices[group]}" for group in SECTIONS])
    stored = {name: config[name] for name in SECTIONS} | {"data": _last_data(config)}
    return {name: OmegaConf.to_object(OmegaConf.merge(composed[name], stored[name])) for name in SECTIONS}


def _last_data(config: DictConfig) -> DictConfig:
    """The data as the last stage of the run's recipe has served it: at a size of its own, say."""
    stages = OmegaConf.select(config, "recipe.stages") or [{}]
    return OmegaConf.merge(config.data, stages[-1].get("data") or {})


def _nearby(path: Path) -> str:
    """Runs close to a path that is none: below it, or below what there is of it."""
    root = next(p for p in (path, *path.parents) if p.is_dir())
    found = [*root.glob("*/config.yaml"), *root.glob("*/*/config.yaml")]
    runs = sorted(str(file.parent) for file in found if "hydra" not in file.parent.name)
    return f"try run={runs[-1]}" if runs else "train.py prints the folder at its end"
