"""Reads an ``.npz`` of images: its header in milliseconds, its pixels when they are asked for."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

KEYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class Header:
    """What an ``.npz`` holds: images per part, classes, and the shape of one image."""

    train: int
    test: int
    classes: tuple[str, ...]
    channels: int
    height: int
    width: int


def read_header(path: Path) -> Header:
    """Check an ``.npz`` and read what it holds, without its pixels.

    Raises:
        FileNotFoundError, ValueError: With one sentence that says what is wrong and what is wanted.
    """
    shapes = _shapes(path)
    with np.load(path, allow_pickle=False) as file:
        classes = _classes(path, {key: file[key] for key in file.files if key in ("y_train", "y_test", "classes")})
    train, test = (_image_shape(path, key, shapes[key]) for key in ("x_train", "x_test"))
    _check_sizes(path, shapes, train, test)
    return Header(shapes["x_train"][0][0], shapes["x_test"][0][0], classes, *train)


def read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Read x_train, y_train, x_test, y_test and the classes' names; images come as ``(n, channels, height, width)``."""
    classes = read_header(path).classes
    with np.load(path, allow_pickle=False) as file:
        x_train, y_train, x_test, y_test = (file[key] for key in KEYS)
    return channels_first(x_train), y_train.astype(np.int64), channels_first(x_test), y_test.astype(np.int64), classes


def channels_first(images: np.ndarray) -> np.ndarray:
    """Bring images to ``(n, channels, height, width)``; of two readings, channels last is taken.

    >>> channels_first(np.zeros((5, 28, 28))).shape, channels_first(np.zeros((5, 32, 32, 3))).shape
    ((5, 1, 28, 28), (5, 3, 32, 32))
    """
    if images.ndim == 3:
        return images[:, None]
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if images.shape[-1] in (1, 3) else images


def _shapes(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    if not path.is_file():
        raise FileNotFoundError(f"data.path must be an .npz file (got {path}, which is not there); set data.path.")
    try:
        with zipfile.ZipFile(path) as archive:
            shapes = {Path(name).stem: _npy_header(archive, name) for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError) as error:
        raise ValueError(f"data.path must be an .npz file ({path} is not: {error}); numpy.savez writes one.") from error
    if missing := [key for key in KEYS if key not in shapes]:
        found = ", ".join(shapes) or "nothing"
        raise ValueError(f"{path} must hold {', '.join(KEYS)} (missing {', '.join(missing)}; found {found}).")
    return shapes


def _npy_header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        return shape, dtype


def _image_shape(path: Path, key: str, stored: tuple[tuple[int, ...], np.dtype]) -> tuple[int, int, int]:
    shape, dtype = stored
    if dtype != np.uint8:
        raise ValueError(f"{key} in {path} must be uint8, 0 to 255 (got {dtype}); (255 * x).astype('uint8') makes it.")
    if len(shape) == 3:
        return 1, shape[1], shape[2]
    if len(shape) == 4 and shape[-1] in (1, 3):
        return shape[3], shape[1], shape[2]
    if len(shape) == 4 and shape[1] in (1, 3):
        return shape[1], shape[2], shape[3]
    raise ValueError(f"{key} in {path} must have 1 or 3 channels (got shape {shape}); (n, height, width, 3) works.")


def _check_sizes(path: Path, shapes: dict, train: tuple[int, int, int], test: tuple[int, int, int]) -> None:
    if train != test:
        raise ValueError(
            f"x_train and x_test in {path} must be of one shape (got (channels, height, width) {train} and {test}); "
            "resize one of them."
        )
    for part in ("train", "test"):
        images, labels = shapes[f"x_{part}"][0][0], shapes[f"y_{part}"][0]
        if labels != (images,):
            raise ValueError(f"y_{part} in {path} must have one label per image, ({images},) (got shape {labels}).")


def _classes(path: Path, labels: dict[str, np.ndarray]) -> tuple[str, ...]:
    for key in ("y_train", "y_test"):
        if labels[key].dtype.kind not in "iu" or (labels[key].size and labels[key].min() < 0):
            raise ValueError(f"{key} in {path} must be whole numbers from 0 (got {labels[key].dtype}); one per class.")
    most = 1 + max(int(labels[key].max(initial=0)) for key in ("y_train", "y_test"))
    names = tuple(str(name) for name in labels.get("classes", range(most)))
    if len(names) < most:
        raise ValueError(f"classes in {path} must name every label (got {len(names)} names, labels up to {most - 1}).")
    return names
