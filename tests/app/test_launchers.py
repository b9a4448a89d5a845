"""Sweeps through other launchers than Hydra's own, and sweeps of runs that have several processes."""

import csv
import json
import os
import subprocess
import sys
from importlib.metadata import distributions
from types import SimpleNamespace

import pytest
import torch
from hydra.types import RunMode
from omegaconf import OmegaConf

from lightcycle.app import processes
from lightcycle.app.checks import METRICS
from lightcycle.app.schema import PROJECT

THERE = {each.name for each in distributions()}
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def needs(extra):
    package = {"optuna": "hydra-optuna-sweeper"}.get(extra, f"hydra-{extra}-launcher")
    return pytest.mark.skipif(package not in THERE, reason=f'needs the extra: pip install -e ".[{extra}]"')


def train(*arguments, cwd, **variables):
    environment = {name: value for name, value in os.environ.items() if name not in processes.ADDRESS}
    environment = {name: value for name, value in {**environment, **variables}.items() if value is not None}
    command = [sys.executable, str(PROJECT / "train.py"), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=280, check=False)


def table(folder):
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def summaries(folder):
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/summary.json")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher", [pytest.param(n, marks=needs(n.split("_")[0])) for n in ("joblib", "submitit_local")]
)
def test_a_launcher_runs_what_hydras_own_runs(small, tmp_path, launcher):
    """The same figures, skipping, failures and table; joblib gives each job its share of the cores."""
    sweep = ("-m", *small, "epochs=1", "seed=0,1", "schedule.cycles=1,0")
    done = train(*sweep, f"hydra/launcher={launcher}", "hydra.sweep.dir=a", cwd=tmp_path, OMP_NUM_THREADS=None)
    assert done.returncode == 1, done.stderr
    assert "error: schedule.cycles must be >= 1 (got 0)" in done.stderr
    assert "2 of 4 runs failed" in done.stderr
    assert "Warning" not in done.stderr
    ours = summaries(tmp_path / "a")
    assert len(ours) == 2
    if launcher == "joblib":
        assert {each["machine"]["threads"] for each in ours.values()} == {1}  # as many jobs as cores
    train(*sweep, "hydra.sweep.dir=b", cwd=tmp_path, OMP_NUM_THREADS="1")
    for name, summary in summaries(tmp_path / "b").items():
        assert summary["val/loss"] == pytest.approx(ours[name]["val/loss"], rel=1e-5)
    assert [row["n"] for row in table(tmp_path / "a")] == ["2"]
    again = train(*sweep, f"hydra/launcher={launcher}", "hydra.sweep.dir=a", cwd=tmp_path)
    assert again.returncode == 1
    assert "2 of 4 runs failed" in again.stderr


