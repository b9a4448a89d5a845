"""Two nodes of one process, started by torchrun on this machine: one run, one folder, what one process would train."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lightcycle.app import processes
from lightcycle.app.schema import PROJECT
from wandb_file import read

ODD = ("data.n_val=13", "data.n_test=11", "model.dropout=0")
"""Numbers that two processes cannot share evenly."""


def environment():
    kept = {name: value for name, value in os.environ.items() if name not in processes.ADDRESS}
    return {**kept, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}


def start(command, cwd):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *command], cwd=cwd, env=environment(), start_new_session=True, **pipes)


def done(process, seconds=250):
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, out, err


def nodes(cwd, *overrides):
    """A torchrun for each of two nodes; torchrun finds out by itself that both are this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1"]
    job = [str(PROJECT / "train.py"), *overrides, "trainer=ddp", "trainer.devices=1", "trainer.num_nodes=2"]
    return [start([*shared, f"--master-port={port}", f"--node-rank={rank}", *job], cwd) for rank in (0, 1)]


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_two_nodes_are_one_run(small, tmp_path):
    options = (*small, *ODD, "schedule=one_cycle", "epochs=2", "logger=[csv,wandb]")
    code, _, err = done(start([str(PROJECT / "train.py"), *options, f"hydra.run.dir={tmp_path}/one"], tmp_path))
    assert code == 0, err
    said = [done(process) for process in nodes(tmp_path, *options)]
    assert [code for code, _, _ in said] == [0, 0], said
    one = tmp_path / "one"
    (two,) = [path.parent for path in tmp_path.glob("outputs/*/*/summary.json")]
    assert len(list(tmp_path.glob("outputs/*/*"))) == 1  # neither has made another folder
    names = [sorted(path.name for path in folder.iterdir()) for folder in (one, two)]
    assert names[0] == names[1]
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(two)[name], value, rtol=1e-4, atol=1e-6)
    figures = [json.loads((folder / "summary.json").read_text()) for folder in (one, two)]
    assert [each["devices"] for each in figures] == [1, 2]
    assert figures[0]["steps"] == figures[1]["steps"] == 10
    for name in ("val/acc", "val/loss", "test/acc", "test/loss", "train/loss_epoch"):
        assert figures[1][name] == pytest.approx(figures[0][name], rel=1e-5), name
    assert (figures[1]["val/acc"] * 13) % 1 == pytest.approx(0, abs=1e-5)  # of 13 images, each counted once
    assert read(two)["exit"] == 0  # one run of W&B's, or read() would not know which
    assert [out.count("one_cycle · synthetic") for _, out, _ in said] == [1, 0]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds torchrun's worker in /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_when_one_process_dies_all_end(small, tmp_path, rank):
    """The one that is left cannot finish a step alone: it must say so and end, not wait for half an hour."""
    both = nodes(tmp_path, *small, "epochs=2000", f"hydra.run.dir={tmp_path}/run")
    try:
        wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", both)
        os.kill(worker(both[rank]), signal.SIGKILL)
        said = [done(process, 120) for process in both]
    finally:
        for process in both:
            done_with(process)
    assert [code for code, _, _ in said] == [1, 1]
    assert "Signal 9 (SIGKILL) received by PID" in said[rank][2]
    assert "onnection" in said[1 - rank][2]  # gloo's word for it: closed by peer, or reset
    assert not (tmp_path / "run" / "summary.json").exists()


def worker(torchrun):
    """The process that torchrun has started."""
    return int(Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split()[0])


def wait_for(path, running, seconds=200):
    for _ in range(10 * seconds):
        if path.exists():
            return
        assert all(process.poll() is None for process in running), [process.communicate() for process in running]
        time.sleep(0.1)
    raise TimeoutError(path)


def done_with(process):
    """Asks torchrun to end, which takes its worker along."""
    if process.poll() is None:
        process.terminate()
        process.communicate(timeout=60)


def test_a_single_process_takes_its_own_time(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    assert abs(int(processes.started("%Y")) - time.localtime().tm_year) <= 1


def test_torchrun_without_its_store_needs_a_folder(monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "False"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=r"hydra.run.dir, or .* must be given where processes without a store"):
        processes.started("%Y")


def test_the_tasks_of_srun_need_a_folder(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "1")
    with pytest.raises(ValueError, match=r"^hydra.run.dir, .* must be given where the 2 tasks of srun share a run"):
        processes.started("%Y")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    processes.started("%Y")


def test_processes_told_by_the_first(monkeypatch):
    """Each has a time of its own; what the first has put into the store is what all say."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    told = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for name, value in {**told, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RANK", "0")
    first = processes.started("%H-%M-%S.%f")
    monkeypatch.setenv("RANK", "1")
    assert processes.started("%H-%M-%S.%f") == first
