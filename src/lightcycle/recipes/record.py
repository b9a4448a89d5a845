"""``StageRecord``: what happened in one stage, as plain data; ``stages/<k>-<name>.json`` holds it."""

import json
import math
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lightcycle.report.files import write_json

FOLDER, PAGE = "stages", "report.html"


@dataclass(kw_only=True)
class StageRecord:
    """One stage, from its first step to its last.

    Args:
        name, index: the stage's name, and its number from 0.
        first_step, first_epoch: those of the run when the stage began.
        steps: optimizer steps done in it.
        epochs: the same in epochs of this stage.
        planned: steps it was planned for; more than `steps` where it ended early.
        lengths: optimizer steps of each planned epoch; `None` where the data has no length.
        schedule: its `repr`; `stretch` says whether it was fitted into the epochs.
        groups: the optimizer's groups, `ratios` their base rates over the fastest one's.
        rates: (step, base rate of the fastest group from there on).
        depth: (step of the stage, layer groups that train from there on); empty where all do.
        cycle_ends: steps of the stage done at the planned ends of cycles.
        points: (step of the run, rate of each group, momentum or `None`, training loss).
        validations: (steps of the run done, value of `watch`); `val_losses` likewise of `val/loss`.
        figures: every metric at the end of the stage.
        seconds: spent on these steps; of a process that was cut off, those up to the checkpoint that was resumed.
        lr_find: what the LR finder found.
        interrupted: whether somebody stopped it.
        features_seconds: of them, spent on computing features; `None` where none are used.
    """

    name: str
    index: int = 0
    first_step: int = 0
    first_epoch: int = 0
    steps: int = 0
    epochs: float | None = None
    planned: int = 1
    lengths: list[int] | None = None
    schedule: str = ""
    stretch: bool = False
    groups: list[str] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    rates: list[tuple[int, float]] = field(default_factory=list)
    depth: list[tuple[int, int]] = field(default_factory=list)
    cycle_ends: list[int] = field(default_factory=list)
    points: list[tuple[int, list[float], float | None, float]] = field(default_factory=list)
    validations: list[tuple[int, float]] = field(default_factory=list)
    val_losses: list[tuple[int, float]] = field(default_factory=list)
    watch: str = "val/acc"
    figures: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    lr_find: list[dict[str, Any]] = field(default_factory=list)
    interrupted: bool = False
    features_seconds: float | None = None

    @property
    def last_step(self) -> int:
        """Steps of the run done at the stage's end."""
        return self.first_step + self.steps

    def path(self, folder: Path) -> Path:
        """The record's file in a run's folder."""
        return folder / FOLDER / f"{stem(self.index, self.name)}.json"

    def write(self, folder: Path) -> Path:
        """Writes the record into a run's folder, atomically."""
        return write_json(self.path(folder), asdict(self))


def stem(index: int, name: str) -> str:
    """What a stage's files are called.

    >>> stem(0, "head"), stem(1, "all / layers")
    ('0-head', '1-all-layers')
    """
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-")
    return f"{index}-{plain}"


def read(path: Path) -> StageRecord:
    """A record from its file; losses that were no numbers are NaN again."""
    data = json.loads(path.read_text(encoding="utf-8"))
    known = {f.name for f in fields(StageRecord)}
    record = StageRecord(**{name: value for name, value in data.items() if name in known})
    record.points = [(step, lrs, momentum, _number(loss)) for step, lrs, momentum, loss in record.points]
    record.validations = [(step, _number(value)) for step, value in record.validations]
    record.val_losses = [(step, _number(value)) for step, value in record.val_losses]
    return record


def finished(folder: Path, names: Iterable[str]) -> list[StageRecord]:
    """The records of the stages of these names in a run's folder, up to the first that is missing."""
    records = []
    for index, name in enumerate(names):
        path = folder / FOLDER / f"{stem(index, name)}.json"
        if not path.exists():
            break
        records.append(read(path))
    return records


KEPT = ("summary.json", "checkpoints/last.ckpt")
"""What makes a folder that of a run, which another one does not overwrite."""


LOOKS = ("evaluate.*", "confusion_*.png", "reliability_*.png", "most_wrong_*.png")
"""What the last look at its images leaves of a run."""


def holds_another(folder: Path, resume: str | os.PathLike | None) -> bool:
    """Whether a folder holds a run that is not the one which goes on."""
    goes_on = resume is not None and Path(resume).resolve().is_relative_to(folder.resolve())
    return not goes_on and any((folder / kept).exists() for kept in KEPT)


def forget_from(folder: Path, index: int) -> None:
    """Takes away what lies in a folder of this stage and those behind it, and of the end of the run."""
    records = [path for path in (folder / FOLDER).glob("[0-9]*-*") if path.suffix in (".json", ".ckpt")]
    later = [path for path in records if int(path.name.partition("-")[0]) >= index]
    looks = [path for pattern in LOOKS for path in folder.glob(pattern)]
    for path in [folder / PAGE, folder / "summary.json", *looks, *later]:
        path.unlink(missing_ok=True)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
