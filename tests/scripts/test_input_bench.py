"""The measurement of the input runs on any photos and says what it promises."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench" / "input.py"


@pytest.mark.slow
def test_it_runs_and_says_its_figures(tmp_path):
    draw = np.random.default_rng(0)
    for folder in (
        f"{name}/{part}/{label}"
        for name in ("imagenette", "dogs-vs-cats")
        for part in ("train", "val")
        for label in ("a", "b")
    ):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(32):
            pixels = draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{i}.jpg")
    options = ["--quick", "--threads", "1", "--data", tmp_path, "--out", tmp_path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, SCRIPT, *options], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "input-quick.json").read_text())["summary"]
    files = {f"files {name} {size}" for name in ("imagenette", "dogs-vs-cats") for size in (16, 32)}
    arrays = {f"{kind} {name}" for kind in ("memory", "core,") for name in ("fashion_mnist", "cifar10")}
    assert found.keys() == {*arrays, *files, "waiting, files", "waiting, memory"}
    assert found["memory cifar10"]["ratio"]["n"] == 2
    assert found["memory cifar10"]["ratio"]["mean"] > 1
    assert 0 < found["waiting, files"]["mean"] < 1
    assert "| memory cifar10 |" in (tmp_path / "input-quick.md").read_text()
