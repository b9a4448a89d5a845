"""SnapshotEnsemble: the weights of the step where a cycle ends, whole on disk or not there, whatever happens."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.strategies import FSDPStrategy

from lightcycle.callbacks import ParamScheduler, SnapshotEnsemble
from lightcycle.ensembling import members, snapshots
from lightcycle.schedules import SGDR, Constant, CyclicalLR, Horizon, OneCycle
from toys import Toy, quiet_trainer, toy_loader

SCHEDULE = SGDR(cycles=3, cycle_len=1, cycle_mult=1)


class Weights(Callback):
    """What the module held right after each optimizer step."""

    def __init__(self):
        self.after = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        state = {name: tensor.clone() for name, tensor in pl_module.state_dict().items()}
        self.after.setdefault(trainer.global_step, state)


class Lower(Toy):
    """Steps torch's own scheduler."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def fit(folder, *more, schedule=SCHEDULE, module=None, ckpt=None, samples=40, keep=None, **options):
    torch.manual_seed(0)
    module, weights = module or Toy(), Weights()
    ours = [ParamScheduler(schedule)] if schedule else []
    callback = next((one for one in more if isinstance(one, SnapshotEnsemble)), None)
    ours += [] if callback else [SnapshotEnsemble(folder=folder, keep=keep)]
    trainer = quiet_trainer(callbacks=[*ours, *more, weights], **{"max_epochs": 3, **options})
    trainer.fit(module, toy_loader(samples), toy_loader(), ckpt_path=ckpt, weights_only=True)
    return weights.after, module, trainer


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize(
    ("schedule", "ends"),
    [
        (SCHEDULE, {1: [5, 10, 15], 3: [2, 4, 6]}),
        (SGDR(cycles=2, cycle_len=1, cycle_mult=2), {1: [5, 15], 3: [2, 6]}),
        (OneCycle(), {1: [15], 3: [6]}),
        (CyclicalLR(cycles=3, step_size=0.5), {1: [5, 10, 15], 3: [2, 4, 6]}),
    ],
)
def test_the_weights_at_the_step_where_a_cycle_ends(tmp_path, schedule, ends, accumulate):
    """5 batches an epoch; 3 a window leave a partial one of 2."""
    weights, _, _ = fit(tmp_path, schedule=schedule, accumulate_grad_batches=accumulate)
    kept = snapshots(tmp_path)
    assert [one.step for one in kept] == ends[accumulate]
    assert [one.info["cycle"] for one in kept] == list(range(1, len(kept) + 1))
    assert [one.info["epoch"] for one in kept][-1] == 3.0
    for one in kept:
        assert_equal(one.load(), weights[one.step])


def test_the_rate_is_that_of_the_lowest_step(tmp_path):
    fit(tmp_path, schedule=SGDR(cycles=3, cycle_mult=1, final=0.01))
    assert [one.info["lr"] for one in snapshots(tmp_path)] == [[pytest.approx(0.001)]] * 3


def test_a_run_is_the_same_with_and_without_it(tmp_path):
    _, kept, _ = fit(tmp_path)
    torch.manual_seed(0)
    plain = Toy()
    quiet_trainer(max_epochs=3, callbacks=[ParamScheduler(SCHEDULE)]).fit(plain, toy_loader(), toy_loader())
    assert_equal(kept.state_dict(), plain.state_dict())


def test_cycles_that_end_inside_an_epoch(tmp_path):
    weights, _, _ = fit(tmp_path, schedule=SGDR(cycles=4, cycle_len=None, cycle_mult=1))
    assert [one.step for one in snapshots(tmp_path)] == [4, 7, 11, 15]
    assert_equal(snapshots(tmp_path)[1].load(), weights[7])
    assert [one.info["val/acc"] is None for one in snapshots(tmp_path)] == [True, True, True, False]


def test_the_json_has_the_validation_that_follows(tmp_path):
    class Seen(Callback):
        def __init__(self):
            self.acc = []

        def on_validation_end(self, trainer, pl_module):
            self.acc.append(float(trainer.callback_metrics["val/acc"]))

    seen = Seen()
    fit(tmp_path, seen)
    assert [one.info["val/acc"] for one in snapshots(tmp_path)] == seen.acc
    assert len(seen.acc) == 3


