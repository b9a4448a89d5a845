"""A cache is used for what it was computed from, and for nothing else."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lightcycle.transfer import features, npy
from lightcycle.transfer.features import KEEP, FeatureCache, fingerprint

KEY = {
    "weights": "a" * 64,
    "cut": "Net, inputs of fc",
    "transform": "minus (0.5), over (0.5)",
    "size": "8 x 8",
    "samples": "b" * 64,
    "dtype": "fp32",
    "batch_norm": "eval",
    "copies": 1,
}
CHANGES = {
    "weights": ("c" * 64, "weights changed: aaaaaaaa -> cccccccc"),
    "cut": ("Net, inputs of head", "cut changed: Net, inputs of fc -> Net, inputs of head"),
    "transform": ("minus (0), over (1)", "transform changed: minus (0.5), over (0.5) -> minus (0), over (1)"),
    "size": ("8 x 9", "size changed: 8 x 8 -> 8 x 9"),
    "samples": ("d" * 64, "samples changed: bbbbbbbb -> dddddddd"),
    "dtype": ("fp16", "dtype changed: fp32 -> fp16"),
    "batch_norm": ("train", "batch_norm changed: eval -> train"),
    "copies": ("2 (flip True, seed 0)", "copies changed: 1 -> 2 (flip True, seed 0)"),
}
IMAGES = torch.randn(10, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Body(nn.Module):
    """Counts the images that it has been shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert torch.is_inference_mode_enabled()
        self.seen += len(images)
        return images.flatten(1)[:, :6]


def batches(start: int):
    yield from IMAGES[start:].split(4)


def fill(folder: Path, **changes) -> tuple[torch.Tensor, int]:
    body = Body()
    return FeatureCache(folder, KEY | changes).fill(body, batches, len(IMAGES)), body.seen


def test_computed_once_and_found_again(tmp_path):
    told = []
    cache = FeatureCache(tmp_path / "new" / "train", KEY)
    assert cache.look() == (None, "not computed before")
    first = cache.fill(Body(), batches, 10, told.append)
    assert told == [0, 4, 8, 10]
    assert torch.equal(first, IMAGES.flatten(1)[:, :6])
    found, reason = FeatureCache(tmp_path / "new" / "train", dict(reversed(KEY.items()))).look()
    assert reason == ""
    assert torch.equal(found, first)
    assert fill(tmp_path / "new" / "train")[1] == 0  # as where another process was faster
    assert torch.equal(torch.from_numpy(np.load(cache.path, allow_pickle=False)), first)


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_key_is_named_and_computes_anew(name, tmp_path):
    value, said = CHANGES[name]
    fill(tmp_path)
    assert FeatureCache(tmp_path, KEY | {name: value}).look() == (None, said)
    assert fill(tmp_path, **{name: value})[1] == 10
    assert FeatureCache(tmp_path, KEY).look()[1] == ""  # the old one is kept


def test_every_change_is_named(tmp_path):
    fill(tmp_path)
    said = FeatureCache(tmp_path, KEY | {"size": "4 x 4", "weights": "c" * 64}).look()[1]
    assert said == "weights changed: aaaaaaaa -> cccccccc, size changed: 8 x 8 -> 4 x 4"


def test_the_change_is_to_the_key_used_last(tmp_path):
    fill(tmp_path, size="1 x 1")
    fill(tmp_path, size="2 x 2")
    assert FeatureCache(tmp_path, KEY | {"size": "1 x 1"}).look()[1] == ""
    assert FeatureCache(tmp_path, KEY).look()[1] == "size changed: 1 x 1 -> 8 x 8"


def test_half_precision_rounds_and_halves(tmp_path):
    whole, _ = fill(tmp_path)
    half, _ = fill(tmp_path, dtype="fp16")
    assert half.dtype == torch.float16
    assert torch.equal(half, whole.half())


def test_what_does_not_fit_half_precision_is_refused(tmp_path):
    text = "features that are infinite or not numbers in fp16; set features_dtype=fp32"
    with pytest.raises(ValueError, match=text):
        FeatureCache(tmp_path, KEY | {"dtype": "fp16"}).fill(nn.Identity(), lambda start: [torch.full((2, 1), 1e5)], 2)
    with pytest.raises(ValueError, match="not numbers in fp32; look at the weights"):
        FeatureCache(tmp_path, KEY).fill(nn.Identity(), lambda start: [torch.full((2, 1), torch.nan)], 2)


