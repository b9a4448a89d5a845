"""Every mistake ends in one line that teaches; a bug keeps its stack of calls."""

import os
import subprocess
import sys
import time

import pytest

from lightcycle.app.csv_log import read_rows
from lightcycle.app.say import is_lesson, sentence
from lightcycle.app.schema import PROJECT
from lightcycle.app.settings import read
from lightcycle.schedules import SGDR

REFUSED = [
    # what does not exist
    (
        ["schedule.cyclse=3"],
        "schedule.cyclse is not an option of SGDR; did you mean schedule.cycles? There are",
    ),
    (["data.batch_sise=3"], "data.batch_sise is not an option of Digits; did you mean data.batch_size?"),
    (["model.weights=3"], "model.weights is not an option of ResNet; there are: blocks, dropout, width"),
    (["foo=1"], "foo is not an option; there are: callbacks, data, epochs"),
    (["+foo=1"], "foo is not an option; there are: callbacks, data, epochs"),
    (["+schedule.foo=1"], "schedule.foo is not an option; there are: cycle_len"),
    (["schedule=sgdrr"], "schedule=sgdrr does not exist; did you mean schedule=sgdr? There are: clr, constant"),
    (["data=cifra10"], "data=cifra10 does not exist; did you mean data=cifar10?"),
    (["logger=xyz"], "logger=xyz does not exist; there are: csv, tensorboard, wandb"),
    (["+callbacks=earlystopping"], "callbacks=earlystopping does not exist; did you mean callbacks=early_stopping?"),
    (["callbacks=[checkpoint,nope]"], "callbacks=nope does not exist; there are: checkpoint"),
    (["callbacks.checkpoint.monitr=a"], "callbacks.checkpoint.monitr is not an option here; is it spelled right?"),
    (["~callbacks.checkpint"], "~callbacks.checkpint leaves out what is not there"),
    (["+callbacks.foo.bar=1"], "callbacks.foo has no _target_, so nobody knows what it is"),
    (
        ["+callbacks.checkpoint.monitr=a"],
        "callbacks.checkpoint cannot be built: .*unexpected keyword argument 'monitr'",
    ),
    (["~schedule"], "schedule must be chosen (got null)"),
    # wrong types
    (["schedule.cycles=abc"], "schedule.cycles must be a whole number (got 'abc'); 3 is the default"),
    (["schedule.cycles=2.5"], "schedule.cycles must be a whole number (got '2.5'); 3 is the default"),
    (["schedule.cycle_len=[1]"], "schedule.cycle_len must be a number (got '[1]'); 1.0 is the default"),
    (["data.flip=7.5"], "data.flip must be true or false (got '7.5'); false is the default"),
    (["seed=null"], "seed cannot be null; 0 is the default"),
    (["tags=3"], "tags must be a list (got tags=3); write tags=[...]; [] is the default"),
    (["epochs=abc"], "epochs must be a number (got 'abc'); null is the default"),
    (["lr=abc"], "lr must be a number > 0, or auto (got 'abc'); lr=0.1 is usual for sgd"),
    # out of range
    (["schedule.cycles=0"], "schedule.cycles must be >= 1 (got 0); 3 cycles of 1, 2 and 4 epochs are the default"),
    (["data.batch_size=0"], "data.batch_size must be >= 1 (got 0); 64 is usual"),
    (["lr=-1"], "lr must be a number > 0, or auto (got -1)"),
    (["epochs=0"], "epochs must be > 0 (got 0); leave it out to get the schedule's own length"),
    (["epochs=nan"], "epochs must be > 0 (got nan)"),
    (["seed=-1"], "seed must be >= 0 and < 2^32 (got -1); 0 is a seed"),
    (["optimizer.momentum=2"], "optimizer.momentum must be in [0, 1) (got 2.0); 0.9 is the default"),
    (["label_smoothing=1"], "label_smoothing must be >= 0 and < 1 (got 1.0); 0.1 is usual, 0 is off"),
    (["monitor=val/f1"], "monitor must be one of val/acc, val/loss, train/acc, train/loss_epoch (got val/f1)"),
    (["test=foo"], "test must be one of last, best, none (got foo); last is usual"),
    (["test=best", "~callbacks.checkpoint"], "test=best needs callbacks.checkpoint (got none)"),
    (["resume=/no.ckpt"], "resume must be a checkpoint file, or the folder of a run (got /no.ckpt); null starts anew"),
    (["trainer.devices=x"], "trainer.devices must be a number >= 1, -1, auto or a list of devices (got x); 1 is usual"),
    (["trainer.devices=0"], "trainer.devices must be a number >= 1"),
    (["trainer.devices=5"], "data.batch_size must be a multiple of the 5 processes (got 32); try data.batch_size=35"),
    (["trainer.max_steps=0"], "trainer.max_steps must be >= 1, or -1 (got 0); -1 sets no bound"),
    (["trainer.limit_train_batches=1.5"], "must be a whole number of batches >= 1 or a share between 0.0 and 1.0 (got"),
    (["trainer.limit_train_batches=0.001"], "trainer.limit_train_batches=0.001 of 39 train batches leaves none"),
    (["trainer.limit_val_batches=0.1"], "trainer.limit_val_batches=0.1 of 3 val batches leaves none; give a larger"),
    (["trainer.overfit_batches=0.1"], "trainer.overfit_batches=0.1 of 3 val batches leaves none"),
    (["trainer.limit_val_batches=0"], "monitor=val/acc needs validation (got trainer.limit_val_batches=0)"),
    (["trainer.gradient_clip_val=-1"], "trainer.gradient_clip_val must be > 0 or null (got -1.0)"),
    (["trainer.log_every_n_steps=0"], "trainer.log_every_n_steps must be >= 1 (got 0); 10 is usual"),
    (["trainer.strategy=dpp"], "trainer.strategy must be auto or ddp (got dpp)"),
    (["trainer.precision=33"], "Lightning refuses trainer.*: Precision '33' is invalid"),
    (["+trainer.extra.foo=1"], "Lightning refuses trainer.*: .*unexpected keyword argument 'foo'"),
    (["schedule=plateau", "schedule.monitor=val/f1"], "the schedule cannot watch val/f1; there are: val/acc, val/loss"),
    (["+callbacks=early_stopping", "callbacks.early_stopping.monitor=f1"], "callbacks.early_stopping cannot watch f1"),
    (
        ["trainer.max_steps=2"],
        "schedule.cycles=3 does not fit into a run of 2 steps: some cycles would have none; use fewer, or a longer run "
        "(trainer.max_steps=2)",
    ),
    (
        ["data.limit=100", "data.batch_size=64", "epochs=1"],
        "does not fit into a run of 1 step: some cycles would have none; use fewer, or a longer run (epochs=1, "
        "data.batch_size=64: 1 step an epoch)",
    ),
    # files
    (
        ["data=image_folder", "data.root=/nowhere"],
        "data.root must be a folder of images (got /nowhere, which is absent)",
    ),
    (["data=arrays", "data.path=/nowhere.npz"], "data.path must be an .npz file (got /nowhere.npz"),
    (["model=torchvision", "model.weights=/nowhere.pth"], "there is no file /nowhere.pth"),
    (["model=torchvision", "model.weights=/nowhere.pth", "trainer.max_steps=2"], "there is no file /nowhere.pth"),
    (["model=torchvision", "model.name=resnet19"], "model.name must be a torchvision classifier (got resnet19)"),
    # the command line's own grammar
    (["lr"], "'lr' cannot be read; overrides are key=value"),
    (["lr=1,2"], "lr=1,2 gives lr several values; add -m to run one after the other"),
    (["+lr=1"], "+lr adds what is there already; to change it leave out the plus: lr=..."),
]