def test_the_live_weights_are_kept_beside_an_average(tmp_path):
    """The validation is that of the average, so that it says nothing of the snapshot."""
    weights, module, _ = fit(tmp_path, EMAWeightAveraging(decay=0.9))
    for one in snapshots(tmp_path):
        assert one.info["val/acc"] is None
        assert_equal(one.load(), weights[one.step])
    assert not torch.equal(snapshots(tmp_path)[-1].load()["head.weight"], module.head.weight)


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_keeps_the_last(tmp_path, keep):
    fit(tmp_path, keep=keep)
    assert [one.step for one in snapshots(tmp_path)] == [5, 10, 15][-keep:]
    assert len(list(tmp_path.iterdir())) == 2 * min(keep, 3)


def test_the_schedule_of_another_hand(tmp_path):
    callback = SnapshotEnsemble(folder=tmp_path, schedule=SGDR(cycles=3, cycle_mult=1))
    weights, _, _ = fit(tmp_path, callback, schedule=None, module=Lower())
    assert [one.step for one in snapshots(tmp_path)] == [5, 10, 15]
    assert_equal(snapshots(tmp_path)[0].load(), weights[5])


def test_stands_before_its_scheduler_and_in_the_default_folder(tmp_path):
    trainer = quiet_trainer(
        max_epochs=3, callbacks=[SnapshotEnsemble(), ParamScheduler(SCHEDULE)], default_root_dir=tmp_path
    )
    trainer.fit(Toy(), toy_loader())
    assert [one.step for one in snapshots(tmp_path / "snapshots")] == [5, 10, 15]


# -- resume --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_resumed_anywhere_the_snapshots_are_those_of_the_straight_run(tmp_path, accumulate, elsewhere):
    class Still(Toy):
        """Without dropout: Lightning saves no state of randomness."""

        def __init__(self):
            super().__init__()
            self.body[3].p = 0.0

    every = ModelCheckpoint(tmp_path / "ckpt", filename="{epoch}-{step}", every_n_epochs=1, save_top_k=-1)
    options = {"accumulate_grad_batches": accumulate, "schedule": SGDR(cycles=4, cycle_len=None, cycle_mult=1)}
    fit(tmp_path / "straight", every, module=Still(), enable_checkpointing=True, **options)
    straight = {one.step: one for one in snapshots(tmp_path / "straight")}
    assert len(straight) == 4
    found = sorted((tmp_path / "ckpt").glob("*.ckpt"))
    assert len(found) == 3
    for ckpt in found[:-1]:
        folder = tmp_path / ckpt.stem if elsewhere else tmp_path / "straight"
        before = {step: one.load() for step, one in straight.items()}
        fit(folder, module=Still(), ckpt=ckpt, **options)
        again = {one.step: one for one in snapshots(folder)}
        assert again.keys() == before.keys()
        for step, state in before.items():
            assert_equal(again[step].load(), state)
            assert again[step].info == straight[step].info


def test_what_was_not_to_stay_is_not_missed_on_resume(tmp_path, caplog):
    every = ModelCheckpoint(tmp_path / "ckpt", filename="{step}", every_n_epochs=1, save_top_k=-1)
    fit(tmp_path / "a", every, keep=1, enable_checkpointing=True)
    weights, _, _ = fit(tmp_path / "b", keep=1, ckpt=tmp_path / "ckpt" / "step=10.ckpt")
    assert [one.step for one in snapshots(tmp_path / "b")] == [15]
    assert_equal(snapshots(tmp_path / "b")[0].load(), weights[15])
    assert "the snapshots of steps [10] are no longer" in caplog.text  # and not [5, 10]


def test_a_checkpoint_at_a_cycle_end_whose_snapshot_was_lost(tmp_path):
    """The process was killed between the checkpoint and the end of the writing."""
    every = ModelCheckpoint(tmp_path / "ckpt", filename="{step}", every_n_epochs=1, save_top_k=-1)
    fit(tmp_path / "a", every, enable_checkpointing=True)
    straight = snapshots(tmp_path / "a")[0].load()
    snapshots(tmp_path / "a")[0].remove()
    fit(tmp_path / "b", ckpt=tmp_path / "ckpt" / "step=5.ckpt")
    assert [one.step for one in snapshots(tmp_path / "b")] == [5, 10, 15]
    assert_equal(snapshots(tmp_path / "b")[0].load(), straight)


def test_what_an_older_run_left_is_removed(tmp_path):
    members.save_snapshot(tmp_path, {"w": torch.zeros(1)}, {"step": 77})
    (tmp_path / ".torn.tmp").write_bytes(b"half")
    fit(tmp_path)
    assert [one.step for one in snapshots(tmp_path)] == [5, 10, 15]
    assert not list(tmp_path.glob(".*"))


