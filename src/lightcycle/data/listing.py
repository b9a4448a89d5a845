"""Which image files a folder holds, and in which layout; names only, nothing is opened."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
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

    Classes are the folders' names, sorted; hidden files and folders, and files that are not images, are passed
    over. Folders below a class's are its own; links are followed, unless they lead back.

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


def _class_folders(root: Path) -> dict[str, list[str]]:
    """The folders of each class, sorted by its name."""
    found: dict[str, list[str]] = {}
    for entry in _entries(str(root)):
        if _is_folder(entry):
            found.setdefault(_name(entry.name), []).append(entry.path)
    return dict(sorted(found.items()))


def _name(folder: str) -> str:
    # NFC: some file systems store accents decomposed, and "é" in train must be "é" in val; bytes that are no UTF-8
    # could be neither printed nor written
    return unicodedata.normalize("NFC", os.fsencode(folder).decode("utf-8", "backslashreplace"))


def _files(folders: dict[str, list[str]], classes: tuple[str, ...]) -> Files:
    return [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted(path for folder in folders.get(name, ()) for path in _images(folder, (), set()))
    ]


def _images(folder: str, above: tuple[str, ...], seen: set[str]) -> Iterator[str]:
    """The images in a folder and below it; a link is followed once, and never back to a folder it is in."""
    here = os.path.realpath(folder)
    if here in seen or any(_is_in(one, here) for one in above):
        return
    seen.add(here)
    for entry in _entries(folder):
        if _is_folder(entry):
            yield from _images(entry.path, (*above, here), seen)
        elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
            yield entry.path


def _entries(folder: str) -> list[os.DirEntry]:
    """What is in a folder, sorted, hidden things left out."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise ValueError(f"{folder} cannot be listed ({error.strerror}); make it readable, or remove it") from error


def _is_folder(entry: os.DirEntry) -> bool:
    # of a link that leads nowhere or to itself, isdir says no where the entry may raise
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


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
