"""A multirun through the real command line: it goes on past failures, skips what is done, and ends with a table."""

import csv
import json
import sqlite3
import subprocess
import sys
from importlib.metadata import distributions

import pytest
from omegaconf import OmegaConf

from lightcycle.app import sweep
from lightcycle.app.schema import PROJECT

KEY = "schedule.cycles"


@pytest.fixture
def job():
    """A job that leaves what train.py leaves, and skips as it does; `job.made` is what was run."""

    def run(config):
        if (before := sweep.finished(config)) is not None:
            return before
        run.made.append((config.schedule.cycles, config.seed))
        if config.schedule.cycles < 1:
            from lightcycle.app.settings import read

            read(config)
        if run.bug and config.seed == 1:
            raise KeyError("a bug")
        return leave(config)

    run.made, run.bug = [], False
    return run


def leave(config):
    from pathlib import Path

    from hydra.core.hydra_config import HydraConfig

    folder, acc = Path(HydraConfig.get().runtime.output_dir), config.schedule.cycles / 10 + config.seed / 100
    saved = OmegaConf.to_container(config, resolve=True) | {"choices": {"schedule": "sgdr"}, "found": {"lr_find": []}}
    OmegaConf.save(OmegaConf.create(saved), folder / "config.yaml")
    summary = {"monitor": "val/acc", "val/acc": acc, "epochs": 1.0, "steps": 2, "seconds": 1.0}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "metrics.csv").write_text(f"step,val/acc\n1,{acc}\n")
    return acc


def rows(folder):
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_sweep_ends_with_its_comparison_in_folders_named_after_what_differs(app, job, tmp_path):
    folder = tmp_path / "sweep"
    app("-m", f"{KEY}=1,2", "seed=0,1", "data=synthetic", "epochs=3", f"hydra.sweep.dir={folder}", job=job)
    assert sorted(each.name for each in folder.iterdir() if each.is_dir()) == [
        f"{KEY}={cycles},seed={seed}" for cycles in (1, 2) for seed in (0, 1)
    ]
    assert {"sweep.csv", "sweep.html", "sweep.png"} <= {file.name for file in folder.iterdir()}
    assert [(row[KEY], row["n"], float(row["val/acc_mean"])) for row in rows(folder)] == [
        ("2", "2", pytest.approx(0.205)),
        ("1", "2", pytest.approx(0.105)),
    ]


def test_the_users_own_exclusions_stay(app, job, tmp_path):
    folder, names = tmp_path / "sweep", "hydra.job.config.override_dirname.exclude_keys=[seed]"
    app("-m", f"{KEY}=1,2", "seed=3", f"hydra.sweep.dir={folder}", names, job=job)
    assert sorted(each.name for each in folder.iterdir() if each.is_dir()) == [f"{KEY}=1", f"{KEY}=2"]


def test_failures_end_nothing_and_are_named_at_the_end(app, job, tmp_path, capsys):
    folder, job.bug = tmp_path / "sweep", True
    with pytest.raises(SystemExit) as error:
        app("-m", f"{KEY}=0,1", "seed=0,1,2", f"hydra.sweep.dir={folder}", job=job)
    assert len(job.made) == 6
    lesson, bug, count = str(error.value).splitlines()
    assert lesson.startswith("error: schedule.cycles must be >= 1 (got 0)")
    assert lesson.endswith(f"({KEY}=0,seed=0; {KEY}=0,seed=1; {KEY}=0,seed=2)")
    assert bug == f"error: KeyError: 'a bug' ({KEY}=1,seed=1)"
    assert count == f"4 of 6 runs failed; the same command with hydra.sweep.dir={folder} makes only these again"
    said = capsys.readouterr()
    assert said.err.count("Traceback") == 1  # of the bug, not of the lessons
    assert "Error executing job" not in said.err
    assert [(row["n"], row["val/acc_mean"]) for row in rows(folder)] == [("2", "0.11000000000000001")]
    left = json.loads((folder / f"{KEY}=1,seed=1" / "failed.json").read_text())
    assert (left["error"], f"{KEY}=1" in left["overrides"]) == ("KeyError: 'a bug'", True)
    assert "raise KeyError" in left["stack"]


def test_where_all_fail_there_is_no_table(app, job, tmp_path):
    with pytest.raises(SystemExit, match=r"(?s)^error: schedule.cycles must be >= 1.*\n2 of 2 runs failed"):
        app("-m", f"{KEY}=0", "seed=0,1", f"hydra.sweep.dir={tmp_path}/sweep", job=job)
    assert not (tmp_path / "sweep" / "sweep.csv").exists()


