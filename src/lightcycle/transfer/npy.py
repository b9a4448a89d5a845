"""Arrays on disk that are whole or absent: written a few rows at a time, read as mapped tensors."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightcycle.files import whole

SYNC = 30.0  # seconds of work that a kill can cost


class GrowingArray:
    """An ``.npy`` file of known length that grows at ``path`` and gets its real name when it is whole.

    After a kill the next one at the same path goes on behind the last rows that are surely on disk.

    Args:
        path: of the file while it grows; beside it stands ``.progress``.
        length: rows that it will have.
        dtype: of its numbers.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with GrowingArray(folder / "x.part", 3, np.dtype("float32")) as array:
    ...     array.append(np.ones((2, 1)))
    ...     array.append(np.zeros((1, 1)))
    ...     seal = array.close_as(folder / "x.npy")
    >>> read(folder / "x.npy").tolist(), damage(folder / "x.npy", seal)
    ([[1.0], [1.0], [0.0]], '')
    """

    def __init__(self, path: Path, length: int, dtype: np.dtype) -> None:
        self.path, self.length, self.dtype = path, length, dtype
        self._progress = path.with_suffix(".progress")
        self._done = self._resumable()
        self._file = open(path, "r+b" if self.rows else "w+b")  # noqa: SIM115 (closed by __exit__)
        self._file.truncate(self._done["bytes"])
        self._file.seek(self._done["bytes"])
        self._synced = time.monotonic()

    def __enter__(self) -> GrowingArray:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def rows(self) -> int:
        """How many are written."""
        return self._done["rows"]

    def append(self, rows: np.ndarray) -> None:
        """Write ``rows`` ``(n, ...)`` behind those that are there."""
        if not self.rows:
            self._write(_header(self.dtype, (self.length, *rows.shape[1:])))
        self._write(rows.astype(self.dtype, copy=False).tobytes())
        self._done["rows"] += len(rows)
        if time.monotonic() - self._synced >= SYNC:
            self._sync()
            write_json(self._progress, self._done)

    def close_as(self, path: Path) -> dict[str, int]:
        """Give the file its name; returns its size and checksum, which tell later whether it is whole.

        Raises:
            ValueError: if rows are missing, or there are too many.
        """
        self._progress.unlink(missing_ok=True)
        if self.rows != self.length:
            raise ValueError(f"there must be features of {self.length:,} images (got {self.rows:,}); check the loader")
        self._sync()
        self._file.close()
        os.replace(self.path, path)
        return {"bytes": self._done["bytes"], "crc": self._done["crc"]}

    def _resumable(self) -> dict[str, int]:
        done = read_json(self._progress)
        there = self.path.stat().st_size if self.path.exists() else 0
        whole = done.get("length") == self.length and there >= done["bytes"]
        return done if whole else {"length": self.length, "rows": 0, "bytes": 0, "crc": 0}

    def _write(self, data: bytes) -> None:
        # not through a mapping: where the disk is full, writing raises and a mapping kills
        self._file.write(data)
        self._done["bytes"] += len(data)
        self._done["crc"] = zlib.crc32(data, self._done["crc"])

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


def read(path: Path) -> Tensor:
    """The array as a tensor that is mapped, not loaded: its pages come from disk as they are asked for."""
    # "c": torch wants memory that could be written to; the file is never changed
    return torch.from_numpy(np.lib.format.open_memmap(path, mode="c"))


def damage(path: Path, seal: Mapping[str, int]) -> str:
    """What is wrong with a file that had this size and checksum; nothing is the empty string."""
    size = path.stat().st_size if path.exists() else 0
    if size != seal["bytes"]:
        return f"is cut off ({size:,} of {seal['bytes']:,} bytes)"
    return "" if _checksum(path) == seal["crc"] else "is damaged (its checksum has changed)"


def read_json(path: Path) -> dict:
    """What is in a JSON file; an empty dict where there is none, or not a whole one."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}


def write_json(path: Path, data: Mapping) -> None:
    """Write ``data`` atomically: a synced temporary file beside ``path``, then one rename."""
    with whole(path) as beside:
        beside.write_bytes(json.dumps(data, indent=2).encode())


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time into a folder; the system lifts the lock of one that dies."""
    try:
        from fcntl import LOCK_EX, flock
    except ImportError:  # Windows: two fills at once are for the user to avoid
        yield
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        flock(place, LOCK_EX)
        yield
    finally:
        os.close(place)


def _header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    head = BytesIO()
    fields = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, fields)
    return head.getvalue()


def _checksum(path: Path) -> int:
    crc = 0
    with open(path, "rb") as file:
        while data := file.read(1 << 22):
            crc = zlib.crc32(data, crc)
    return crc
