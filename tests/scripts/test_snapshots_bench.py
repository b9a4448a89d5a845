"""The measurements of snapshots run, and go on where they stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"
FIGURES = {
    "snapshots": {
        *(f"digits, {arm}, last {m}, error %" for arm in ("snapshots", "fresh") for m in (1, 2)),
        *(f"digits, {arm}, {key}" for arm in ("snapshots", "fresh") for key in ("ensemble, error %", "chosen")),
        "digits, cosine, single, error %",
        "digits, cosine, EMA, error %",
        "digits, snapshots, mean of weights, error %",
        "digits, gain of the ensemble over one cosine, points",
    },
    "snapshots_cost": {
        "step, us",
        "stall / one copy",
        "ensemble on the device / M passes",
        "ensemble in host memory / M passes",
        "vmap / M passes",
    },
}
PIECES = {"snapshots": 3, "snapshots_cost": 2}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FIGURES))
def test_runs_and_resumes(name, tmp_path):
    def bench():
        return subprocess.run(
            [sys.executable, BENCH / f"{name}.py", "--quick", "--threads", "1", "--out", tmp_path],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )

    first = bench()
    assert first.returncode == 0, first.stderr
    path = tmp_path / f"{name}-quick.json"
    whole = json.loads(path.read_text())
    assert FIGURES[name] <= set(whole["summary"])
    assert len(whole["pieces"]) == PIECES[name]
    kept = next(iter(whole["pieces"]))  # as if the run had been stopped after its first piece
    path.write_text(json.dumps({**whole, "pieces": {kept: whole["pieces"][kept]}}))
    second = bench()
    assert second.returncode == 0, second.stderr
    assert f"{kept}: done before" in second.stdout
    assert json.loads(path.read_text())["pieces"].keys() == whole["pieces"].keys()


@pytest.mark.slow
def test_the_last_member_alone_is_the_single_model(tmp_path):
    """Equal seeds give equal figures, and the table's own rows agree."""
    done = subprocess.run(
        [sys.executable, BENCH / "snapshots.py", "--quick", "--threads", "1", "--out", tmp_path],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    pieces = json.loads((tmp_path / "snapshots-quick.json").read_text())["pieces"]
    for arm in ("snapshots", "fresh"):
        piece = pieces[f"digits, {arm}, seed 0"]
        assert piece["by m"][0] == piece["single"]
        assert piece["by m"][piece["chosen"] - 1] == piece["ensemble"]
        assert piece["ensemble"]["val"] == min(row["val"] for row in piece["by m"])
