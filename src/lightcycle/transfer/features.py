"""What a frozen body gives for every image, computed once and kept in a memory-mapped file with an honest key."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

DTYPES = {"fp16": np.dtype("float16"), "fp32": np.dtype("float32")}
KEEP = 4  # caches with different keys that a folder holds; the one used longest ago goes first
SYNC = 30.0  # seconds of filling that a kill can cost

Images = Callable[[int], Iterable[Tensor]]  # from a batch on: normalized images (batch, channels, height, width)


class FeatureCache:
    """One set of images' features in ``folder``: an ``.npy`` file, and beside it a manifest that is written last.

    The key says all that the features depend on, by name; a file with another key is never used. Nor is one that is
    cut off or damaged: size and checksum stand in the manifest. A fill that was killed goes on where it last synced.

    Args:
        folder: of this set; it keeps the latest few keys.
        key: names to numbers or strings, such as weights, size, samples; ``dtype`` (fp16 or fp32) is one of them.

    >>> import tempfile
    >>> cache = FeatureCache(tempfile.mkdtemp(), {"weights": "ab", "dtype": "fp32"})
    >>> cache.look()
    (None, 'not computed yet')
    >>> cache.fill(nn.Identity(), lambda start: [torch.ones(2, 3), torch.zeros(1, 3)][start:], rows=3).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    >>> FeatureCache(cache.folder, {"weights": "cd", "dtype": "fp32"}).look()
    (None, 'weights changed: ab -> cd')

    Source: fast.ai 0.7's ``precompute=True``, whose key was architecture and size alone.
    """

    def __init__(self, folder: str | os.PathLike, key: Mapping[str, str | int]) -> None:
        self.folder, self.key = Path(folder), dict(key)
        self.dtype = DTYPES[self.key["dtype"]]
        name = hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()[:16]
        self.path = self.folder / f"{name}.npy"
        self.manifest = self.folder / f"{name}.json"
        self._part, self._progress = self.folder / f"{name}.part", self.folder / f"{name}.progress"

    def look(self) -> tuple[Tensor | None, str]:
        """The features ``(rows, ...)``, mapped; or None, and why they have to be computed."""
        noted = _read_json(self.manifest)
        if noted.get("key") != self.key:
            return None, self._why_absent()
        if reason := _damage(self.path, noted):
            return None, f"{self.path} {reason}"
        os.utime(self.manifest)  # used now
        return _mapped(self.path), ""

    def fill(self, body: nn.Module, images: Images, rows: int, tick: Callable[[int], None] = lambda n: None) -> Tensor:
        """Run ``body`` over all images, unless another process has just done so, and return the features.

        Args:
            body: frozen, in eval mode, on the device of the images.
            images: called with the number of a batch, gives the batches from this one on.
            rows: images in all batches together.
            tick: told how many images are done.

        Raises:
            ValueError: if the batches hold another number of images.
            OSError: if the disk is full; what is written stays and the next fill goes on from it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder):
            features, _ = self.look()
            if features is None:
                self._compute(body, images, rows, tick)
                features = _mapped(self.path)
            self._prune()
            return features

    def _compute(self, body: nn.Module, images: Images, rows: int, tick: Callable[[int], None]) -> None:
        done = self._resumable(rows)
        tick(done["rows"])
        with open(self._part, "r+b" if done["rows"] else "w+b") as file:
            file.truncate(done["bytes"])
            file.seek(done["bytes"])
            synced = time.monotonic()
            for features in _outputs(body, images(done["batches"]), self.dtype):
                if not done["rows"]:
                    _append(file, done, _header(self.dtype, (rows, *features.shape[1:])))
                _append(file, done, features.tobytes())
                done["batches"] += 1
                done["rows"] += len(features)
                tick(done["rows"])
                if time.monotonic() - synced > SYNC:
                    _sync(file)
                    write_json(self._progress, done)
                    synced = time.monotonic()
            _sync(file)
        self._finish(done, rows)

    def _resumable(self, rows: int) -> dict[str, int]:
        done = _read_json(self._progress)
        part = self._part.stat().st_size if self._part.exists() else 0
        whole = done.get("of") == rows and part >= done["bytes"]
        return done if whole else {"of": rows, "batches": 0, "rows": 0, "bytes": 0, "crc": 0}

    def _finish(self, done: dict[str, int], rows: int) -> None:
        if done["rows"] != rows:
            raise ValueError(f"the images to cache must be {rows} (got {done['rows']}); do the loaders drop some?")
        os.replace(self._part, self.path)
        write_json(self.manifest, {"key": self.key, "rows": rows, "bytes": done["bytes"], "crc": done["crc"]})
        self._progress.unlink(missing_ok=True)

    def _why_absent(self) -> str:
        keys = [noted["key"] for path in _by_use(self.folder) if (noted := _read_json(path))]
        if not keys:
            return "not computed yet"
        changed = [name for name in {**keys[0], **self.key} if keys[0].get(name) != self.key.get(name)]
        return ", ".join(f"{name} changed: {_short(keys[0].get(name))} -> {_short(self.key.get(name))}" for name in changed)

    def _prune(self) -> None:
        """Drop what is used longest ago, and the beginnings of other fills: nobody is at them under the lock."""
        stale = [path for path in _by_use(self.folder)[KEEP:] if path != self.manifest]
        for path in stale:
            path.unlink(missing_ok=True)  # first: without its manifest a file is nothing
            path.with_suffix(".npy").unlink(missing_ok=True)
        for path in chain(self.folder.glob("*.part"), self.folder.glob("*.progress")):
            path.unlink(missing_ok=True)


