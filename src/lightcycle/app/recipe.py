"""``recipe``: from the composed config to the checked settings of every stage. No torch, no pixels."""

import copy
import difflib
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lightcycle.app import settings as run
from lightcycle.app.layers import plain
from lightcycle.app.say import sentence, unknown, yaml
from lightcycle.app.schema import PROJECT, typed
from lightcycle.app.settings import Settings
from lightcycle.data.rules import check_same_images
from lightcycle.schedules import SCHEDULES

PLAIN = [{"name": "all"}]
"""The stages of a run without a recipe."""

VALUES = ("epochs", "lr", "groups", "lr_decay_per_group", "label_smoothing")
FEATURES = ("features", "features_dtype", "features_copies")
GROUPS = ("schedule", "data", "optimizer", "callbacks")
OWN = ("name", "depth", "until")
KEYS = (*OWN, *VALUES, *FEATURES, *GROUPS)
UNFREEZING = "gradual_unfreezing"


def read(config: DictConfig) -> list[Settings]:
    """The settings of each stage: the top level with what the stage says otherwise, checked as any run is.

    Raises:
        ValueError: in a sentence that names the stage, the key, the value, the legal range and a fix.
    """
    entries = plain(config.recipe.stages)
    _check_list(entries)
    if entries == PLAIN:
        return [run.read(config)]
    _check_epochs(config, entries)
    stages: list[Settings] = []
    for entry in entries:
        stages.append(_read(config, entry, entries, stages))
    _check_same_images(stages)
    OmegaConf.resolve(config)
    return stages


def _check_list(entries: list[Any]) -> None:
    if not entries:
        raise ValueError("recipe.stages must be a list of stages (got none); recipe=single has one, of the whole run")
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"].strip():
            raise ValueError(
                f"recipe.stages[{index}] must have a name (got {yaml(entry)}); {{name: head, epochs: 1}}, say"
            )
    names = [entry["name"] for entry in entries]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two of recipe.stages are called {twice[0]}; give each a name of its own")


def _check_epochs(config: DictConfig, entries: list[Any]) -> None:
    """Refuses a length that was asked for and that no stage would take."""
    if "epochs" in typed() and config.epochs is not None and all("epochs" in entry for entry in entries):
        lengths = ", ".join(f"{entry['name']} {yaml(entry['epochs'])}" for entry in entries)
        raise ValueError(
            f"epochs={config.epochs:g} changes nothing here, since each stage of this recipe has a length of its own "
            f"({lengths}); set that of a stage, counted from 0: recipe.stages.{len(entries) - 1}.epochs="
            f"{config.epochs:g}"
        )


def _read(config: DictConfig, entry: dict[str, Any], entries: list[Any], before: list[Settings]) -> Settings:
    """One stage's settings; errors say which stage it is."""
    index, same = len(before), entry.get("lr") == "same"
    try:
        own = staged(config, _with_rate(entry, before) if same else entry)
        own.tta = config.tta if entry is entries[-1] else None  # for the end of the run
        settings = run.read(own)
    except (ValueError, OmegaConfBaseException) as error:
        raise ValueError(f"recipe.stages[{index}] ({entry['name']}): {sentence(error)}") from error
    settings.name, settings.index, settings.count = entry["name"], index, len(entries)
    found = bool(before) and (before[-1].finds_lr or before[-1].carries)
    settings.carries = bool(before) and (settings.finds_lr or (same and found))
    return settings


def _with_rate(entry: dict[str, Any], before: list[Settings]) -> dict[str, Any]:
    """``lr: same`` as that of the stage before, as far as it is known."""
    if not before:
        raise ValueError("lr: same needs a stage before this one; give it a number, or lr: auto")
    last = before[-1]
    return {**entry, "lr": last.lr if last.finds_lr or last.carries else plain(last.config.lr)}


