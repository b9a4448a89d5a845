"""A finished run under the magnifying glass: figures of its weights, and the pictures of what it gets wrong."""

import json
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from lightcycle.app import command
from lightcycle.app.checks import Rule
from lightcycle.app.kept import available, chosen_members, model
from lightcycle.app.mistakes import draw
from lightcycle.app.passes import Passes
from lightcycle.app.quiet import silence
from lightcycle.app.reload import Saved, reload
from lightcycle.app.tta import TTAConfig, settled
from lightcycle.data.module import ImageData
from lightcycle.ensembling import choose_last, snapshots
from lightcycle.ensembling.average import accuracy, log_loss
from lightcycle.models.classifier import Classifier
from lightcycle.report.files import write_json, write_text
from lightcycle.report.reliability import calibration
from lightcycle.report.run_page import page_of
from lightcycle.report.table import markdown_table, print_table

PARTS = ("val", "test")
WEIGHTS = ("last", "best", "ensemble")
OPTIONS = {
    "run": command.RUN,
    "part": Rule(lambda v: v in PARTS, "must be val or test", "test is usual, when all choices are made"),
    "tta": Rule(lambda v: v is None or isinstance(v, DictConfig), "must be n, beta and views, or null", "null is off"),
    "pictures": Rule(lambda v: v in (None, *WEIGHTS), "must be last, best, ensemble or null", "null is usual"),
    "wrong": Rule(lambda v: isinstance(v, int) and v >= 1, "must be a whole number >= 1", "24 is usual"),
    "device": command.DEVICE,
}
HEADER = ["weights", "TTA", "acc", "loss", "ECE", "seconds"]


def evaluate(config: DictConfig) -> dict[str, Any]:
    """Writes evaluate.md, evaluate.json and three pictures into the run's folder, and prints the table."""
    command.check(config, OPTIONS)
    tta, device = settled(config), command.device(config.device)
    silence()
    saved, data, module = reload(config.run)
    try:
        _check(saved, data, config)
        found = look(saved, module.to(device), Passes(data, device, tta), config)
    finally:
        data.teardown("test")
    tell(saved, config.part, found, tta)
    return found


def look(saved: Saved, module: Classifier, passes: Passes, config: DictConfig) -> dict[str, Any]:
    """Every figure; draws the pictures of one of the weights on the way."""
    data, part, tta = passes.data, config.part, passes.views
    labels, rows, predictions, members = passes.labels(part), [], {}, None
    for name in available(saved.folder):
        if name == "ensemble":
            members = chosen_members(saved.folder) or choose_members(saved, module, passes)
        net, began = model(saved, module, name, members).to(passes.device), time.perf_counter()
        plain = predictions[name] = passes.plain(net, part, text=name)[0]
        rows.append(figures(name, None, plain, labels, time.perf_counter() - began))
        if tta and (tta.views != "augment" or data.augmentation):
            both = passes.tta(net, part, plain[None], text=name)[0]
            rows.append(figures(name, tta.views, both, labels, time.perf_counter() - began))
    shown = config.pictures or ("ensemble" if "ensemble" in predictions else next(iter(predictions)))
    found = {"images": len(labels), "members": members, "rows": rows, "pictures": shown}
    return found | draw(saved.folder, data, part, predictions[shown], labels, shown, config.wrong)


def choose_members(saved: Saved, module: Classifier, passes: Passes) -> int:
    """How many of the last snapshots are most accurate together on the validation images, whatever is evaluated."""
    if not passes.data.counts.val:
        return len(snapshots(saved.folder / "snapshots"))
    states = model(saved, module, "ensemble").states
    return choose_last(passes.plain(module, "val", states, "members"), passes.labels("val"))


def figures(name: str, views: str | None, p: Tensor, labels: Tensor, seconds: float) -> dict[str, Any]:
    """A row: accuracy, mean negative log-likelihood, expected calibration error of probabilities ``(n, classes)``."""
    sure, taken = p.max(1)
    return {
        "weights": name,
        "tta": views,
        "acc": accuracy(p, labels),
        "loss": log_loss(p, labels),
        "ece": calibration(sure.tolist(), (taken == labels).tolist()).ece,
        "seconds": seconds,
    }


def tell(saved: Saved, part: str, found: dict[str, Any], tta: TTAConfig | None) -> None:
    """The files, the run's page made anew, and the table on the terminal."""
    keep(saved.folder, part, found)
    if (saved.folder / "report.html").is_file():
        page_of(saved.folder)
    print_table(f"{saved.folder.name}, {found['images']:,} {part} images", HEADER, _cells(found))
    print(*remarks(part, found, tta), saved.folder / "evaluate.md", sep="\n")


def keep(folder: Path, part: str, found: dict[str, Any]) -> None:
    """Writes evaluate.json and evaluate.md; what was found of the other part stays."""
    path = folder / "evaluate.json"
    both = {**(json.loads(path.read_text()) if path.is_file() else {}), part: found}
    write_json(path, both)
    text = "\n".join(_markdown(name, both[name]) for name in PARTS if name in both)
    write_text(folder / "evaluate.md", f"# {folder.name}\n\n{text}")


def remarks(part: str, found: dict[str, Any], tta: TTAConfig | None) -> list[str]:
    """What the table does not say: how many are in the ensemble, why there is no TTA, and what was looked at."""
    members, said = found["members"], []
    if members:
        said.append(f"ensemble: the last snapshot{_several(members)}, chosen on validation images")
    if tta is None:
        said.append("without TTA: tta=null switches it off")
    elif not any(row["tta"] for row in found["rows"]):
        said.append("without TTA: the run's data has no augmentation to repeat; tta.views=flips or shifts needs none")
    weights = ", ".join(dict.fromkeys(row["weights"] for row in found["rows"]))
    return [*said, f"evaluated: weights {weights} on {found['images']:,} {part} images; pictures: {found['pictures']}"]


def _markdown(part: str, found: dict[str, Any]) -> str:
    worst = "".join(f"- {true}, taken for {taken}: {n}\n" for true, taken, n in found["most_confused"])
    pictures = [("confusion matrix", "confusion"), ("reliability", "reliability")]
    pictures += [("the worst mistakes", "most_wrong")] if found["most_wrong"] else []
    shown = "\n".join(f"![{text}]({name}_{part}.png)" for text, name in pictures)
    return (
        f"## {part}: {found['images']:,} images\n\n{markdown_table(HEADER, _cells(found))}\n\n"
        f"Pictures and mistakes: weights {found['pictures']}, without TTA.\n\n{worst}\n{shown}\n"
    )


def _cells(found: dict[str, Any]) -> list[list[Any]]:
    digits = {"acc": 4, "loss": 4, "ece": 4, "seconds": 2}
    keys = [name.lower() for name in HEADER]
    return [[f"{row[k]:.{digits[k]}f}" if k in digits else row[k] for k in keys] for row in found["rows"]]


def _several(members: int) -> str:
    return " alone" if members == 1 else f"s, {members} of them"


def _check(saved: Saved, data: ImageData, config: DictConfig) -> None:
    """Refuses what the run does not have."""
    if not getattr(data.counts, config.part):
        raise ValueError(f"part={config.part} has no images in this run's data; part=val has")
    there = available(saved.folder)
    if config.pictures not in (None, *there):
        raise ValueError(f"pictures={config.pictures} is not in {saved.folder}; there are: {', '.join(there)}")