def test_a_second_fit_counts_on(tmp_path):
    callbacks = [ParamScheduler(SGDR(cycles=2, cycle_mult=1)), SnapshotEnsemble(folder=tmp_path)]
    trainer, module = quiet_trainer(max_epochs=2, callbacks=callbacks), Toy()
    trainer.fit(module, toy_loader())
    trainer.fit_loop.max_epochs = 4
    trainer.fit(module, toy_loader())
    assert [(one.step, one.info["cycle"]) for one in snapshots(tmp_path)] == [(5, 1), (10, 2), (15, 1), (20, 2)]


# -- what goes wrong -----------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_is_said(tmp_path, monkeypatch):
    def full(state, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(members, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        fit(tmp_path)
    assert snapshots(tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_an_exception_waits_for_the_file(tmp_path, monkeypatch):
    class Stop(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 5:
                raise RuntimeError("stop")

    save = members.save_file
    monkeypatch.setattr(members, "save_file", lambda *a: (time.sleep(0.2), save(*a)))
    with pytest.raises(RuntimeError, match="stop"):
        fit(tmp_path, Stop())
    assert [one.step for one in snapshots(tmp_path)] == [5]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: SnapshotEnsemble(keep=0), r"keep must be >= 1, or None .* \(got 0\); 5 is usual"),
        (lambda: fit(None, schedule=None), "no ParamScheduler says where they are; add one, or give the schedule"),
        (lambda: fit(None, schedule=Constant()), "Constant has none; schedule=snapshot, sgdr and clr have some"),
    ],
)
def test_refusals(make, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=text):
        make()


def test_sharded_weights_are_refused(tmp_path):
    trainer = quiet_trainer(callbacks=[ParamScheduler(SCHEDULE)])
    trainer.strategy.__class__ = FSDPStrategy
    with pytest.raises(ValueError, match="FSDPStrategy has spread the weights over several"):
        SnapshotEnsemble(folder=tmp_path).setup(trainer, Toy(), "fit")


KILLED = """
import sys, torch
from lightcycle.ensembling import save_snapshot
for step in range(1, 10_000):
    save_snapshot(sys.argv[1], {"w": torch.full((200_000,), float(step)), "b": torch.ones(3)}, {"step": step})
"""


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.03, 0.071, 0.113])
def test_a_killed_run_leaves_whole_snapshots_or_none(tmp_path, delay):
    process = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path])
    deadline = time.monotonic() + 60
    while not snapshots(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = snapshots(tmp_path)
    assert kept
    for one in kept:
        assert torch.equal(one.load()["w"], torch.full((200_000,), float(one.step)))


@pytest.mark.slow
def test_two_processes(tmp_path):
    """DDP over gloo: one process writes, and the snapshots are those of one process with the whole batch."""
    script = Path(__file__).with_name("ddp_snapshot_ensemble.py")
    env = {**os.environ, "PYTHONPATH": str(script.parents[1])}
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, timeout=240, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    ddp, alone = snapshots(tmp_path / "ddp"), snapshots(tmp_path / "alone")
    assert [one.info for one in ddp] == [one.info for one in alone]
    assert [one.step for one in ddp] == [4, 8]
    assert json.loads((tmp_path / "writers.json").read_text()) == [0]
    for one, other in zip(ddp, alone, strict=True):
        for name, tensor in one.load().items():
            torch.testing.assert_close(tensor, other.load()[name], rtol=1e-5, atol=1e-6)


# -- the paper's formula -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "cycles"), [(100, 5), (60, 3), (40, 1)])
def test_equal_cycles_are_the_papers(steps, cycles):
    """``a(t) = a0/2 (cos(pi mod(t - 1, ceil(T/M)) / ceil(T/M)) + 1)``; ours reaches its zero within the cycle."""
    length = math.ceil(steps / cycles)
    plan = SGDR(cycles=cycles, cycle_len=None, cycle_mult=1).bind(Horizon.of_steps(steps))
    assert plan.cycle_ends == tuple(range(length, steps + 1, length))
    for t in range(1, steps + 1):
        paper = (math.cos(math.pi * ((t - 1) % length) / length) + 1) / 2
        assert abs(plan.factor(t - 1) - paper) <= math.pi / 2 / length
    stretched = [plan.factor(i) for i in range(length)]
    of_one_less = [(math.cos(math.pi * i / (length - 1)) + 1) / 2 for i in range(length)]
    assert stretched == pytest.approx(of_one_less, abs=1e-12)
