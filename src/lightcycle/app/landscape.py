"""Whether a run's snapshots are different minima: the loss between them, measured, drawn and said in a sentence."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from lightcycle.app import command
from lightcycle.app.checks import Rule
from lightcycle.app.landscape_files import leave
from lightcycle.app.measured import Measured
from lightcycle.app.reload import load, reload
from lightcycle.data.chosen import Chosen
from lightcycle.data.module import ImageData
from lightcycle.data.split import limit
from lightcycle.ensembling.batchnorm import moved
from lightcycle.ensembling.landscape import State, corners, distance, random_direction
from lightcycle.ensembling.measure import measure
from lightcycle.ensembling.members import Snapshot, snapshots
from lightcycle.ensembling.survey import Survey, along_lines, around, through_three

MARGIN = 0.25  # of the triangle's extent, around it
REACH = 1.0  # along a random direction; 1 is as long as the filters
TRAINING = 512  # images that running statistics are made anew from


def _members(value: Any) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return value is None
    return len(value) == 3 == len(set(value)) and all(isinstance(v, int) and v >= 1 for v in value)


RULES = {
    "run": command.RUN,
    "images": Rule(lambda v: isinstance(v, int) and v >= 2, "must be >= 2 validation images", "1000 is usual"),
    "line": Rule(lambda v: isinstance(v, int) and v >= 3, "must be >= 3 points, ends included", "13 is usual"),
    "plane": Rule(lambda v: v in ("snapshots", "random", "none"), "must be snapshots, random or none", "none is quick"),
    "members": Rule(_members, "must be three different snapshots, counted from 1, or null", "null picks them"),
    "resolution": Rule(lambda v: isinstance(v, int) and v >= 2, "must be >= 2 points of a side", "15 is usual"),
    "batchnorm": Rule(lambda v: v in ("refresh", "mixed"), "must be refresh or mixed", "refresh is usual"),
    "seed": Rule(lambda v: isinstance(v, int) and v >= 0, "must be >= 0", "0 is a seed"),
    "device": command.DEVICE,
}


def landscape(config: DictConfig) -> None:
    """Measures what has not been measured, writes landscape.png and landscape.json, prints the verdict and a table."""
    OmegaConf.resolve(config)
    command.check(config, RULES)
    device = command.device(config.device)
    saved, data, module = reload(config.run)
    kept = snapshots(saved.folder / "snapshots")
    members = chosen(config, kept, saved.folder)
    states = loaded(kept, module)
    parameters = [name for name, _ in module.named_parameters()]
    survey = along_lines(len(kept), len(states), config.line)
    stale = moved(module, states) if config.batchnorm == "refresh" else []
    survey, states = with_plane(config, survey, states, members, parameters)
    images = read(data, config.images, bool(stale))
    path = saved.folder / stem(config)
    with Measured(
        path.with_suffix(".npz"), key(config, kept, data, images, survey), len(survey.rows), images.count
    ) as found:
        measure_all(found, survey, states, module.to(device), stale, images, data.normalize)
    lengths = [distance(a, b, parameters) for a, b in pairwise(states[: len(kept)])]
    leave(path, survey, found, kept, lengths, bool(stale))


def chosen(config: DictConfig, kept: list[Snapshot], folder: Path) -> list[int]:
    """The snapshots that the plane goes through, counted from 0.

    Raises:
        ValueError: there are no snapshots, or not enough of them for what is asked.
    """
    count = len(kept)
    if not count:
        raise ValueError(
            f"run must have snapshots (got {folder}, whose snapshots/ holds none); "
            "train with +callbacks=snapshot_ensemble and a schedule of several cycles"
        )
    if config.plane != "snapshots":
        if config.plane == "none" and count < 2:
            raise ValueError(f"plane=none leaves nothing to draw of 1 snapshot (got {folder}); set plane=random")
        return [count - 1]
    if count < 3:
        raise ValueError(
            f"plane=snapshots needs three of them (got {count} in {folder / 'snapshots'}); plane=random draws around "
            "the last, plane=none the lines alone"
        )
    members = [0, (count - 1) // 2, count - 1] if config.members is None else [number - 1 for number in config.members]
    if max(members) >= count:
        raise ValueError(f"members must be between 1 and {count}, the run's snapshots (got {max(members) + 1})")
    return members


def loaded(kept: list[Snapshot], module: nn.Module) -> list[State]:
    """The tensors of the snapshots, each seen to fit the module."""
    states = []
    for snapshot in kept:
        states.append(snapshot.load())
        load(module, states[-1], snapshot.path)
    return states


def with_plane(
    config: DictConfig, survey: Survey, states: list[State], members: list[int], parameters: list[str]
) -> tuple[Survey, list[State]]:
    """The survey with the plane that was asked for; random directions are states behind the snapshots."""
    if config.plane == "none":
        return survey, states
    if config.plane == "snapshots":
        places = corners([states[member] for member in members], parameters)
        return through_three(survey, members, places, config.resolution, MARGIN), states
    generator = torch.Generator().manual_seed(config.seed)
    directions = [random_direction(states[-1], parameters, generator) for _ in range(2)]
    wider = Survey(np.pad(survey.rows, ((0, 0), (0, 2))), survey.lines)
    numbers = len(states), len(states) + 1
    return around(wider, members[0], numbers, config.resolution, REACH), [*states, *directions]


@dataclass(frozen=True)
class Images:
    """What every point is measured on, as uint8: validation batches with labels, and training batches without."""

    batches: list[tuple[Tensor, Tensor]]
    training: list[Tensor]
    count: int


def read(data: ImageData, images: int, training: bool) -> Images:
    """Reads the validation images once, each class with its share, and some training images as in training."""
    data.prepare_data()
    data.setup("fit")
    try:
        numbers = torch.from_numpy(limit(data.labels("val").cpu().numpy(), images))
        size = data.config.eval_batch_size or 2 * data.config.batch_size
        loader = data.make_loader("val", Chosen(n=len(numbers), batch_size=size, samples=numbers))
        few = islice(data.train_loader(), math.ceil(TRAINING / data.config.batch_size)) if training else ()
        return Images(list(loader.load(0, 0)), [x for x, _ in few], len(numbers))
    finally:
        data.teardown("fit")


def key(config: DictConfig, kept: list[Snapshot], data: ImageData, images: Images, survey: Survey) -> str:
    """All that the numbers depend on."""
    return json.dumps(
        {
            "snapshots": [_digest(snapshot.path) for snapshot in kept],
            "validation": [data.fingerprint("val"), images.count, data.size, data.transform],
            "training": [data.fingerprint("train"), len(images.training), data.seed] if images.training else None,
            "points": hashlib.sha256(survey.rows.tobytes()).hexdigest(),
            "directions": config.seed if config.plane == "random" else None,
        }
    )


def measure_all(
    found: Measured, survey: Survey, states: list[State], module: nn.Module, stale: list[str], images: Images, normalize
) -> None:
    """Measures the points that no earlier run has, with a bar."""
    device = next(module.parameters()).device
    states = [{name: tensor.to(device) for name, tensor in state.items()} for state in states]
    for point in command.bar(found.left, f"{len(survey.rows)} points"):
        batches = ((normalize(x).to(device), y.to(device)) for x, y in images.batches)
        training = (normalize(x).to(device) for x in images.training)
        found.put(point, *measure(module, states, survey.rows[point].tolist(), batches, stale, training))


def stem(config: DictConfig) -> str:
    """The name of the files: a look around one snapshot does not overwrite that at several."""
    return "landscape_random" if config.plane == "random" else "landscape"


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
