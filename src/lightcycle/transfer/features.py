"""What a frozen body gives for every image, computed once and kept in a file with an honest key."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lightcycle.transfer.npy import GrowingArray, damage, locked, read, read_json, write_json

DTYPES = {"fp16": np.dtype("float16"), "fp32": np.dtype("float32")}
KEEP = 4  # keys of which a folder keeps the features; those used longest ago go first

Images = Callable[[int], Iterable[Tensor]]
Tick = Callable[[int], object]


class FeatureCache:
    """The features of one set of images: an ``.npy`` in ``folder``, and a manifest beside it that is written last.

    The key says, by name, all that the features depend on; a file with another key is not used. Nor is one that is cut
    off or damaged, since its size and checksum are in the manifest. A fill that was killed is gone on with.

    Args:
        folder: of this set.
        key: names to numbers or strings, such as weights, size and samples; ``dtype`` is among them, fp16 or fp32.

    >>> import tempfile
    >>> cache = FeatureCache(tempfile.mkdtemp(), {"weights": "ab", "dtype": "fp32"})
    >>> cache.look()
    (None, 'not computed before')
    >>> cache.fill(nn.Identity(), lambda start: [torch.ones(3, 2)[start:]], rows=3).tolist()
    [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    >>> FeatureCache(cache.folder, {"weights": "cd", "dtype": "fp32"}).look()
    (None, 'weights changed: ab -> cd')

    Source: fast.ai 0.7's ``precompute=True``, whose key was the architecture and the size.
    """

    def __init__(self, folder: str | os.PathLike, key: Mapping[str, str | int]) -> None:
        self.folder, self.key = Path(folder), dict(key)
        name = hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()[:16]
        self.path = self.folder / f"{name}.npy"
        self.manifest = self.path.with_suffix(".json")

    def look(self) -> tuple[Tensor | None, str]:
        """The features ``(rows, ...)``, mapped; or None, and why they have to be computed."""
        noted = read_json(self.manifest)
        if noted.get("key") != self.key:
            return None, self._changes()
        if flaw := damage(self.path, noted):
            return None, f"{self.path} {flaw}"
        os.utime(self.manifest)  # used now
        return read(self.path), ""

    def fill(self, body: nn.Module, images: Images, rows: int, tick: Tick = lambda n: None) -> Tensor:
        """Run ``body`` over all images, unless another process does it in the meantime, and return the features.

        Args:
            body: frozen, in eval mode, where the images are.
            images: asked for batches ``(batch, channels, height, width)``, normalized, from image number ``start`` on.
            rows: images in all.
            tick: told how many of them are done.

        Raises:
            ValueError: if the body gives numbers that are infinite in the key's dtype, or the images are not so many.
            OSError: if the disk is full; the next fill goes on from what is written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder):
            if self.look()[0] is None:
                self._compute(body, images, rows, tick)
            self._prune()
            return read(self.path)

    @torch.inference_mode()
    def _compute(self, body: nn.Module, images: Images, rows: int, tick: Tick) -> None:
        dtype = self.key["dtype"]
        with GrowingArray(self.path.with_suffix(".part"), rows, DTYPES[dtype]) as array:
            tick(array.rows)
            for batch in images(array.rows):
                array.append(_in(dtype, body(batch)))
                tick(array.rows)
            seal = array.close_as(self.path)
        write_json(self.manifest, {"key": self.key, **seal})

    def _changes(self) -> str:
        """How the key differs from the one used last."""
        before = next((noted["key"] for path in self._manifests() if (noted := read_json(path))), None)
        if before is None:
            return "not computed before"
        pairs = {name: (before.get(name), self.key.get(name)) for name in {**before, **self.key}}
        return ", ".join(f"{name} changed: {_short(a)} -> {_short(b)}" for name, (a, b) in pairs.items() if a != b)

    def _prune(self) -> None:
        """Drop what was used longest ago, and what a killed fill left: under the lock nobody works on it."""
        for manifest in self._manifests()[KEEP:]:
            manifest.unlink()  # first: features without a manifest are nothing
            manifest.with_suffix(".npy").unlink(missing_ok=True)
        for left in chain(self.folder.glob("*.part"), self.folder.glob("*.progress")):
            left.unlink()

    def _manifests(self) -> list[Path]:
        """Those in the folder, the one used last in front."""
        return sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)


def fingerprint(module: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and values of all parameters and buffers.

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


def _in(dtype: str, features: Tensor) -> np.ndarray:
    features = features.to(torch.float16 if dtype == "fp16" else torch.float32).cpu()
    if not features.isfinite().all():
        fix = "set features_dtype=fp32" if dtype == "fp16" else "look at the weights"
        raise ValueError(f"the body gives features that are infinite or not numbers in {dtype}; {fix}")
    return features.numpy()


def _short(value: object) -> str:
    text = str(value)
    is_hash = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:8] if is_hash else text