@pytest.mark.parametrize(("overrides", "expected"), REFUSED, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_a_mistake_is_one_sentence(overrides, expected, app, monkeypatch):
    from lightcycle.data.module import FolderData, MemoryData

    for kind in (MemoryData, FolderData):
        monkeypatch.setattr(kind, "setup", lambda *_: pytest.fail("the data was read before the mistake was met"))
    with pytest.raises(SystemExit) as error:
        app(*overrides)
    said = str(error.value.code)
    assert said.startswith("error: ")
    assert "\n" not in said
    for part in expected.split(".*") if ": .*" in expected else [expected]:
        assert part in said


def test_a_bug_keeps_its_stack_of_calls(app):
    def job(config):
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        app(job=job)


def test_an_accident_in_our_code_is_no_lesson(tmp_path):
    with pytest.raises(ValueError, match=r"must be >= 1") as lesson:
        SGDR(cycles=0)
    assert is_lesson(lesson.value)
    assert sentence(lesson.value) == str(lesson.value)
    (tmp_path / "metrics.csv").write_text("step,lr\nnever,0.1\n")
    with pytest.raises(ValueError, match=r"invalid literal for int") as accident:
        read_rows(tmp_path / "metrics.csv")
    assert not is_lesson(accident.value)
    assert not is_lesson(ValueError("never raised"))


def test_a_mistake_in_a_sweep_is_one_sentence_and_the_other_runs_are_made(app, tmp_path):
    made = []

    def job(config):
        made.append(read(config).epochs)

    with pytest.raises(SystemExit, match=r"^error: schedule.cycles must be >= 1 \(got 0\)"):
        app("-m", "schedule.cycles=0,1,2", f"hydra.sweep.dir={tmp_path}/sweep", job=job)
    assert made == [1.0, 3.0]


def test_the_environment_is_left_alone(app, monkeypatch):
    seen = []
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    app(job=lambda config: seen.append(os.environ.get("HYDRA_FULL_ERROR")))
    assert seen == [None]  # the processes of DDP inherit it
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_with_full_errors_a_lesson_is_raised(app, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match=r"seed must be >= 0"):
        app("seed=-1")


def command(*arguments, **options):
    code = [sys.executable, str(PROJECT / "train.py"), *arguments]
    return subprocess.run(code, capture_output=True, text=True, timeout=250, check=False, **options)


@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"], ["--info", "defaults"]], ids=" ".join)
def test_questions_are_answered_at_once(flags):
    """At most five times what importing Hydra alone takes (a third of a second): torch would take twenty times that."""
    ours, bare = [], []
    for _ in range(3):
        began = time.perf_counter()
        done = command(*flags)
        ours.append(time.perf_counter() - began)
        assert done.returncode == 0, done.stderr
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import hydra, hydra.utils"], check=True)
        bare.append(time.perf_counter() - began)
    assert min(ours) < 5 * min(bare)


@pytest.mark.parametrize("file", ["train.py", "scripts/plan.py"])
def test_nothing_heavy_is_imported_to_answer(file):
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{file!r}, '--cfg', 'job']\n"
        f"runpy.run_path({str(PROJECT / file)!r}, run_name='__main__')\n"
        "print(sorted({'torch', 'lightning', 'matplotlib', 'numpy', 'wandb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr


def test_help_lists_every_option_and_no_schema():
    text = command("--help").stdout
    for group in ("data", "model", "optimizer", "schedule", "trainer", "logger", "debug", "callbacks"):
        line = next(line.strip() for line in text.splitlines() if line.startswith(f"  {group}: "))
        options = line.removeprefix(f"{group}: ").split(", ")
        assert options == sorted(file.stem for file in (PROJECT / "conf" / group).glob("*.yaml"))
    assert "schema" not in text


def test_the_exit_code_is_1_and_the_line_goes_to_stderr():
    done = command("schedule.cycles=0", f"hydra.run.dir={os.devnull}/never", "--cfg", "job")
    assert done.returncode == 0  # only composed
    done = command("schedule.cyclse=0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: schedule.cyclse is not an option")
    assert done.stderr.count("\n") == 1