def fingerprint(module: nn.Module) -> str:
    """SHA-256 over names, types, shapes and values of all parameters and buffers.

    >>> layer = nn.Linear(2, 1)
    >>> before = fingerprint(layer)
    >>> _ = layer.weight.data.add_(1)
    >>> len(before), fingerprint(layer) == before
    (64, False)
    """
    digest = hashlib.sha256()
    for name, tensor in chain(module.named_parameters(), module.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def write_json(path: Path, data: Mapping) -> None:
    """Write ``data`` to ``path`` atomically: a synced temporary file beside it, then one rename."""
    temp = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with open(temp, "xb") as file:
            file.write(json.dumps(data, indent=2).encode())
            _sync(file)
        os.replace(temp, path)
    finally:
        temp.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; the system lifts the lock of a process that dies."""
    try:
        from fcntl import LOCK_EX, flock
    except ImportError:  # not on Windows: there two fills at once are the user's to avoid
        yield
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        flock(place, LOCK_EX)
        yield
    finally:
        os.close(place)


def _outputs(body: nn.Module, batches: Iterable[Tensor], dtype: np.dtype) -> Iterator[np.ndarray]:
    with torch.inference_mode():
        for images in batches:
            yield np.ascontiguousarray(body(images).float().cpu().numpy().astype(dtype, copy=False))


def _header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    from io import BytesIO

    head = BytesIO()
    fields = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, fields)
    return head.getvalue()


def _append(file: BinaryIO, done: dict[str, int], data: bytes) -> None:
    # written, not mapped: where the disk is full, a write raises and a mapping kills
    file.write(data)
    done["bytes"] += len(data)
    done["crc"] = zlib.crc32(data, done["crc"])


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _mapped(path: Path) -> Tensor:
    return torch.from_numpy(np.lib.format.open_memmap(path, mode="c"))  # "c": torch wants it writable; the file is not


def _damage(path: Path, noted: Mapping[str, int]) -> str:
    size = path.stat().st_size if path.exists() else 0
    if size != noted["bytes"]:
        return f"is cut off: {size:,} of {noted['bytes']:,} bytes"
    return "" if _checksum(path) == noted["crc"] else "is damaged: its checksum has changed"


def _checksum(path: Path) -> int:
    crc = 0
    with open(path, "rb") as file:
        while data := file.read(1 << 22):
            crc = zlib.crc32(data, crc)
    return crc


def _by_use(folder: Path) -> list[Path]:
    """Manifests, the one used last in front."""
    return sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}


def _short(value: object) -> str:
    text = str(value)
    is_hash = len(text) == 64 and all(c in "0123456789abcdef" for c in text)
    return text[:8] if is_hash else text
