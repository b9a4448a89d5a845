"""LRFinder: when it runs, what it applies, what it writes, what it refuses."""

import json
import warnings

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from lightcycle.callbacks import LRFinder, ParamScheduler
from lightcycle.schedules import SGDR, Constant, OneCycle, StepDecay
from toys import Toy, learnable_loader, quiet_trainer, toy_loader
from witness import Careful, run, same

QUICK = {"num_steps": 50, "min_lr": 1e-4, "max_lr": 1e3}


class Learner(Toy):
    """No dropout and no BatchNorm: its loss falls, and explodes when the rate is too high."""

    def __init__(self, **options):
        super().__init__(**options)
        self.body = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
        self.head = nn.Linear(16, 3)

    def on_before_optimizer_step(self, optimizer):
        if self.trainer.callbacks:  # not inside a range test
            super().on_before_optimizer_step(optimizer)


def fit(finder, schedule=None, *, module=None, first=True, tmp_path=None, ckpt=None, **options):
    torch.manual_seed(0)
    module, scheduler = module or Learner(), ParamScheduler(schedule or Constant())
    callbacks = [finder, scheduler] if first else [scheduler, finder]
    callbacks += options.pop("callbacks", [])
    trainer = quiet_trainer(callbacks=callbacks, **{"max_epochs": 3, "default_root_dir": tmp_path, **options})
    trainer.fit(module, learnable_loader(), learnable_loader(), ckpt_path=ckpt, weights_only=True)
    return module, trainer


@pytest.mark.parametrize(
    ("at", "schedule", "steps"),
    [
        ("start", SGDR(cycles=2), [0]),
        ([0, 2], SGDR(cycles=2), [0, 32]),
        ([1], Constant(), [16]),
        ("cycles", SGDR(cycles=2), [0, 16]),
        ("cycles", SGDR(cycles=3, cycle_mult=1), [0, 16, 32]),
        ("cycles", OneCycle(), [0]),
    ],
)
def test_it_runs_when_told(at, schedule, steps, tmp_path):
    finder = LRFinder(at=at, schedule=schedule, **QUICK)
    fit(finder, schedule, tmp_path=tmp_path)
    assert sorted(finder.found) == steps
    expected = ["lr_find", *(f"lr_find-step{step}" for step in steps[1:])]
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == sorted(expected)
    assert sorted(path.stem for path in tmp_path.glob("*.png")) == sorted(expected)


def test_it_runs_once_in_an_accumulation_window(tmp_path):
    finder = LRFinder(at=[0, 1], **QUICK)
    fit(finder, accumulate_grad_batches=3, tmp_path=tmp_path)
    assert sorted(finder.found) == [0, 6]


def test_a_report_alone_changes_nothing(tmp_path):
    torch.manual_seed(0)
    without = run()
    torch.manual_seed(0)
    finder = LRFinder(at=[0, 1], num_steps=12, max_lr=100.0, folder=tmp_path)
    found = run(finder)
    found["log"] = [(step, line) for step, line in found["log"] if "lr_find/suggestion" not in line]
    same(found, without)
    assert len(finder.found) == 2


@pytest.mark.parametrize("first", [True, False], ids=["before the scheduler", "behind the scheduler"])
def test_what_it_applies_is_what_the_schedule_multiplies(first, tmp_path):
    finder = LRFinder(apply=True, **QUICK)
    module, trainer = fit(finder, SGDR(cycles=2), module=Learner(groups=2), first=first, tmp_path=tmp_path)
    found = finder.found[0]
    plan = trainer.callbacks[0 if not first else 1].plan
    assert found["applied"] == found["suggestion"] != 0.1
    for step, (fast, slow) in enumerate(module.trace):
        assert fast == pytest.approx(found["applied"] * plan.factor(step))
        assert slow == pytest.approx(fast / 10)  # discriminative rates keep their ratio


def test_without_a_schedule_the_rate_itself_is_set(tmp_path):
    finder = LRFinder(apply=True, folder=tmp_path, **QUICK)
    module = Learner()
    quiet_trainer(callbacks=[finder], max_epochs=1).fit(module, learnable_loader())
    assert {rate for (rate,) in module.trace} == {finder.found[0]["applied"]}


@pytest.mark.filterwarnings("ignore:LR finder. no suggestion")  # the second time the clusters may be learned already
def test_it_finds_again_before_each_restart(tmp_path):
    schedule = SGDR(cycles=2)
    finder = LRFinder(at="cycles", schedule=schedule, apply=True, **QUICK)
    module, _ = fit(finder, schedule, tmp_path=tmp_path)
    for step in (0, 16):
        peak = finder.found[step]["applied"]
        assert module.trace[step][0] == pytest.approx(peak if peak is not None else finder.found[step]["before"])


def test_the_suggestion_trains_well(tmp_path):
    finder = LRFinder(apply=True, **QUICK)
    _, trainer = fit(finder, OneCycle(), tmp_path=tmp_path)
    assert trainer.callback_metrics["val/acc"] > 0.95


def test_no_suggestion_leaves_the_rate_and_says_why(tmp_path):
    class Flat(Learner):
        def training_step(self, batch, batch_idx):
            return 0.0 * self(batch[0]).sum() + 1.0

    finder = LRFinder(apply=True, **QUICK)
    with pytest.warns(UserWarning, match=r"LR finder: no suggestion, lr stays 0.1: the loss does not fall"):
        module, _ = fit(finder, module=Flat(), tmp_path=tmp_path)
    assert {rate for (rate,) in module.trace} == {0.1}
    assert json.loads((tmp_path / "lr_find.json").read_text())["lr"] is None


