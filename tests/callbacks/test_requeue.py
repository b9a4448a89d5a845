"""The signal that announces a job's end may come at any moment: what is saved resumes to the straight run, exactly."""

import os
import signal
import sys

import pytest
import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader

from lightcycle.callbacks import StepSeed
from lightcycle.callbacks.requeue import Requeue
from toys import Toy, quiet_trainer, toy_loader

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="has no such signals"),
    pytest.mark.filterwarnings("ignore:.*is not resumable.*"),  # its batches are all the same
]
PER_EPOCH = 5
MOMENTS = [
    ("on_train_epoch_start", 5),  # where Lightning's own checkpoint would leave out an epoch
    ("on_train_batch_start", 4),
    ("on_train_batch_start", 5),
    ("on_before_optimizer_step", 7),
    ("on_train_batch_end", 4),
    ("on_train_batch_end", 5),
    ("on_validation_start", 5),
    ("on_validation_end", 5),
    ("on_train_epoch_end", 5),
]


class Signal(Callback):
    """Sends the process the signal at one hook of one step, once."""

    def __init__(self, hook, step):
        self.step, self.sent = step, False
        setattr(self, hook, self._send)

    def _send(self, trainer, *_):
        if trainer.global_step == self.step and not self.sent:
            self.sent = True
            os.kill(os.getpid(), signal.SIGUSR1)


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """A machine whose ``scontrol`` notes what it is asked, and how far the run was saved by then."""
    (tmp_path / "bin").mkdir()
    script = f"#!/bin/sh\necho $@ >> {tmp_path}/asked\ncp {tmp_path}/last.ckpt {tmp_path}/saved.ckpt\n"
    (tmp_path / "bin" / "scontrol").write_text(script)
    (tmp_path / "bin" / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    return lambda: (tmp_path / "asked").read_text() if (tmp_path / "asked").exists() else ""


def same_batches():
    """Which batch comes next is the loader's business, and plain ones begin their epoch anew."""
    return DataLoader([next(iter(toy_loader()))] * PER_EPOCH, batch_size=None)


def fit(callbacks, path=None, **options):
    torch.manual_seed(0)
    module = Toy()
    saves = any(isinstance(callback, Requeue) for callback in callbacks)
    trainer = quiet_trainer(max_epochs=3, callbacks=[StepSeed(), *callbacks], enable_checkpointing=saves, **options)
    trainer.fit(module, same_batches(), same_batches(), ckpt_path=path, weights_only=True)
    return trainer.global_step, [parameter.detach() for parameter in module.parameters()]


@pytest.mark.parametrize(("hook", "step"), MOMENTS)
def test_it_goes_on_as_the_straight_run(asked, tmp_path, hook, step):
    once = Signal(hook, step)
    steps, straight = fit([once, Requeue(tmp_path)])
    assert (once.sent, asked()) == (True, "requeue 77\n")
    again, resumed = fit([], tmp_path / "saved.ckpt")
    assert again == steps
    assert all(torch.equal(a, b) for a, b in zip(resumed, straight, strict=True))


def test_no_gradients_are_lost_amid_accumulation(asked, tmp_path):
    fit([Signal("on_train_batch_start", 1), Requeue(tmp_path)], accumulate_grad_batches=2)
    saved = torch.load(tmp_path / "saved.ckpt", weights_only=True)
    assert (saved["global_step"], asked()) == (2, "requeue 77\n")


def test_an_array_job_is_named_as_one(asked, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    fit([Signal("on_train_batch_end", 2), Requeue(tmp_path)])
    assert asked() == "requeue 70_3\n"


def test_without_a_signal_nothing_happens_and_the_handler_goes(asked, tmp_path):
    before = signal.getsignal(signal.SIGUSR1)
    fit([Requeue(tmp_path)])
    assert (asked(), list(tmp_path.glob("*.ckpt"))) == ("", [])
    assert signal.getsignal(signal.SIGUSR1) == before


def test_where_there_is_no_scontrol_the_run_goes_on(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level("INFO"):
        steps, _ = fit([Signal("on_train_batch_end", 2), Requeue(tmp_path)])
    assert steps == 3 * PER_EPOCH
    assert "saved at step 2; job 77 is not requeued: " in caplog.text