def staged(config: DictConfig, entry: dict[str, Any]) -> DictConfig:
    """The config of a run that is this stage alone.

    Raises:
        ValueError: for keys that a stage cannot have, and for what does not go together.
    """
    _check_keys(entry)
    own = copy.deepcopy(config)
    for name in (*VALUES, *FEATURES):
        if name in entry:
            own[name] = entry[name]
    for name in ("data", "optimizer"):
        if name in entry:
            own[name].merge_with(entry[name])
    if "schedule" in entry:
        _set_schedule(own, dict(entry["schedule"]))
    for key, value in (entry.get("callbacks") or {}).items():
        _set_callback(own, key, value)
    _set_depth(own, entry.get("depth"))
    if entry.get("until") is not None:
        _set_callback(own, "stop_on_overfitting", {})
    return own


def _check_keys(entry: dict[str, Any]) -> None:
    if extra := [key for key in entry if key not in KEYS]:
        if not difflib.get_close_matches(extra[0], KEYS, n=1):
            raise ValueError(
                f"{extra[0]} is of the whole run, and not of a stage; set it beside the recipe: {extra[0]}=..."
            )
        raise ValueError(unknown(extra[0], KEYS, "a stage"))
    for name in GROUPS:
        if name in entry and not isinstance(entry[name], dict):
            raise ValueError(f"{name} must be a set of options (got {yaml(entry[name])}); {name}: {{...}}")
    if entry.get("until") not in (None, "overfitting"):
        raise ValueError(f"until must be overfitting (got {yaml(entry['until'])}); leave it out to train to the end")
    depth = entry.get("depth")
    if depth is not None and (not isinstance(depth, int) or isinstance(depth, bool) or depth < 1):
        raise ValueError(f"depth must be a whole number >= 1 (got {yaml(depth)}); 1 is the head, null is all")
    alone = entry.get("features") == "cached" and entry.get("features_copies", 1) == 1
    if alone and (asked := [name for name in _augmentation(entry) if entry["data"][name]]):
        raise ValueError(
            f"data.{asked[0]}={yaml(entry['data'][asked[0]])} changes nothing with features: cached, which are "
            "computed once from images as they are; drop it, or keep augmented copies: features_copies: 4"
        )


def _augmentation(entry: dict[str, Any]) -> list[str]:
    from lightcycle.app.features import AUGMENTATION

    return [name for name in AUGMENTATION if name in entry.get("data", {})]


def _set_schedule(own: DictConfig, options: dict[str, Any]) -> None:
    """Another schedule with its own defaults, where one is named; else the run's own with other values."""
    name = options.pop("name", None)
    if name is not None and name not in SCHEDULES:
        raise ValueError(unknown(f"schedule.name={name}", SCHEDULES))
    if name is not None:
        own.schedule = OmegaConf.structured(SCHEDULES[name])
    own.schedule.merge_with(options)


def _set_callback(own: DictConfig, key: str, value: Any) -> None:
    """A callback of the run with other values, one of conf/callbacks, or any with a ``_target_``; null drops it."""
    if value is None:
        with open_dict(own.callbacks):
            own.callbacks.pop(key, None)
        return
    if not isinstance(value, dict):
        raise ValueError(f"callbacks.{key} must be a set of options (got {yaml(value)}); {{}} takes those of its file")
    there = own.callbacks.get(key)
    if there is None and "_target_" not in value:
        files = {file.stem: file for file in (PROJECT / "conf" / "callbacks").glob("*.yaml")}
        if key not in files:
            raise ValueError(unknown(f"callbacks.{key}", files))
        there = OmegaConf.load(files[key])[key]
    OmegaConf.update(own, f"callbacks.{key}", OmegaConf.merge(there or {}, value), merge=False, force_add=True)


def _set_depth(own: DictConfig, depth: int | None) -> None:
    """So many layer groups train, from the stage's first step to its last."""
    if depth is None or (own.features == "cached" and depth == 1):
        return
    if own.features == "cached":
        raise ValueError(f"depth={depth} needs features: live (got cached, when only the head trains); drop depth")
    if own.callbacks.get(UNFREEZING):
        raise ValueError(f"depth={depth} and callbacks.{UNFREEZING} both say what trains; drop one of the two")
    _set_callback(own, UNFREEZING, {"at": [], "start": depth})


def _check_same_images(stages: list[Settings]) -> None:
    for stage in stages[1:]:
        try:
            check_same_images(stages[0].data, stage.data)
        except ValueError as error:
            raise ValueError(f"recipe.stages[{stage.index}] ({stage.name}): {error}") from error
