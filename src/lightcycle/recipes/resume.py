"""Where a run goes on: the latest checkpoint that is whole, and the stage it is of."""

import json
import os
import pickle
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lightcycle.callbacks.checkpoints import LAST, PREVIOUS
from lightcycle.recipes.record import PAGE, forget_from


@dataclass
class Place:
    """Where to go on.

    Args:
        index: the stage to run next.
        path: the checkpoint inside that stage; `None` starts the stage anew.
        state: what the checkpoint holds, of inside the stage or of the end of the one before; `None` at the very start.
        epochs: of the run, where its last stage was over; `None` where there is something left to train.
        first_step, first_epoch: those of the run when the stage of `path` began.
        root: folder of the run that goes on, with the records of its stages; `None` where nothing goes on.
        said: what to tell of it, in a line.
    """

    index: int = 0
    path: Path | None = None
    state: dict[str, Any] | None = field(default=None, repr=False)
    epochs: int | None = None
    first_step: int = 0
    first_epoch: int = 0
    root: Path | None = None
    said: str = ""


def find(source: str | os.PathLike | None, names: Sequence[str]) -> Place:
    """Where a run of stages of these names goes on.

    Args:
        source: a checkpoint file, or the folder of a run: then its latest whole checkpoint counts. `None` starts anew.
        names: of the stages.

    Raises:
        ValueError: if a file is no checkpoint, or is of a stage that the recipe does not have.
    """
    if source is None:
        return Place()
    source = Path(source)
    if not source.is_dir():
        if (state := _load(source)) is None:
            raise ValueError(
                f"resume={source} is no whole checkpoint; resume the run's folder: its latest whole one is taken"
            )
        return _place(source, state, names, source.parent.parent)
    torn = []
    for path in (source / "checkpoints" / LAST, source / "checkpoints" / PREVIOUS):
        if path.exists():
            if (state := _load(path)) is not None:
                place = _place(path, state, names, source)
                place.said = "; ".join([*torn, place.said])
                return place
            torn.append(f"{path.name} is torn, and passed over")
    return Place(said="; ".join([*torn, f"no checkpoint in {source}: the run starts anew"]))


def is_over(root: Path) -> bool:
    """Whether the run in a folder came to its end: its summary and its page are there, and nobody stopped it."""
    summary = root / "summary.json"
    if not summary.exists() or not (root / PAGE).exists():
        return False
    return not json.loads(summary.read_text(encoding="utf-8")).get("interrupted", False)


def _place(path: Path, state: dict[str, Any], names: Sequence[str], root: Path) -> Place:
    """The place that a checkpoint stands for; at the end of a stage that is the next one's beginning."""
    mark = state.get("callbacks", {}).get("StageMark", {"name": names[0], "index": 0, "finished": False})
    name, index = mark["name"], mark["index"]
    if index >= len(names) or (names[index] != name and len(names) > 1):
        raise ValueError(
            f"{path} was saved in stage {index} ({name}), and this recipe's stages are {', '.join(names)}; resume with "
            "the recipe of that run"
        )
    at = f"step {state['global_step']}"
    if mark["finished"] and index + 1 < len(names):
        said = f"{path.name} is the end of stage {name}: going on with {names[index + 1]} at {at}"
        return Place(index + 1, state=state, root=root, said=said)
    begin = {key: mark.get(key, 0) for key in ("first_step", "first_epoch")}
    said = f"going on from {path.name} at {at}" + (", the end of training" if mark["finished"] else "")
    return Place(index, path, state, state["epoch"] if mark["finished"] else None, root=root, said=said, **begin)


def _load(path: Path) -> dict[str, Any] | None:
    """What a checkpoint holds; `None` where it is torn or none.

    Raises:
        ValueError: it is whole, and holds objects that could run code when they are read.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not zipfile.is_zipfile(path):  # whose list of contents comes last
            return None
        found = re.search(r"GLOBAL (\S+)", str(error))
        raise ValueError(
            f"{path} must hold tensors and plain data (got {found[1] if found else 'other objects'}), since anything "
            "else could run code when it is read; keep it out of save_hyperparameters and of state_dict, or allow it "
            "by torch.serialization.add_safe_globals([...])"
        ) from error
    except Exception:  # a torn file raises whatever its half contents lead to
        return None
    return state if isinstance(state, dict) and "loops" in state else None


def forget(folder: Path) -> None:
    """Takes away what another run left in a folder and would pass for this run's: checkpoints, records, snapshots."""
    forget_from(folder, 0)
    checkpoints = [folder / "checkpoints" / name for name in (LAST, PREVIOUS)]
    members = [folder / "snapshots.png", *(folder / "snapshots").glob("*")]
    for path in [*checkpoints, *members]:
        path.unlink(missing_ok=True)
