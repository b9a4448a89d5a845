"""Recipes: a run is a list of stages, a stage is one fit; nothing heavy is imported before it is asked for."""

from importlib import import_module
from typing import Any

_HOME = {
    "Fit": "runner",
    "Place": "resume",
    "Recipe": "recipe",
    "Stage": "stage",
    "StageRecord": "record",
    "find": "resume",
    "forget": "resume",
    "run_fits": "runner",
}

__all__ = ["Fit", "Place", "Recipe", "Stage", "StageRecord", "find", "forget", "run_fits"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
