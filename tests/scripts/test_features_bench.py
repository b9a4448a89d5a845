"""The measurement of cached features runs on any photos and says what it promises."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench" / "features.py"


@pytest.mark.slow
def test_it_runs_and_says_its_figures(tmp_path):
    draw = np.random.default_rng(0)
    for folder in ("train/cats", "train/dogs", "val/cats", "val/dogs"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for i in range(12):
            pixels = draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / folder / f"{i}.jpg")
    options = ["--quick", "--threads", "1", "--workers", "0", "--photos", tmp_path / "photos", "--out", tmp_path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, SCRIPT, *options], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "features-quick.json").read_text())
    ratios = {"epoch: live / cached", "filling / forward pass", "step: head alone / whole net"}
    assert ratios <= found["summary"].keys()
    assert [len(found["pieces"][name]) for name in ("cached", "live")] == [2, 1]
    assert found["summary"]["step: head alone / whole net"] < 1
    assert "| epoch: live / cached |" in (tmp_path / "features-quick.md").read_text()
