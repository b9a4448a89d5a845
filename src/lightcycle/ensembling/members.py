"""Snapshots on disk: the tensors of a model in a safetensors file, and a small json beside it that says what it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lightcycle.files import whole
from lightcycle.transfer.npy import read_json, write_json


@dataclass(frozen=True)
class Snapshot:
    """A whole snapshot.

    Args:
        path: of the tensors; the json has the same name with another ending.
        info: step, cycle, epoch, lr of each parameter group, and the watched metric by its name, where it is known.
    """

    path: Path
    info: dict[str, Any]

    @property
    def step(self) -> int:
        """Optimizer steps that were done."""
        return self.info["step"]

    def load(self) -> dict[str, Tensor]:
        """The tensors by name, on the CPU."""
        return load_snapshot(self.path)

    def note(self, **more: Any) -> Snapshot:
        """Adds what became known later; the old json or the whole new one is there at any time."""
        info = {**self.info, **more}
        write_json(self.path.with_suffix(".json"), info)
        return Snapshot(self.path, info)

    def remove(self) -> None:
        """Deletes both files: the json first, so that no half snapshot is ever listed."""
        self.path.with_suffix(".json").unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def save_snapshot(folder: str | os.PathLike, state: Mapping[str, Tensor], info: Mapping[str, Any]) -> Snapshot:
    """Writes the tensors, then the json, each atomically: a kill leaves a whole snapshot or none.

    Args:
        folder: of the snapshots; made where it is missing.
        state: tensors by name, on any device; those that share memory are stored apart.
        info: plain data; ``step`` gives the file its name.

    >>> import tempfile
    >>> made = save_snapshot(tempfile.mkdtemp(), {"w": torch.ones(2)}, {"step": 7, "cycle": 1})
    >>> made.path.name, made.load()["w"].tolist()
    ('step-0000007.safetensors', [1.0, 1.0])
    """
    path = Path(folder) / f"step-{info['step']:07d}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)  # of an older snapshot of the same step
    with whole(path) as beside:
        save_file(_storable(state), beside)
    return Snapshot(path, {}).note(**info)


def load_snapshot(path: str | os.PathLike) -> dict[str, Tensor]:
    """The tensors of a snapshot by name, on the CPU."""
    return load_file(path)


def snapshots(folder: str | os.PathLike) -> list[Snapshot]:
    """The whole snapshots of a folder, by step; empty where there are none.

    >>> snapshots("no/such/folder")
    []
    """
    found = [Snapshot(path, read_json(path.with_suffix(".json"))) for path in Path(folder).glob("step-*.safetensors")]
    return sorted((one for one in found if one.info), key=lambda one: one.step)


def host_copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy in host memory, row by row whatever the memory format: what training changes next does not reach it.

    >>> weight = torch.zeros(2)
    >>> kept = host_copy({"weight": weight})
    >>> _ = weight.fill_(1.0)
    >>> kept["weight"].tolist()
    [0.0, 0.0]
    """
    return {name: torch.empty(t.shape, dtype=t.dtype).copy_(t.detach()) for name, t in state.items()}


def _storable(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As safetensors wants them: contiguous on the CPU, no two of one memory."""
    fits = all(tensor.device.type == "cpu" and tensor.is_contiguous() for tensor in state.values())
    apart = len({tensor.untyped_storage().data_ptr() for tensor in state.values()}) == len(state)
    return dict(state) if fits and apart else host_copy(state)
