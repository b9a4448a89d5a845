"""The measurement of progressive resizing runs on any photos and says what it promises."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench" / "resizing.py"


@pytest.mark.slow
def test_it_runs_and_says_its_figures(tmp_path):
    draw = np.random.default_rng(0)
    for folder in ("train/cats", "train/dogs", "val/cats", "val/dogs"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for i in range(10):
            pixels = draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / folder / f"{i}.jpg")
    options = ["--quick", "--threads", "1", "--photos", tmp_path / "photos", "--out", tmp_path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for said in ("progressive, seed 1: ", "progressive, seed 1: done before"):
        done = subprocess.run(
            [sys.executable, SCRIPT, *options], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
    found = json.loads((tmp_path / "resizing-quick.json").read_text())
    assert set(found["pieces"]) == {f"{arm}, seed {s}" for arm in ("fixed", "progressive", "longer") for s in (0, 1)}
    assert found["summary"]["progressive - fixed"]["accuracy"]["n"] == 2
    assert found["summary"]["progressive - fixed"]["share of cpu"]["mean"] > 0
    assert "| progressive - fixed |" in (tmp_path / "resizing-quick.md").read_text()