def test_several_sweeps_see_other_batches_and_give_a_spread(tmp_path):
    finder = LRFinder(sweeps=3, **QUICK)
    fit(finder, tmp_path=tmp_path)
    saved = json.loads((tmp_path / "lr_find.json").read_text())
    assert len({tuple(sweep) for sweep in saved["sweeps"]}) == 3
    assert finder.found[0]["spread"] >= 1.0
    assert saved["run"] == finder.found[0]


def test_the_triangular_test_measures_accuracy_and_leaves_no_trace(tmp_path):
    finder = LRFinder(ramp="triangular", num_steps=60, min_lr=0.0, max_lr=5.0)
    module, _ = fit(finder, tmp_path=tmp_path)
    saved = json.loads((tmp_path / "lr_find.json").read_text())
    assert len(saved["lrs"]) == len(saved["accuracies"]) > 20
    assert saved["lrs"].index(max(saved["lrs"])) == pytest.approx(len(saved["lrs"]) / 2, abs=1)
    assert all(0.0 <= accuracy <= 1.0 for accuracy in saved["accuracies"])
    plain, _ = fit(LRFinder(at=[2], **QUICK), tmp_path=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), plain.parameters(), strict=True))


@pytest.mark.filterwarnings("ignore:LR finder. no suggestion")
def test_a_resumed_run_keeps_what_was_found(tmp_path):
    save = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    schedule = SGDR(cycles=2)

    def finder():
        return LRFinder(at="cycles", schedule=schedule, apply=True, folder=tmp_path, **QUICK)

    straight, _ = fit(finder(), schedule, callbacks=[save], enable_checkpointing=True)
    for step in (1, 15, 16, 17, 30):
        module, again = Learner(), finder()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not resumable.*")
            fit(again, schedule, module=module, ckpt=tmp_path / f"step={step}.ckpt")
        assert sorted(again.found) == [0, 16]
        if step > 16:  # before that the plain loader of this test shows other batches to the net the finder looks at
            assert module.trace == straight.trace[step:], f"resumed at {step}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"at": "end"}, r"lr_finder.at must be start, cycles or a list of epochs such as \[0,4\] \(got 'end'\)"),
        ({"at": [-1]}, r"lr_finder.at must be start, cycles or a list of epochs"),
        ({"at": []}, r"lr_finder.at must be start, cycles or a list of epochs"),
        ({"rule": "best"}, r"lr_finder.rule must be one of auto, steepest, .* \(got 'best'\)"),
        ({"ramp": "cosine"}, r"lr_finder.ramp must be one of exponential, linear, triangular \(got 'cosine'\)"),
        ({"sweeps": 0}, r"lr_finder.sweeps must be a whole number >= 1 \(got 0\); 3 is usual"),
        ({"num_steps": "abc"}, r"lr_finder.num_steps must be a whole number >= 1 \(got 'abc'\); 100 is usual"),
        ({"sweeps": 2.5}, r"lr_finder.sweeps must be a whole number >= 1 \(got 2.5\); 3 is usual"),
        ({"num_steps": 3}, r"lr_finder.num_steps must be >= 10 \(got 3\); 100 is usual"),
        ({"min_lr": 0.0}, r"lr_finder.min_lr and max_lr must be 0 < min_lr < max_lr \(got 0 and 10\)"),
        ({"min_lr": 1.0, "max_lr": 0.1}, r"\(got 1 and 0.1\); 1e-6 and 10 are usual"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        LRFinder(**options)


def test_cycles_need_a_schedule_that_has_some(tmp_path):
    with pytest.raises(ValueError, match=r"at=cycles needs to know whose cycles: LRFinder\(at='cycles', schedule=SGDR"):
        fit(LRFinder(at="cycles"), tmp_path=tmp_path)
    with pytest.raises(ValueError, match=r"at=cycles, but StepDecay has no cycles; use at=start"):
        fit(LRFinder(at="cycles", schedule=StepDecay()), tmp_path=tmp_path)


def test_epochs_that_never_come_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"lr_finder.at=\[9\], and the run has the epochs 0 to 2: it would never come"):
        fit(LRFinder(at=9), tmp_path=tmp_path)


def test_a_rate_that_a_torch_scheduler_would_overwrite_is_not_applied(tmp_path):
    class Own(Learner):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0)]

    with pytest.raises(ValueError, match=r"Own.configure_optimizers also returns LambdaLR"):
        quiet_trainer(callbacks=[LRFinder(apply=True)], max_epochs=1).fit(Own(), learnable_loader())


def test_the_triangular_test_answers_where_accuracy_rises(tmp_path):
    finder = LRFinder(ramp="triangular", num_steps=300, max_lr=20.0)
    fit(finder, tmp_path=tmp_path)
    assert finder.found[0]["suggestion"] is None or 0 < finder.found[0]["suggestion"] < 20
    saved = json.loads((tmp_path / "lr_find.json").read_text())
    assert saved["accuracies"][0] < 0.6
    assert max(saved["accuracies"]) > 0.95


def test_the_triangular_test_needs_validation_data(tmp_path):
    finder = LRFinder(ramp="triangular", num_steps=20, folder=tmp_path)
    with pytest.raises(ValueError, match=r"measures accuracy on validation data, and there is none; give the trainer"):
        quiet_trainer(callbacks=[finder], max_epochs=1).fit(Careful(), toy_loader())
