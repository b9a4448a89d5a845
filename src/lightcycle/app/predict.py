"""Classes of image files, by a finished run's net."""

import csv
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from lightcycle.app import command
from lightcycle.app.checks import Rule
from lightcycle.app.inputs import Inputs
from lightcycle.app.kept import chosen_members, model
from lightcycle.app.quiet import silence
from lightcycle.app.reload import Saved, build_module, inputs_of, settings
from lightcycle.data.folder_loader import workers
from lightcycle.data.listing import EXTENSIONS
from lightcycle.report.contact_sheet import contact_sheet_png
from lightcycle.report.files import write_bytes, write_text

OPTIONS = {
    "run": command.RUN,
    "images": Rule(bool, "must be an image file or a folder of them", "for example images=photos"),
    "out": Rule(lambda v: v is None or str(v).endswith(".csv"), "must end in .csv, or be null", "null is in the run"),
    "weights": Rule(lambda v: v in ("last", "best", "ensemble"), "must be last, best or ensemble", "last is usual"),
    "members": Rule(lambda v: v is None or (isinstance(v, int) and v >= 1), "must be >= 1 or null", "null is all"),
    "batch_size": Rule(lambda v: isinstance(v, int) and v >= 1, "must be a whole number >= 1", "64 is usual"),
    "sheet": Rule(lambda v: isinstance(v, int) and v >= 0, "must be a whole number >= 0", "0 draws none"),
    "device": command.DEVICE,
}
COLUMNS = ["file", "class", "probability", "error"]

Row = dict[str, Any]


def predict(config: DictConfig) -> list[Row]:
    """Writes the CSV and the contact sheet, and gives the CSV's rows.

    Raises:
        ValueError: an option is wrong, or not one file could be read; the CSV is written all the same.
    """
    command.check(config, OPTIONS)
    silence()
    files, device = image_files(Path(config.images).expanduser()), command.device(config.device)
    saved = settings(config.run)
    wanted = inputs_of(saved)
    members = config.members or chosen_members(saved.folder)
    net = model(saved, build_module(saved, wanted), config.weights, members).to(device)
    rows = classify(net, files, wanted, config.batch_size, device)
    out = Path(config.out).expanduser() if config.out else saved.folder / "predictions.csv"
    write_text(out, as_csv(rows))
    read = [row for row in rows if not row["error"]]
    if not read:
        raise ValueError(f"none of the {len(rows)} file(s) of images={config.images} can be read; {out} says why")
    draw(saved, wanted, read, config.sheet, out.with_suffix(".png"))
    tell(rows, read, out)
    return rows


def image_files(path: Path) -> list[Path]:
    """The file itself, or every image file in the folder and below, by name; hidden ones are passed over.

    Raises:
        ValueError: there is nothing there.
    """
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob("*") if _is_image(file.relative_to(path)) and file.is_file())
    if not found:
        lack = "which holds none" if path.is_dir() else "which is absent"
        raise ValueError(f"images must be an image file or a folder of them (got {path}, {lack}); try images=photos")
    return found


@torch.inference_mode()
def classify(net: nn.Module, files: list[Path], wanted: Inputs, batch_size: int, device: torch.device) -> list[Row]:
    """A row for each file: its class and that class's probability, or why it cannot be read.

    Args:
        net: images to logits, on the device, in evaluation mode.
        files: any that Pillow may read.
        wanted: how an image becomes the net's input.
        batch_size: images at a time.
        device: where the net is.
    """
    rows = []
    with ThreadPoolExecutor(workers(None)) as pool:
        for start in command.bar(range(0, len(files), batch_size), "images"):
            some = files[start : start + batch_size]
            rows += _rows(net, some, list(pool.map(lambda file: _attempt(file, wanted), some)), wanted, device)
    return rows


def as_csv(rows: list[Row]) -> str:
    """The rows under their header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def draw(saved: Saved, wanted: Inputs, read: list[Row], most: int, path: Path) -> None:
    """The contact sheet: images as the net sees them, those it is least sure of first, as many as it holds."""
    path.unlink(missing_ok=True)  # of an earlier look at other images
    shown = sorted(read, key=lambda row: row["probability"])[:most]
    if not shown:
        return
    few = "all" if len(shown) == len(read) else f"{len(shown)} of"
    title = f"{saved.folder.name}, {few} {len(read):,} images, the least sure first"
    texts = [f"{row['class']} ({row['probability']:.2f})\n{Path(row['file']).name}" for row in shown]
    images = [wanted.read(row["file"]).numpy() for row in shown]
    write_bytes(path, contact_sheet_png(images, texts, title))


def tell(rows: list[Row], read: list[Row], out: Path) -> None:
    """How many of which class, how many cannot be read, and where the files are."""
    said = [row["class"] for row in read]
    most = sorted(set(said), key=said.count, reverse=True)
    print(f"{len(read):,} images:", ", ".join(f"{name} {said.count(name):,}" for name in most[:10]))
    if bad := [row for row in rows if row["error"]]:
        print(f"{len(bad):,} cannot be read, the first is {bad[0]['file']}: {bad[0]['error']}")
    print(*[path for path in (out, out.with_suffix(".png")) if path.is_file()], sep="\n")


def _rows(
    net: nn.Module, files: list[Path], read: list[Tensor | str], wanted: Inputs, device: torch.device
) -> list[Row]:
    rows = [{"file": str(file), "class": "", "probability": "", "error": ""} for file in files]
    images = [image for image in read if isinstance(image, Tensor)]
    said = iter(net(wanted.normalize(torch.stack(images).to(device))).float().softmax(-1).cpu() if images else ())
    for row, image in zip(rows, read, strict=True):
        if isinstance(image, str):
            row["error"] = image
        else:
            sure, taken = next(said).max(0)
            row |= {"class": wanted.classes[taken], "probability": sure.item()}
    return rows


def _attempt(file: Path, wanted: Inputs) -> Tensor | str:
    """The pixels, or why there are none."""
    try:
        return wanted.read(str(file))
    except Exception as error:  # decoders raise what they like: OSError, SyntaxError, struct.error, ...
        said = " ".join(str(error).replace(str(file), file.name).split())
        return "empty file" if file.is_file() and file.stat().st_size == 0 else said or type(error).__name__


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not any(part.startswith(".") for part in path.parts)
