"""The measurements of loggers, processes and launchers run and say what they promise."""

import json
import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"


def quick(name, out):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(BENCH / f"{name}.py"), "--quick", "--threads", "1", "--out", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    return json.loads((out / f"{name}-quick.json").read_text())["summary"], (out / f"{name}-quick.md").read_text()


@pytest.mark.slow
def test_loggers(tmp_path):
    found, table = quick("loggers", tmp_path)
    assert {name for name, each in found.items() if isinstance(each, dict) and each["n"] == 2} == {
        f"{arm}, {clock}" for arm in ("csv", "csv and W&B") for clock in ("wall", "processor")
    }
    assert found["step_ms"] >= 0.5
    assert found["once"] > 0
    assert "| more time: csv and W&B, wall |" in table


@pytest.mark.slow
def test_ddp(tmp_path):
    found, table = quick("ddp", tmp_path)
    assert {name: each["n"] for name, each in found.items()} == {
        "1 process, 2 threads": 2,
        "2 processes, 1 thread": 2,
        "2 processes / 1 process": 2,
    }
    assert all(each["mean"] > 0 for each in found.values())
    assert "| 2 processes / 1 process |" in table


@pytest.mark.slow
def test_sweep_joblib(tmp_path):
    if not any(each.name == "hydra-joblib-launcher" for each in distributions()):
        pytest.skip('needs the extra: pip install -e ".[joblib]"')
    found, table = quick("sweep_joblib", tmp_path)
    assert found["ratio"] == pytest.approx(found["joblib"] / found["one after the other"])
    assert "| ratio |" in table
