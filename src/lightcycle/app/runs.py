"""Runs, read back from their folders, whatever state they were left in. No torch."""

import csv
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

FAILED = "failed.json"
"""What a failed job of a sweep leaves: its error and its overrides."""


@dataclass
class Run:
    """One run's folder, read.

    Args:
        folder: of the run.
        config: dotted key -> value; the chosen option of a group under the group's own name.
        typed: the keys that its command line gave.
        summary: of summary.json; empty while unfinished.
        problem: why it has no figures; empty where it has.
    """

    folder: Path
    config: dict[str, Any]
    typed: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    problem: str = ""

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """(epochs done, value) of a metric over the run."""
        per_step = self.summary["epochs"] / max(self.summary["steps"], 1)
        path = self.folder / "metrics.csv"
        if not path.exists():
            return []
        with path.open(newline="") as file:
            rows = [(int(row["step"]), row.get(metric)) for row in csv.DictReader(file)]
        return [((step + 1) * per_step, float(value)) for step, value in rows if value]


def find(folders: Iterable[Path]) -> list[Run]:
    """The runs in some folders and in all folders below, each once, in the order of their names."""
    found: dict[Path, Run] = {}
    for folder in folders:
        below = [Path(at) for at in _run_folders(folder)]
        if not below:
            raise ValueError(f"{folder} has no run in it; give a folder that train.py has written, or a sweep's")
        found |= {at.resolve(): read(at) for at in sorted(below)}
    return list(found.values())


def _run_folders(folder: Path) -> Iterable[str]:
    for at, below, files in os.walk(folder):
        if {"config.yaml", FAILED} & set(files) or "overrides.yaml" in _listed(at, "hydra", below):
            below.clear()  # what lies inside a run belongs to it
            yield at


def _listed(at: str, name: str, below: list[str]) -> list[str]:
    return os.listdir(Path(at, name)) if name in below else []


def read(folder: Path) -> Run:
    """One run's folder, whatever state it was left in."""
    config_file, overrides = folder / "config.yaml", folder / "hydra" / "overrides.yaml"
    config = OmegaConf.to_container(OmegaConf.load(config_file)) if config_file.exists() else {}
    typed = [each.lstrip("+~").partition("=")[0] for each in OmegaConf.load(overrides)] if overrides.exists() else []
    summary = _json(folder / "summary.json")
    return Run(folder, flat(config), typed, summary, _problem(summary, _json(folder / FAILED)))


def _problem(summary: Mapping[str, Any], failed: Mapping[str, Any]) -> str:
    if failed:
        return f"failed: {failed.get('error', 'no reason was written')}"
    if summary.get("interrupted"):
        return "interrupted"
    return "" if summary else "unfinished: no summary.json"


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError:
        return {"error": f"{path.name} cannot be read"} if path.name == FAILED else {}


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys; the option of a group stands under the group's name, and in front.

    >>> flat({"lr": 0.1, "schedule": {"cycles": 3}, "choices": {"schedule": "sgdr"}})
    {'schedule': 'sgdr', 'lr': 0.1, 'schedule.cycles': 3}
    """
    chosen = {group: option for group, option in config.get("choices", {}).items() if "/" not in group}
    values = _leaves({key: value for key, value in config.items() if key not in ("choices", "found")})
    if "callbacks" in config:
        chosen["callbacks"] = "+".join(config["callbacks"])
    return chosen | dict(sorted(values.items(), key=lambda item: item[0].count(".")))


def _leaves(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, each in value.items():
        leaves |= _leaves(each, f"{prefix}{key}.") if isinstance(each, Mapping) and each else {f"{prefix}{key}": each}
    return leaves
