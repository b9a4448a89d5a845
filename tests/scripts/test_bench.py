"""The measurements run, say what they promise, and go on where they stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path

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


def test_other_settings_are_not_mixed(tmp_path):
    (tmp_path / "overhead-quick.json").write_text(json.dumps({"settings": {"steps": 7, "threads": 1}, "pieces": {}}))
    done = bench("overhead", tmp_path)
    assert done.returncode == 1
    assert "was measured with {'steps': 7, 'threads': 1}, not {'steps': 20, 'threads': 1}" in done.stderr
    assert "--fresh starts anew" in done.stderr
