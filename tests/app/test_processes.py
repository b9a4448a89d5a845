"""Real processes: two runs at once from elsewhere, and two processes that train one run."""

import csv
import json
import os
import subprocess
import sys

import pytest
import torch

from lightcycle.app.schema import PROJECT


def start(*arguments, cwd):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, str(PROJECT / "train.py"), *arguments], cwd=cwd, env=environment, **pipes)


def done(process):
    try:
        out, err = process.communicate(timeout=280)
    finally:
        process.kill()
    assert process.returncode == 0, out + err
    return out, err


@pytest.mark.slow
def test_two_runs_started_at_once_from_elsewhere(small, tmp_path):
    """No output folder is given: they must find two, below the directory they were started in."""
    said = [done(process) for process in [start(*small, "epochs=1", cwd=tmp_path) for _ in range(2)]]
    summaries = list((tmp_path / "outputs").rglob("summary.json"))
    assert len(summaries) == 2
    first, second = (json.loads(file.read_text()) for file in summaries)
    assert first["test/loss"] == second["test/loss"]
    assert [err for _, err in said] == ["", ""]


@pytest.mark.slow
def test_two_processes_train_what_one_trains(small, tmp_path):
    options = (*small, "model.dropout=0", "schedule=one_cycle", "epochs=2", "trainer.log_every_n_steps=1")
    done(start(*options, f"hydra.run.dir={tmp_path}/one", cwd=tmp_path))
    out, _ = done(start(*options, "trainer=ddp", f"hydra.run.dir={tmp_path}/two", cwd=tmp_path))
    one, two = (rows(tmp_path / name) for name in ("one", "two"))
    for column in ("lr", "momentum"):
        assert [row[column] for row in two if row[column]] == [row[column] for row in one if row[column]]
    assert len([row for row in two if row["lr"]]) == 10
    final = [
        torch.load(tmp_path / n / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for n in ("one", "two")
    ]
    for name in final[0]:
        torch.testing.assert_close(final[1][name], final[0][name], rtol=1e-4, atol=1e-6)
    summary = json.loads((tmp_path / "two" / "summary.json").read_text())
    assert (summary["devices"], summary["steps"]) == (2, 10)
    assert summary["test/loss"] == pytest.approx(json.loads((tmp_path / "one/summary.json").read_text())["test/loss"])
    assert out.count("one_cycle · synthetic") == 1  # the second process is silent
    assert not (tmp_path / "outputs").exists()


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))