def test_the_same_sweep_again_makes_only_what_is_missing(app, job, tmp_path, capsys):
    arguments = ("-m", f"{KEY}=1,2", "seed=0,1", f"hydra.sweep.dir={tmp_path}/sweep")
    job.bug = True
    with pytest.raises(SystemExit):
        app(*arguments, job=job)
    (tmp_path / "sweep" / f"{KEY}=2,seed=0" / "summary.json").unlink()  # as if it had been killed
    job.made, job.bug = [], False
    first = app(*arguments, job=job)
    assert job.made == [(1, 1), (2, 0), (2, 1)]
    assert first.values == pytest.approx([0.1, 0.11, 0.2, 0.21])  # what was skipped gives the same to a sweeper
    assert f"{KEY}=1,seed=0 is done already, and skipped" in capsys.readouterr().out
    assert not list((tmp_path / "sweep").rglob("failed.json"))
    assert sum(int(row["n"]) for row in rows(tmp_path / "sweep")) == 4


def test_another_config_in_the_same_folder_is_run(app, job, tmp_path):
    arguments = ("-m", f"{KEY}=1,2", f"hydra.sweep.dir={tmp_path}/sweep")
    app(*arguments, "epochs=3", job=job)
    app(*arguments, "epochs=4", job=job)
    assert len(job.made) == 4


def test_a_killed_run_does_not_look_finished_by_the_summary_of_an_older_one(app, job, tmp_path):
    arguments = ("-m", f"{KEY}=1", "seed=0,1", f"hydra.sweep.dir={tmp_path}/sweep")
    app(*arguments, job=job)

    def killed(config):
        assert sweep.finished(config) is None
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        app(*arguments, "epochs=4", job=killed)
    assert not (tmp_path / "sweep" / "seed=0" / "summary.json").exists()
    assert (tmp_path / "sweep" / "seed=1" / "summary.json").exists()


def test_a_single_run_is_never_skipped(app, job, tmp_path):
    for _ in range(2):
        app("seed=3", job=job)
    assert len(job.made) == 2


def test_a_failing_single_run_is_told_as_before(app, job):
    with pytest.raises(SystemExit, match=r"^error: schedule.cycles must be >= 1"):
        app(f"{KEY}=0", job=job)


def test_a_sweep_that_is_chosen_is_a_sweep(app, job, tmp_path):
    runs = app("sweep=schedules_x_seeds", "seed=0,1", f"hydra.sweep.dir={tmp_path}/sweep", job=lambda config: 1.0)
    assert len(runs.values) == 8
    names = {each.name for each in (tmp_path / "sweep").iterdir() if each.is_dir()}
    assert names == {f"schedule={name},seed={k}" for name in ("sgdr", "one_cycle", "clr", "step") for k in (0, 1)}


def test_plans_have_nothing_to_compare(app, tmp_path):
    runs = app("-m", f"{KEY}=1,2", f"hydra.sweep.dir={tmp_path}/sweep", config="plan", job=lambda config: 1.0)
    assert len(runs.values) == 2
    assert not list((tmp_path / "sweep").rglob("sweep.*"))


@pytest.mark.slow
def test_a_real_sweep(small, tmp_path):
    arguments = ["-m", *small, "schedule=sgdr,one_cycle", "epochs=1", "seed=0,1", f"hydra.sweep.dir={tmp_path}/sweep"]
    command = [sys.executable, str(PROJECT / "train.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    assert "best val/acc first" in done.stdout
    assert [row["n"] for row in rows(tmp_path / "sweep")] == ["2", "2"]


SEARCH = """
import sys
sys.path.insert(0, {tests!r})
from test_sweep import leave
from lightcycle.app import cli

def job(config):
    if config.schedule.cycles < 1:
        raise ValueError("too few")
    return leave(config)

cli.main("train", job)
"""


@pytest.mark.slow
def test_a_search_goes_on_past_failures_and_with_the_same_study(tmp_path):
    if not any(each.name == "hydra-optuna-sweeper" for each in distributions()):
        pytest.skip('needs the extra: pip install -e ".[optuna]"')
    (tmp_path / "job.py").write_text(SEARCH.format(tests=str(PROJECT / "tests" / "app")))
    arguments = ["sweep=optuna", "~hydra.sweeper.params.lr", "~hydra.sweeper.params.schedule", "seed=range(0,1000)"]
    arguments += [f"{KEY}=choice(0,1,2)", "hydra.sweeper.n_trials=8"]
    for studied in (8, 16):
        command = [sys.executable, "job.py", *arguments, f"hydra.sweeper.sampler.seed={studied}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False, cwd=tmp_path)
        folder = tmp_path / "outputs" / "sweeps" / "optuna-digits"
        assert done.returncode == 1, done.stderr  # some trials fail
        assert "error: ValueError: too few" in done.stderr
        with sqlite3.connect(folder / "study.db") as study:
            states = [state for (state,) in study.execute("select state from trials")]
        assert len(states) == studied
        assert set(states) == {"COMPLETE", "FAIL"}
        assert len(rows(folder)) == 2  # a setting for each number of cycles that is possible
