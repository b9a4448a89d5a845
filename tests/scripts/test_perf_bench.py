"""The measurement of memory order and precision runs and says what it promises."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench" / "perf.py"


@pytest.mark.slow
def test_it_runs_and_says_its_figures(tmp_path):
    options = ["--quick", "--threads", "1", "--out", tmp_path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, SCRIPT, *options], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "perf-quick.json").read_text())
    ratios = found["summary"]["digits, resnet"]
    assert ratios["as torch has it"] == 1
    assert ratios.keys() == {
        "as torch has it",
        "channels_last",
        "bf16",
        "channels_last, bf16",
        "channels_last, bf16, depthwise",
        "channels_last, bf16, depthwise, kept memory",
    }
    assert "| digits, resnet | channels_last |" in (tmp_path / "perf-quick.md").read_text()
