"""The weights that a run has kept: its last and its best, and the ensemble of its snapshots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from lightcycle.app.reload import Saved, load

if TYPE_CHECKING:  # torch and Lightning take seconds to import
    from torch import Tensor, nn

    from lightcycle.ensembling import Snapshot
    from lightcycle.models.classifier import Classifier


def available(folder: Path) -> list[str]:
    """What can be put into a run's net: ``last`` and ``best``, and ``ensemble`` where there are snapshots."""
    return [*checkpoints(folder), *(["ensemble"] if _snapshots(folder) else [])]


def model(saved: Saved, module: Classifier, name: str, members: int | None = None) -> nn.Module:
    """The run's net, images to logits, with the weights called so; for ``ensemble`` the last ``members`` snapshots.

    Raises:
        ValueError: there are none of that name, or they cannot be read, or are of another net.
    """
    if name not in (there := available(saved.folder)):
        raise ValueError(f"weights={name} is not in {saved.folder}; there are: {', '.join(there)}")
    if name != "ensemble":
        load(module, weights(saved.folder, name), saved.folder / "checkpoints")
        return module
    from lightcycle.ensembling import Ensemble

    kept = _snapshots(saved.folder)
    if (members or 1) > len(kept):
        raise ValueError(f"members must be at most {len(kept)}, the run's snapshots (got {members}); null is usual")
    return Ensemble(module, [one.load() for one in kept[-(members or 0) :]])


def chosen_members(folder: Path) -> int | None:
    """How many of its last snapshots the run found best on validation images; None where it has not looked."""
    table = folder / "snapshots" / "table.json"
    chosen = json.loads(table.read_text())["figures"].get("ensemble_members") if table.is_file() else None
    return chosen if chosen and chosen <= len(_snapshots(folder)) else None


def _snapshots(folder: Path) -> list[Snapshot]:
    from lightcycle.ensembling import snapshots

    return snapshots(folder / "snapshots")


def checkpoints(folder: Path) -> dict[str, Path]:
    """``last`` and ``best``, those that are there.

    Raises:
        ValueError: there is none.
    """
    files = sorted((folder / "checkpoints").glob("*.ckpt"), key=lambda file: file.stat().st_mtime)
    found = {"last": [f for f in files if f.stem == "last"], "best": [f for f in files if f.stem.startswith("best")]}
    found = {name: those[-1] for name, those in found.items() if those}
    if not found:
        raise ValueError(
            f"{folder / 'checkpoints'} must hold last.ckpt or best-*.ckpt (found neither); train the run to its end"
        )
    return found


def weights(folder: Path, name: str) -> dict[str, Tensor]:
    """The module's tensors in the checkpoint called ``last`` or ``best``.

    Raises:
        ValueError: it is not there, or torn.
    """
    import torch

    there = checkpoints(folder)
    if name not in there:
        raise ValueError(f"weights={name} is not in {folder / 'checkpoints'}; there are: {', '.join(there)}")
    try:
        return torch.load(there[name], map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:  # zip, pickle and the file system each raise their own
        others = [str(file) for other, file in there.items() if other != name]
        fix = f"remove it, and use {others[0]}" if others else "train the run again"
        raise ValueError(f"{there[name]} cannot be read ({_reason(error)}): it may be cut off; {fix}") from error


def _reason(error: Exception) -> str:
    """The first sentence: what zip files say goes on for long."""
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
