"""A run that is killed at any moment, and started again with the same command, ends with a straight run's weights."""

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from lightcycle.app import run
from lightcycle.app.schema import PROJECT
from lightcycle.callbacks import StepSeed, StopOnOverfitting, checkpoints, range_test
from lightcycle.data import features as feature_data
from lightcycle.models import Classifier
from lightcycle.recipes import writer

pytestmark = pytest.mark.filterwarnings("ignore:LR finder")  # on so few images it sometimes has no suggestion

STAGES = (
    "[{name: cached, epochs: 2, features: cached, lr: auto, schedule: {name: one_cycle},"
    " callbacks: {lr_finder: {sweeps: 2, num_steps: 20}}},"
    "{name: head, epochs: 1, depth: 1, lr: same, schedule: {name: cosine}},"
    "{name: all, lr: auto, lr_decay_per_group: 3, schedule: {name: sgdr, cycles: 2}, until: overfitting,"
    " callbacks: {lr_finder: {sweeps: 1, num_steps: 20}, snapshot_ensemble: {}}}]"
)
OPTIONS = (
    *("data=synthetic", "data.size=6", "data.n_train=40", "data.n_val=12", "data.n_test=12", "data.batch_size=8"),
    *("data.crop=1", "data.flip=true", "model=mlp", "model.hidden=[8]", "model.dropout=0.2", "trainer.accelerator=cpu"),
    *("trainer.progress=false", "optimizer=adamw", "seed=3", f"recipe.stages={STAGES}"),
)
"""10 + 5 + 15 steps, in three stages."""

DRIVER = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
at, occasion, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
from lightcycle.app import cli
from lightcycle.callbacks import LRFinder, StepSeed, range_test
from lightcycle.recipes import writer
from lightcycle.transfer import features
calls = 0
def kill(*args, **kwargs):
    os.kill(os.getpid(), getattr(signal, os.environ.get("SIGNAL", "SIGKILL")))
def killing(function):
    def called(*args, **kwargs):
        global calls
        calls += 1
        if calls > at:
            kill()
        return function(*args, **kwargs)
    return called
if occasion == "step":
    class Seed(StepSeed):
        def on_train_batch_start(self, trainer, *rest):
            if trainer.global_step == at:
                kill()
            super().on_train_batch_start(trainer, *rest)
    from lightcycle.app import build
    build.StepSeed = Seed
elif occasion == "sweep":
    range_test._step = killing(range_test._step)
elif occasion == "record":
    writer.save_whole = killing(writer.save_whole)
elif occasion == "features":
    features._in = killing(features._in)
elif occasion == "test":
    from lightcycle.models import Classifier
    Classifier.test_step = killing(Classifier.test_step)
elif occasion == "look":
    from lightcycle.app import last_look
    last_look.last_look = killing(last_look.last_look)
def job(config):
    from lightcycle.app.run import train
    return train(config)
