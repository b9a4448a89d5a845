"""Which image files a folder holds, and in which layout; names only, nothing is opened."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})

Files = list[tuple[str, int]]  # (path, label)


@dataclass(frozen=True)
class Listing:
    """The files of each part with their labels; None where the layout has no such part."""

    classes: tuple[str, ...]
    train: Files
    val: Files | None
    test: Files | None
    flat: bool


def list_images(root: str | Path) -> Listing:
    """List ``root/train/CLASS/*`` with ``val`` and ``test`` beside it where they are, or else ``root/CLASS/*``.

    Classes are the folders' names, sorted; hidden files and files that are not images are passed over.

    Raises:
        FileNotFoundError: When there is no such folder.
        ValueError: When it holds no classes, fewer than two, an empty one, or val or test know one that train does not.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"data.root must be a folder of images (got {root}, which is absent); set data.root.")
    flat = not (root / "train").is_dir()
    train_root = root if flat else root / "train"
    folders = _class_folders(train_root)
    classes = tuple(folders)
    _check_classes(train_root, classes)
    train = _files(folders, classes)
    _check_filled(train_root, classes, train)
    val, test = (None, None) if flat else (_part(root / part, classes) for part in ("val", "test"))
    return Listing(classes, train, val, test, flat)


def _class_folders(root: Path) -> dict[str, Path]:
    # NFC: some file systems store accents decomposed, and "é" in train must be "é" in val
    found = [Path(e.path) for e in os.scandir(root) if e.is_dir() and not e.name.startswith(".")]
    return dict(sorted((unicodedata.normalize("NFC", path.name), path) for path in found))


def _files(folders: dict[str, Path], classes: tuple[str, ...]) -> Files:
    return [(path, label) for label, name in enumerate(classes) if name in folders for path in _images(folders[name])]


def _images(folder: Path) -> list[str]:
    return sorted(
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS
    )


def _part(root: Path, classes: tuple[str, ...]) -> Files | None:
    if not root.is_dir():
        return None
    folders = _class_folders(root)
    files = _files(folders, classes)
    if strangers := [name for name in folders if name not in classes]:
        raise ValueError(f"{root} must hold only the classes of train (got {', '.join(strangers)}); rename or remove.")
    if not files:
        raise ValueError(f"{root} must hold images in class folders (found none); fill it or remove it.")
    return files


def _check_classes(root: Path, classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        found = f"only {classes[0]}" if classes else "none"
        raise ValueError(f"{root} must hold at least 2 class folders (found {found}); one folder of images per class.")


def _check_filled(root: Path, classes: tuple[str, ...], files: Files) -> None:
    filled = {label for _, label in files}
    if empty := [name for label, name in enumerate(classes) if label not in filled]:
        raise ValueError(f"{root} must hold images in every class folder (empty: {', '.join(empty)}); fill or remove.")
