"""Small image folders and arrays, written where a test may write."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def save_image(path: Path, seed: int = 0, size: tuple[int, int] = (40, 30)) -> Path:
    """Write a color image of smooth noise, ``size`` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def image() -> Callable[..., Path]:
    return save_image


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of images: ``folder({"train/cat": 5, "val/cat": 2})``."""

    def make(contents: dict[str, int], suffix: str = ".jpg") -> Path:
        root = tmp_path / "images"
        for where, n in contents.items():
            (root / where).mkdir(parents=True, exist_ok=True)
            for i in range(n):
                save_image(root / where / f"{i}{suffix}", seed=hash_of(where) + i)
        return root

    return make


def hash_of(text: str) -> int:
    return sum(text.encode())


@pytest.fixture
def npz(tmp_path: Path) -> Callable[..., Path]:
    """Write an ``.npz`` of images; keyword arguments replace its arrays, None removes one."""

    def make(**replaced: np.ndarray | None) -> Path:
        draw = np.random.default_rng(0)
        arrays = {
            "x_train": draw.integers(0, 256, (30, 6, 5, 3), dtype=np.uint8),
            "y_train": np.arange(30) % 3,
            "x_test": draw.integers(0, 256, (9, 6, 5, 3), dtype=np.uint8),
            "y_test": np.arange(9) % 3,
            **replaced,
        }
        path = tmp_path / "set.npz"
        np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
        return path

    return make
