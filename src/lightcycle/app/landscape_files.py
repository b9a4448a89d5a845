"""What a look at the landscape leaves: a picture, the numbers, a table and a sentence."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightcycle.app.measured import Measured
from lightcycle.ensembling.members import Snapshot
from lightcycle.ensembling.survey import Barrier, Survey, barrier, verdict
from lightcycle.report.files import write_json
from lightcycle.report.landscape_picture import Landscape, Plane, draw_landscape
from lightcycle.report.table import print_table

HEADER = ["snapshot", "step", "loss", "accuracy", "distance to the next", "barrier", "+-"]


def leave(
    path: Path, survey: Survey, found: Measured, kept: Sequence[Snapshot], lengths: Sequence[float], refreshed: bool
) -> None:
    """Writes PATH.png and PATH.json, prints the table and the verdict."""
    barriers = [barrier(found.losses[line]) for line in survey.lines]
    seen = look(path.parent.name, survey, found, lengths, barriers, refreshed)
    picture = draw_landscape(seen, path.with_suffix(".png"))
    write_json(path.with_suffix(".json"), numbers(seen, found, kept, barriers))
    print_table(seen.note, HEADER, table(found, kept, lengths, barriers))
    print(seen.title, picture, sep="\n")


def look(
    run: str, survey: Survey, found: Measured, lengths: Sequence[float], barriers: Sequence[Barrier], refreshed: bool
) -> Landscape:
    """What the picture shows."""
    losses, accuracies = found.losses.mean(1, dtype=np.float64), found.right.mean(1)
    points, images = found.losses.shape
    alone = f"one snapshot, of loss {losses[0]:.3g}: there is no line to another"
    statistics = "BatchNorm's statistics measured anew between snapshots" if refreshed else "statistics as they are"
    return Landscape(
        title=verdict(barriers) if barriers else alone,
        note=f"{run}: loss of {images:,} validation images at {points} points, {statistics}",
        labels=[str(number) for number in range(1, len(lengths) + 2)],
        lengths=list(lengths),
        losses=losses[survey.lines],
        accuracies=accuracies[survey.lines],
        plane=None if survey.plane is None else _plane(survey, losses),
    )


def numbers(seen: Landscape, found: Measured, kept: Sequence[Snapshot], barriers: Sequence[Barrier]) -> dict[str, Any]:
    """Every figure of the picture, as plain data."""
    losses, accuracies = found.losses.mean(1, dtype=np.float64), found.right.mean(1)
    plane = seen.plane
    return {
        "verdict": seen.title,
        "note": seen.note,
        "snapshots": [
            {"file": one.path.name, **one.info, "loss": losses[i], "acc": accuracies[i]} for i, one in enumerate(kept)
        ],
        "lines": [
            {
                "distance": length,
                **vars(each),
                "separates": each.separates,
                "losses": line.tolist(),
                "accs": accs.tolist(),
            }
            for length, each, line, accs in zip(seen.lengths, barriers, seen.losses, seen.accuracies, strict=True)
        ],
        "plane": plane and {name: _listed(value) for name, value in vars(plane).items()},
    }


def table(
    found: Measured, kept: Sequence[Snapshot], lengths: Sequence[float], barriers: Sequence[Barrier]
) -> list[list[Any]]:
    """A row for each snapshot; the last has no next."""
    onwards = [[length, each.height, each.error] for length, each in zip(lengths, barriers, strict=True)]
    return [
        [i + 1, one.step, float(found.losses[i].mean(dtype=np.float64)), float(found.right[i].mean()), *onward]
        for i, (one, onward) in enumerate(zip(kept, [*onwards, [None] * 3], strict=True))
    ]


def _plane(survey: Survey, losses: np.ndarray) -> Plane:
    places = {str(number + 1): place for number, place in survey.places.items()}
    return Plane(survey.xs, survey.ys, losses[survey.plane], places)


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
