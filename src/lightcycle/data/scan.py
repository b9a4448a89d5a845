"""Decides which files of an image folder belong to which part, and finds the unreadable ones before training."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from lightcycle.data.config import ImageFolderConfig
from lightcycle.data.count import take
from lightcycle.data.folder import read_box
from lightcycle.data.listing import Files, Listing, list_images
from lightcycle.data.split import limit, split


def find_files(config: ImageFolderConfig) -> tuple[dict[str, Files], list[str]]:
    """List, check and split an image folder.

    Returns:
        Files and labels of train, val and test (empty where there is none), and the files left out as unreadable.

    Raises:
        ValueError: Naming every unreadable file, unless ``on_bad`` is skip; or a class left without training images.
    """
    listing = list_images(config.root)
    bad = _bad(listing, config) if config.check else {}
    listing = _without(listing, bad)
    parts = divide(listing, config)
    _check_left(parts, listing.classes, config)
    labels = np.array([label for _, label in parts["train"]])
    parts["train"] = [parts["train"][i] for i in limit(labels, config.limit)]
    return parts, list(bad)


def divide(listing: Listing, config: ImageFolderConfig) -> dict[str, Files]:
    """Split off what the layout lacks: test and validation from one folder, validation from train/ alone."""
    train, val, test = listing.train, listing.val, listing.test
    if listing.flat:
        train, test = _split(train, "test", config.test_size, config.split_seed)
    if val is None:
        train, val = _split(train, "val", config.val_size, config.split_seed)
    return {"train": train, "val": val, "test": test or []}


def unreadable(paths: list[str]) -> dict[str, str]:
    """Decode every file once, in threads, and say which cannot be decoded and why.

    JPEGs are decoded at an eighth of their size: their whole stream is read, at a fraction of the work.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reasons = pool.map(_reason, paths)
        return {path: reason for path, reason in zip(paths, reasons, strict=True) if reason}


def _reason(path: str) -> str | None:
    try:
        if os.path.getsize(path) == 0:
            return "empty file"
        read_box(path, lambda width, height: (0, 0, width, height), (1, 1))  # as it will be read, only smaller
    except Exception as error:  # decoders raise what they like: OSError, SyntaxError, struct.error, ...
        return str(error).replace(path, "file") or type(error).__name__
    return None


def _bad(listing: Listing, config: ImageFolderConfig) -> dict[str, str]:
    bad = unreadable([path for part in (listing.train, listing.val, listing.test) for path, _ in part or []])
    if bad and config.on_bad == "error":
        lines = "".join(f"\n  {path}: {reason}" for path, reason in bad.items())
        raise ValueError(
            f"{len(bad)} image(s) under {config.root} cannot be read; repair or remove them, "
            f"or leave them out with data.on_bad=skip:{lines}"
        )
    if bad:
        rank_zero_warn(f"{len(bad)} unreadable image(s) under {config.root} left out (data.on_bad=skip).")
    return bad


def _without(listing: Listing, bad: dict[str, str]) -> Listing:
    def keep(files: Files | None) -> Files | None:
        return files and [(path, label) for path, label in files if path not in bad]

    return replace(listing, train=keep(listing.train), val=keep(listing.val), test=keep(listing.test))


def _check_left(parts: dict[str, Files], classes: tuple[str, ...], config: ImageFolderConfig) -> None:
    """Refuses a class that nothing can be learned about, and a validation without images."""
    there = {label for _, label in parts["train"]}
    numbers = ", ".join(f"{len(files)} {part}" for part, files in parts.items())
    if absent := [name for label, name in enumerate(classes) if label not in there]:
        raise ValueError(
            f"{config.root} leaves no training image of {', '.join(absent)} ({numbers} images); add images, or take "
            "fewer away with data.val_size and data.test_size."
        )
    if not parts["val"]:
        raise ValueError(f"{config.root} leaves no validation image ({numbers} images); add some, or remove its val/.")


def _split(files: Files, part: str, size: float, seed: int) -> tuple[Files, Files]:
    labels = np.array([label for _, label in files])
    rest, taken = split(labels, take(f"{part}_size", size, len(files)), seed, part)
    return [files[i] for i in rest], [files[i] for i in taken]
