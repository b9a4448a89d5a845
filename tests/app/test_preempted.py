"""SLURM announces the end of a job by a signal: Lightning saves and requeues, and the command goes on there."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from lightcycle.app.schema import PROJECT
from lightcycle.recipes.resume import find

SLURM = {"NTASKS": "1", "NTASKS_PER_NODE": "1", "NNODES": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
JOB = {f"SLURM_{name}": value for name, value in {**SLURM, "JOB_ID": "77", "JOB_NAME": "train"}.items()}


@pytest.fixture
def cluster(tmp_path):
    """A job of one task, on a machine whose ``scontrol`` writes down what it was asked."""
    (tmp_path / "bin").mkdir()
    for name in ("scontrol", "srun"):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\necho $@ >> {tmp_path}/asked\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return {**os.environ, **JOB, "OMP_NUM_THREADS": "1", "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
def test_a_preempted_job_goes_on_where_the_signal_met_it(small, cluster, tmp_path):
    run = tmp_path / "run"
    options = [*small, "data.n_train=1600", "epochs=3", "logger=wandb", f"hydra.run.dir={run}", f"resume={run}"]
    command = [sys.executable, str(PROJECT / "train.py"), *options]
    with subprocess.Popen(command, env=cluster, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as job:
        try:
            wait_for(run / "checkpoints" / "last.ckpt", job)
            job.send_signal(signal.SIGUSR1)
            wait_for(tmp_path / "asked", job)
        finally:
            job.kill()
    assert (tmp_path / "asked").read_text() == "requeue 77\n"
    place = find(run, ["all"])
    assert (place.path.name, place.said.partition("step ")[0]) == ("last.ckpt", "going on from last.ckpt at ")
    done = subprocess.run(command, env=cluster, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    assert place.said in done.stdout
    assert json.loads((run / "summary.json").read_text())["steps"] == 600
    ids = {path.name.rpartition("-")[2] for path in (run / "wandb").glob("offline-run-*")}
    assert len(ids) == 1  # W&B's run went on too
    options = [f"hydra.run.dir={tmp_path}/straight", "resume=null", "logger=csv"]
    straight = subprocess.run([*command, *options], env=cluster, timeout=250, check=False)
    assert straight.returncode == 0
    mine, other = (weights(folder) for folder in (run, tmp_path / "straight"))
    assert all(torch.equal(mine[name], other[name]) for name in other)


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def wait_for(path, job, seconds=200):
    for _ in range(20 * seconds):
        if path.exists():
            return
        assert job.poll() is None, job.stderr.read()
        time.sleep(0.05)
    raise TimeoutError(path)