@needs("submitit")
def test_the_jobs_of_a_cluster_are_composed(tmp_path):
    asked = ("hydra/launcher=slurm", "hydra.launcher.partition=gpu", "hydra.launcher.gpus_per_node=2")
    done = train(*asked, "--cfg", "hydra", "-p", "hydra.launcher", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    launcher = OmegaConf.create(done.stdout)
    assert launcher._target_.endswith("SlurmLauncher")
    assert (launcher.partition, launcher.gpus_per_node, launcher.max_num_timeout) == ("gpu", 2, 3)


@pytest.mark.parametrize(
    ("asked", "extra"),
    [
        ("sweep=optuna", "optuna"),
        ("hydra/launcher=joblib", "joblib"),
        ("hydra/launcher=slurm", "submitit"),
        ("hydra/launcher=submitit_local", "submitit"),
    ],
)
def test_an_extra_that_is_missing_is_named(app, asked, extra):
    package = {"optuna": "hydra-optuna-sweeper"}.get(extra, f"hydra-{extra}-launcher")
    if package in THERE:
        pytest.skip("the extra is there")
    with pytest.raises(
        SystemExit, match=rf"^error: {extra} must be installed for this; .*pip install -e \".\[{extra}\]\""
    ):
        app("-m", asked, "seed=0,1", job=lambda config: 1.0)


@pytest.mark.slow
def test_a_sweep_of_runs_with_two_processes(small, tmp_path):
    """Lightning starts the second process with this one's command line: it must be the job's, in the job's folder."""
    options = (*small, "model.dropout=0", "epochs=1")
    done = train("-m", *options, "trainer=ddp", "seed=0,1", "hydra.sweep.dir=two", cwd=tmp_path, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    train("-m", *options, "seed=0,1", "hydra.sweep.dir=one", cwd=tmp_path, OMP_NUM_THREADS="1")
    one, two = summaries(tmp_path / "one"), summaries(tmp_path / "two")
    assert sorted(one) == sorted(two) == ["seed=0", "seed=1"]
    for seed, summary in two.items():
        assert summary["devices"] == 2
        assert summary["test/loss"] == pytest.approx(one[seed]["test/loss"], rel=1e-4)
    assert not (tmp_path / "outputs").exists()


def test_a_job_leaves_the_next_one_no_address(monkeypatch):
    hydra = SimpleNamespace(overrides=SimpleNamespace(task=["seed=1", "lr=0.1"]))
    monkeypatch.setattr(processes.HydraConfig, "get", lambda: hydra)
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=0,1"])
    for name in processes.ADDRESS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_ADDR", "mine")
    with processes.job_of_a_sweep():
        assert sys.argv == ["train.py", "seed=1", "lr=0.1", "hydra.mode=RUN"]
        os.environ |= {"LOCAL_RANK": "0", "MASTER_PORT": "1", "MASTER_ADDR": "127.0.0.1"}
        torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    assert sys.argv == ["train.py", "-m", "seed=0,1"]
    assert not torch.distributed.is_initialized()
    assert {name: os.environ.get(name) for name in ("LOCAL_RANK", "MASTER_PORT", "MASTER_ADDR")} == {
        "LOCAL_RANK": None,
        "MASTER_PORT": None,
        "MASTER_ADDR": "mine",
    }


def test_a_job_of_another_launcher_starts_no_processes(monkeypatch):
    choices = {"hydra/launcher": "joblib"}
    hydra = SimpleNamespace(mode=RunMode.MULTIRUN, runtime=SimpleNamespace(choices=choices))
    monkeypatch.setattr(processes.HydraConfig, "get", lambda: hydra)
    around = SimpleNamespace(creates_processes_externally=False)
    trainer = SimpleNamespace(world_size=2, strategy=SimpleNamespace(cluster_environment=around))
    with pytest.raises(ValueError, match=r"trainer.devices must be 1 with hydra/launcher=joblib \(got 2 processes\)"):
        processes.check(trainer)
    around.creates_processes_externally = True  # as in a SLURM job of several tasks
    processes.check(trainer)
    around.creates_processes_externally, choices["hydra/launcher"] = False, "basic"
    processes.check(trainer)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb")
def test_what_an_agent_of_wandb_types_is_what_is_run(app):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    sweep = OmegaConf.to_container(OmegaConf.load(PROJECT / "docs" / "wandb_sweep.yaml"), resolve=False)
    assert (PROJECT / sweep["program"]).exists()
    assert sweep["metric"]["name"] in METRICS
    drawn = {"schedule": "one_cycle", "lr": 0.25, "data.batch_size": 64}
    assert drawn.keys() == sweep["parameters"].keys()
    typed = create_sweep_command_args({"args": {name: {"value": value} for name, value in drawn.items()}})
    assert sweep["command"][:4] == ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]
    configs = []
    app(*typed["args_no_hyphens"], *sweep["command"][4:], job=configs.append)
    (config,) = configs
    assert (config.lr, config.data.batch_size, config.epochs) == (0.25, 64, 7)
    assert "pct_start" in config.schedule
    assert "wandb" in config.logger


def test_sharded_strategies_are_refused(app):
    with pytest.raises(SystemExit, match=r"^error: trainer.strategy must be auto or ddp \(got fsdp\); others"):
        app("trainer.strategy=fsdp")
