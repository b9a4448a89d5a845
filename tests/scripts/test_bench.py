"""The measurements run, say what they promise, and go on where they stopped."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"
FIGURES = {
    "overhead": {f"{arm}, {groups}" for arm in ("bare", "OneCycleLR", "ParamScheduler") for groups in (1, 10)}
    | {"StepSeed, 1", "Recorder, 1", "ParamScheduler / OneCycleLR, 1", "ParamScheduler / OneCycleLR, 10"},
    "small_images": {"val/acc", "test/acc", "hand/test/acc", "trainer / hand, epoch by epoch"},
}


def bench(name: str, out: Path, *more: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(BENCH / f"{name}.py"), "--quick", "--threads", "1", "--out", str(out), *more],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FIGURES))
def test_runs_and_resumes(name, tmp_path):
    first = bench(name, tmp_path)
    assert first.returncode == 0, first.stderr
    path = tmp_path / f"{name}-quick.json"
    whole = json.loads(path.read_text())
    assert FIGURES[name] <= set(whole["summary"])
    assert len(whole["pieces"]) == 2
    assert "torch" in whole["environments"][0]
    assert f"| {sorted(FIGURES[name])[0]} |" in path.with_suffix(".md").read_text()

    kept, lost = whole["pieces"]  # as if the run had been stopped after its first piece
    path.write_text(json.dumps({**whole, "pieces": {kept: whole["pieces"][kept]}}))
    second = bench(name, tmp_path)
    assert second.returncode == 0, second.stderr
    again = json.loads(path.read_text())
    assert again["pieces"][kept] == whole["pieces"][kept]
    assert f"{kept}: done before" in second.stdout
    assert f"{lost}: done before" not in second.stdout
    assert set(again["pieces"]) == {kept, lost}


@pytest.fixture
def common(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    yield importlib.import_module("common")
    del sys.modules["common"]


def test_other_settings_are_not_mixed(common, tmp_path):
    common.Results(tmp_path / "x.json", {"steps": 7}).piece("round 0", lambda: 1.0)
    with pytest.raises(ValueError, match=r"measured with \{'steps': 7\}, not \{'steps': 20\}; --fresh starts anew"):
        common.Results(tmp_path / "x.json", {"steps": 20})
    assert common.Results(tmp_path / "x.json", {"steps": 20}, fresh=True).pieces == {}


def test_a_finished_piece_survives_the_failure_of_the_next(common, tmp_path):
    results = common.Results(tmp_path / "x.json", {})
    results.piece("round 0", lambda: 1.5)
    with pytest.raises(ZeroDivisionError):
        results.piece("round 1", lambda: 1 / 0)
    again = common.Results(tmp_path / "x.json", {})
    assert again.pieces == {"round 0": 1.5}
    assert again.piece("round 0", lambda: 2.5) == 1.5


def test_spread_is_that_of_numpy(common):
    values = [0.93, 0.94, 0.92]
    s = common.spread(values)
    assert s == {"mean": pytest.approx(np.mean(values)), "sd": pytest.approx(np.std(values, ddof=1)), "n": 3}
    assert common.spread([1.0])["sd"] is None
