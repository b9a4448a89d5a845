"""What a net gets wrong: the confusion matrix, how sure it is of itself, and its worst mistakes."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightcycle.data.chosen import Chosen
from lightcycle.data.module import ImageData
from lightcycle.report.confusion import confusion_matrix, confusion_png, most_confused
from lightcycle.report.contact_sheet import contact_sheet_png
from lightcycle.report.files import write_bytes
from lightcycle.report.reliability import calibration, reliability_png


def draw(folder: Path, data: ImageData, part: str, p: Tensor, labels: Tensor, name: str, wrong: int) -> dict[str, Any]:
    """Writes the confusion matrix, the reliability curve and the worst mistakes, and gives their numbers."""
    names = list(data.classes)
    sure, taken = p.max(1)
    matrix = confusion_matrix(labels.tolist(), taken.tolist(), len(names))
    seen = calibration(sure.tolist(), (taken == labels).tolist())
    title = f"{folder.name}, {part} images, weights: {name}"
    write_bytes(folder / f"confusion_{part}.png", confusion_png(matrix, names, title))
    write_bytes(folder / f"reliability_{part}.png", reliability_png(seen, title))
    worst = mistakes(p, labels, names, wrong)
    _sheet(folder, data, part, worst)
    return {
        "classes": names,
        "confusion": matrix.tolist(),
        "most_confused": most_confused(matrix, names),
        "calibration": {key: value.tolist() for key, value in vars(seen).items()},
        "most_wrong": worst,
    }


def mistakes(p: Tensor, labels: Tensor, names: list[str], most: int) -> list[dict[str, Any]]:
    """The images whose own class got the lowest probability, of those that were taken for another."""
    own = p.gather(1, labels[:, None]).squeeze(1)
    sure, taken = p.max(1)
    order = own.masked_fill(taken == labels, 2.0).argsort(stable=True)[: min(most, int((taken != labels).sum()))]
    return [
        {
            "image": i,
            "label": names[labels[i]],
            "probability_of_label": own[i].item(),
            "taken_for": names[taken[i]],
            "probability": sure[i].item(),
        }
        for i in order.tolist()
    ]


def _sheet(folder: Path, data: ImageData, part: str, worst: list[dict[str, Any]]) -> None:
    path = folder / f"most_wrong_{part}.png"
    path.unlink(missing_ok=True)  # of an earlier look, where nothing is wrong now
    if not worst:
        return
    samples = torch.tensor([one["image"] for one in worst])
    ((images, _),) = data.make_loader(part, Chosen(n=len(worst), batch_size=len(worst), samples=samples)).once()
    lines = [
        f"is {one['label']} ({one['probability_of_label']:.2f})\nsaid {one['taken_for']} ({one['probability']:.2f})"
        for one in worst
    ]
    title = f"{folder.name}, {part} images: the worst mistakes"
    write_bytes(path, contact_sheet_png(list(images.cpu().numpy()), lines, title))