@pytest.mark.parametrize("harm", ["cut", "cut to nothing", "changed", "gone", "manifest cut", "manifest gone"])
def test_a_damaged_cache_is_not_used(harm, tmp_path):
    cache, whole = FeatureCache(tmp_path, KEY), fill(tmp_path)[0].clone()
    data, manifest = cache.path.read_bytes(), cache.manifest.read_bytes()
    expected = {
        "cut": f"{cache.path} is cut off ({len(data) - 1} of {len(data)} bytes)",
        "cut to nothing": f"{cache.path} is cut off (0 of {len(data)} bytes)",
        "changed": f"{cache.path} is damaged (its checksum has changed)",
        "gone": f"{cache.path} is cut off (0 of {len(data)} bytes)",
        "manifest cut": "not computed before",
        "manifest gone": "not computed before",
    }
    match harm:
        case "cut":
            cache.path.write_bytes(data[:-1])
        case "cut to nothing":
            cache.path.write_bytes(b"")
        case "changed":
            cache.path.write_bytes(data[:-9] + b"x" + data[-8:])
        case "gone":
            cache.path.unlink()
        case "manifest cut":
            cache.manifest.write_bytes(manifest[:-5])
        case "manifest gone":
            cache.manifest.unlink()
    assert cache.look() == (None, expected[harm])
    again, seen = fill(tmp_path)
    assert seen == 10
    assert torch.equal(again, whole)


def test_too_few_images_leave_no_cache(tmp_path):
    with pytest.raises(ValueError, match=r"there must be features of 11 images \(got 10\)"):
        FeatureCache(tmp_path, KEY).fill(Body(), batches, 11)
    assert FeatureCache(tmp_path, KEY).look()[0] is None


def test_only_the_latest_keys_are_kept(tmp_path):
    for size in range(KEEP + 2):
        fill(tmp_path, size=size)
    kept = [size for size in range(KEEP + 2) if FeatureCache(tmp_path, KEY | {"size": size}).look()[0] is not None]
    assert kept == [2, 3, 4, 5]
    assert len(list(tmp_path.glob("*.npy"))) == KEEP


def test_an_interrupted_fill_is_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(npy, "SYNC", 0)

    def breaks(start):
        yield from IMAGES[start:8].split(4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FeatureCache(tmp_path, KEY).fill(Body(), breaks, 10)
    assert FeatureCache(tmp_path, KEY).look()[0] is None
    rest, seen = fill(tmp_path)
    assert seen == 2
    assert torch.equal(rest, IMAGES.flatten(1)[:, :6])
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npy"]


KILLED = """
import os, signal, sys, torch
from lightcycle.transfer import features, npy
npy.SYNC = 0
def images(start):
    for row in range(start, 10, 2):
        if row == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        yield torch.full((2, 3), float(row))
features.FeatureCache(sys.argv[1], {"weights": "a", "dtype": "fp32"}).fill(torch.nn.Identity(), images, 10)
"""


def test_kill_9_leaves_nothing_that_looks_whole(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.glob("*.npy")) == list(tmp_path.glob("*.json")) == []
    assert [json.loads(path.read_text())["rows"] for path in tmp_path.glob("*.progress")] == [6]
    cache, started = FeatureCache(tmp_path, {"weights": "a", "dtype": "fp32"}), []
    assert cache.look() == (None, "not computed before")

    def images(start):
        started.append(start)
        yield from (torch.full((2, 3), float(row)) for row in range(start, 10, 2))

    whole = cache.fill(nn.Identity(), images, 10)  # the lock of the dead process is lifted too
    assert started == [6]
    assert whole[:, 0].tolist() == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8]
    assert cache.look()[1] == ""


def test_two_processes_compute_once(tmp_path):
    script = f"""
import time, torch
from lightcycle.transfer.features import FeatureCache
seen = []
class Slow(torch.nn.Module):
    def forward(self, x):
        time.sleep(0.3); seen.append(len(x)); return x
cache = FeatureCache({str(tmp_path)!r}, {{"weights": "a", "dtype": "fp32"}})
cache.fill(Slow(), lambda start: torch.ones(6, 2)[start:].split(2), 6)
print(sum(seen))
"""
    both = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate(timeout=120)[0].strip() for process in both) == ["0", "6"]


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net[0].weight.data.view(-1)[-1].add_(1e-7),
        lambda net: net[1].running_var.mul_(1.5),
        lambda net: net.half(),
        lambda net: net.add_module("2", nn.Linear(1, 1)),
        lambda net: setattr(net[1], "never_saved", net[1].register_buffer("x", torch.ones(1), persistent=False)),
    ],
    ids=["a weight", "a buffer", "the dtype", "a layer", "a buffer that is not saved"],
)
def test_a_fingerprint_sees_every_number(change):
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    nn.init.zeros_(net[0].weight)
    before = fingerprint(net)
    assert fingerprint(net) == before
    change(net)
    assert fingerprint(net) != before


def test_a_fingerprint_is_that_of_hashlib():
    import hashlib

    net = nn.Linear(2, 1)
    expected = hashlib.sha256()
    expected.update(b"weight torch.float32 (1, 2)" + net.weight.detach().numpy().tobytes())
    expected.update(b"bias torch.float32 (1,)" + net.bias.detach().numpy().tobytes())
    assert features.fingerprint(net) == expected.hexdigest()