sys.argv = ["train.py", *arguments]
cli.main("train", job)
"""


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return (*OPTIONS, f"features_cache={tmp_path_factory.mktemp('cache')}")


def start(arguments, at=-1, occasion="never", **variables):
    command = [sys.executable, "-W", "ignore", "-c", DRIVER, str(at), occasion, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=environment)


@pytest.fixture(scope="module")
def straight(options, tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    done = start([*options, f"hydra.run.dir={folder}"])
    assert done.returncode == 0, done.stderr
    return folder


MOMENTS = {
    "while the features are computed": (1, "features"),
    "in the finder of the first stage": (7, "sweep"),
    "in the second epoch": (7, "step"),
    "after the record, before the weights": (0, "record"),
    "in the last stage": (27, "step"),
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_goes_on_to_the_weights_of_the_straight_one(moment, options, straight, tmp_path):
    arguments = [*options, f"hydra.run.dir={tmp_path}/run", f"resume={tmp_path}/run"]
    if "features" in moment:
        arguments[len(OPTIONS)] = f"features_cache={tmp_path}/cache"
    (tmp_path / "run").mkdir()
    killed = start(arguments, *MOMENTS[moment])
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    assert not (tmp_path / "run" / "summary.json").exists()
    features_left = 4 if "features" in moment else 99  # of 3 batches of training images, 1 and 1: the first was kept
    done = start(arguments, features_left, "features")
    assert done.returncode == 0, done.stderr
    assert "the run starts anew" in done.stdout or "going on" in done.stdout
    check_same(tmp_path / "run", straight)


def check_same(run, straight):
    theirs, ours = weights(run), weights(straight)
    assert list(theirs) == list(ours)
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)
    here, there = summary(run), summary(straight)
    figures = [name for name in there if "/" in name]
    assert len(figures) >= 6
    assert [here[name] for name in figures] == [there[name] for name in figures]
    assert (here["steps"], here["epochs"]) == (there["steps"], there["epochs"])
    assert [s["lr"] for s in here["stages"]] == [s["lr"] for s in there["stages"]]
    assert len({(folder / "metrics.csv").read_text().count("\n") for folder in (run, straight)}) == 1


class Killed(BaseException):
    """Ends a run where it is; nobody catches it."""


def killing(function, at):
    calls = []

    def called(*args, **kwargs):
        if len(calls) == at:
            raise Killed
        calls.append(args)
        return function(*args, **kwargs)

    return called


def at_step(step):
    def patch(monkeypatch):
        seeded = StepSeed.on_train_batch_start

        def called(self, trainer, *rest):
            if trainer.global_step == step:
                raise Killed
            return seeded(self, trainer, *rest)

        monkeypatch.setattr(StepSeed, "on_train_batch_start", called)

    return patch


def at_call(module, name, at):
    def patch(monkeypatch):
        monkeypatch.setattr(module, name, killing(getattr(module, name), at))

    return patch


OCCASIONS = {
    "while the features are computed": at_call(feature_data, "check_cut", 0),
    "in the finder of the first stage": at_call(range_test, "_step", 7),
    "in the finder of the last stage": at_call(range_test, "_step", 50),
    "between a record and its weights": at_call(writer, "save_whole", 0),
    "between two renames": at_call(checkpoints.os, "replace", 20),
    "in the test": at_call(run, "evaluated", 0),
    **{f"in front of step {step}": at_step(step) for step in (3, 5, 7, 10, 12, 15, 18, 20, 27)},
}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A straight run in this process, and the options of all."""
    return {"cache": tmp_path_factory.mktemp("cache"), "folder": tmp_path_factory.mktemp("straight")}


@pytest.mark.slow
@pytest.mark.parametrize("occasion", OCCASIONS)
def test_a_run_that_ends_anywhere_goes_on_to_the_same_weights(occasion, here, app, tmp_path, monkeypatch):
    options = [*OPTIONS, f"features_cache={here['cache']}"]
    if not (here["folder"] / "summary.json").exists():
        app(*options, folder=here["folder"])
    if "features" in occasion:
        options[-1] = f"features_cache={tmp_path}/cache"
    with monkeypatch.context() as patched:
        OCCASIONS[occasion](patched)
        with pytest.raises(Killed):
            app(*options, folder=tmp_path / "run")
    assert not (tmp_path / "run" / "summary.json").exists()
    app(*options, f"resume={tmp_path}/run", folder=tmp_path / "run")
    check_same(tmp_path / "run", here["folder"])


@pytest.mark.slow
def test_a_last_stage_that_ended_early_is_not_trained_on(here, app, tmp_path, monkeypatch):
    judge = StopOnOverfitting._judge

    def judged(self, trainer, pl_module):
        judge(self, trainer, pl_module)
        trainer.should_stop = True

    monkeypatch.setattr(StopOnOverfitting, "_judge", judged)
    options = [*OPTIONS, f"features_cache={here['cache']}"]
    straight = app(*options, folder=tmp_path / "straight")
    assert summary(straight.folder)["stages"][-1]["steps"] == 5  # of 15
    with monkeypatch.context() as patched:
        at_call(run, "evaluated", 0)(patched)
        with pytest.raises(Killed):
            app(*options, folder=tmp_path / "run")
    app(*options, f"resume={tmp_path}/run", folder=tmp_path / "run")
    check_same(tmp_path / "run", straight.folder)
    with pytest.raises(SystemExit, match="is at the end of its run, and nothing is left to train"):
        app(*options, f"resume={tmp_path}/run", folder=tmp_path / "run")
    with pytest.raises(SystemExit, match="is at the end of its run, and nothing is left to train"):
        app(*options, f"resume={tmp_path}/run", "on_resume=replan", folder=tmp_path / "run")
    assert (tmp_path / "run" / "report.html").exists()
    (tmp_path / "run" / "summary.json").unlink()  # as a sweep does that makes an interrupted run again
    app(*options, f"resume={tmp_path}/run", "on_resume=replan", folder=tmp_path / "run")
    check_same(tmp_path / "run", straight.folder)


