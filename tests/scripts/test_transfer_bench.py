"""The measurement of fine-tuning runs on any photos, goes on where it stopped and takes its differences in pairs."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"


@pytest.fixture
def photos(tmp_path):
    draw = np.random.default_rng(0)
    for folder in ("train/cats", "train/dogs", "val/cats", "val/dogs"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for i in range(12):
            pixels = draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / folder / f"{i}.jpg")
    return tmp_path / "photos"


@pytest.fixture
def bench(photos, tmp_path):
    def run(*more):
        options = ["--quick", "--threads", "1", "--workers", "0", "--photos", photos, "--out", tmp_path, *more]
        return subprocess.run(
            [sys.executable, BENCH / "transfer.py", *options],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def transfer(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    yield importlib.import_module("transfer")
    for name in ("transfer", "features", "common"):
        sys.modules.pop(name, None)


@pytest.mark.slow
@pytest.mark.timeout(900)  # thirteen fits of a mobilenet
def test_every_arm_runs_and_a_stopped_measurement_goes_on(bench, tmp_path):
    first = bench()
    assert first.returncode == 0, first.stderr
    path = tmp_path / "transfer-quick.json"
    whole = json.loads(path.read_text())
    arms = ["head", "cached", "whole", "rates", "unfreezing", "all"]
    assert list(whole["pieces"]) == [f"{arm}, seed {seed}" for seed in (0, 1) for arm in arms]
    assert "| gain: unfreezing alone |" in path.with_suffix(".md").read_text()

    kept = dict(list(whole["pieces"].items())[:-1])
    path.write_text(json.dumps({**whole, "pieces": kept}))  # as if it had been stopped in its last piece
    second = bench()
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("done before") == len(kept) == 11
    again = json.loads(path.read_text())
    assert {name: again["pieces"][name] for name in kept} == kept
    assert again["summary"]["all"]["n"] == 2


@pytest.mark.slow
def test_exploring_never_opens_the_photos_that_count(bench, photos, tmp_path):
    for path in (photos / "val").rglob("*.jpg"):
        path.write_bytes(b"not a photo")
    done = bench("--explore", "--arms", "whole", "whole, constant", "--seeds", "0")
    assert done.returncode == 0, done.stderr
    assert "| gain: schedule, at one rate |" in (tmp_path / "transfer-explore-quick.md").read_text()


def test_differences_are_paired_by_seed(transfer):
    runs = {"whole": [0.5, 0.9], "rates": [0.6, 1.0], "unfreezing": [0.5, 0.8]}
    pieces = {arm: [{"accuracy": a, "seconds": 10.0} for a in values] for arm, values in runs.items()}
    found, header, rows = transfer.summarize(pieces)
    assert found["gain: rates"] == pytest.approx({"mean": 0.1, "sd": 0.0, "n": 2})
    assert found["gain: unfreezing alone"]["mean"] == pytest.approx(-0.05)
    assert "gain: all of it" not in found
    assert len(header) == len(rows[0])
    assert [row[0] for row in rows if row[-1]] == ["rates"]  # the goal stands beside the best arm


def test_the_body_learns_in_some_arms_only(transfer):
    frozen = {name for name, arm in transfer.ARMS.items() if arm.body != "trains"}
    assert frozen == {"head", "cached"}
    assert all({more, less} <= transfer.ARMS.keys() for more, less in transfer.DIFFERENCES.values())