CACHED_LAST = "[{name: all, epochs: 2}, {name: head, epochs: 3, features: cached, schedule: {name: cosine}}]"


@pytest.mark.slow
@pytest.mark.parametrize("at", [12, 17, None])
def test_a_cached_stage_behind_others_goes_on(at, app, tmp_path, monkeypatch):
    options = [*OPTIONS[:-1], f"recipe.stages={CACHED_LAST}", "schedule=cosine", f"features_cache={tmp_path}/cache"]
    straight = app(*options, folder=tmp_path / "straight")
    with monkeypatch.context() as patched:
        (at_call(run, "evaluated", 0) if at is None else at_step(at))(patched)
        with pytest.raises(Killed):
            app(*options, folder=tmp_path / "run")
    app(*options, f"resume={tmp_path}/run", folder=tmp_path / "run")
    check_same(tmp_path / "run", straight.folder)


def test_the_seconds_of_the_processes_before_count_on(app, small, tmp_path, monkeypatch):
    """A step takes a second here, and nothing else any."""
    clock, seeded = [0], StepSeed.on_train_batch_start

    def tick(self, *args):
        clock[0] += 1
        return seeded(self, *args)

    monkeypatch.setattr(StepSeed, "on_train_batch_start", tick)
    monkeypatch.setattr(writer, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    (tmp_path / "run").mkdir()
    stages = "recipe.stages=[{name: a, epochs: 2}, {name: b, epochs: 3}]"
    options = [*small, "schedule=cosine", stages, f"resume={tmp_path}/run"]
    for step in (7, 17, 22):  # in the first stage, and twice in the second
        with monkeypatch.context() as patched:
            at_step(step)(patched)
            with pytest.raises(Killed):
                app(*options)
    left = summary(app(*options).folder)
    assert [stage["seconds"] for stage in left["stages"]] == [10, 15]
    assert (left["seconds"], left["images_per_second"]) == (25, 8)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_interrupted_run_leaves_what_happened(options, tmp_path):
    stopped = start([*options, f"hydra.run.dir={tmp_path}"], 12, "step", SIGNAL="SIGINT")
    assert stopped.returncode == 1, stopped.stderr
    left = summary(tmp_path)
    assert left["interrupted"] is True
    assert [stage["name"] for stage in left["stages"]] == ["cached", "head"]
    assert left["steps"] == 12
    assert "test/acc" not in left
    assert (tmp_path / "timeline.png").stat().st_size > 10_000
    assert (tmp_path / "report.html").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("occasion", ["test", "look"])
def test_a_run_stopped_behind_its_last_stage_goes_on_to_the_figures(occasion, options, straight, tmp_path):
    arguments = [*options, f"hydra.run.dir={tmp_path}", f"resume={tmp_path}"]
    stopped = start(arguments, 0, occasion, SIGNAL="SIGINT")
    assert stopped.returncode == 1, stopped.stderr
    assert "Traceback" not in stopped.stderr
    left = summary(tmp_path)
    assert (left["interrupted"], left["steps"], len(left["stages"])) == (True, 30, 3)
    assert "test/acc" not in left
    done = start(arguments)
    assert done.returncode == 0, done.stderr
    check_same(tmp_path, straight)
    assert summary(tmp_path)["interrupted"] is False


def test_a_stop_before_the_first_new_step_leaves_the_run_as_it_was(app, small, tmp_path, monkeypatch):
    def stop(self):
        raise KeyboardInterrupt

    def left(folder):
        return {name: (folder / name).read_bytes() for name in ("summary.json", "report.html", "evaluate.json")}

    before, handler = left(app(*small, "schedule=cosine", "epochs=1").folder), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Classifier, "on_fit_start", stop)
    with pytest.raises(SystemExit):
        app(*small, "schedule=cosine", "epochs=2", "on_resume=replan", f"resume={tmp_path}/run")
    signal.signal(signal.SIGINT, handler)  # which Lightning has switched off
    assert left(tmp_path / "run") == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_finished_run_is_said_to_be_finished(options, straight):
    again = start([*options, f"hydra.run.dir={straight}/again", f"resume={straight}"])
    assert again.returncode == 1
    assert "is at the end of its run, and nothing is left to train" in again.stderr
