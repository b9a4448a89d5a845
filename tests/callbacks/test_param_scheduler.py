"""ParamScheduler: what a real run applied equals the plan, under everything Lightning does to steps."""

import math
import warnings
from contextlib import contextmanager

import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ModelCheckpoint
from torch.utils.data import DataLoader, IterableDataset

from lightcycle.callbacks import ParamScheduler
from lightcycle.schedules import (
    SGDR,
    Constant,
    CosineAnnealing,
    CyclicalLR,
    Halving,
    Horizon,
    OneCycle,
    ReduceOnPlateau,
    StepDecay,
)
from toys import Toy, quiet_trainer, toy_loader

BASE = 0.1  # the toy's rate


def fit(schedule, module=None, loader=None, val=None, *, callbacks=(), scheduler=None, **options):
    module, scheduler = module or Toy(), scheduler or ParamScheduler(schedule)
    path = options.pop("ckpt_path", None)
    writes = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    options = {"max_epochs": 3, "enable_checkpointing": writes, **options}
    trainer = quiet_trainer(callbacks=[scheduler, *callbacks], **options)
    trainer.fit(module, toy_loader() if loader is None else loader, val, ckpt_path=path, weights_only=True)
    return module, scheduler


def planned(schedule, lengths, stretch=False):
    plan = schedule.bind(Horizon.of_epochs(lengths), stretch=stretch)
    return [BASE * plan.factor(step) for step in range(plan.steps)]


def rates(module):
    return [step[0] for step in module.trace]


SHORT = [
    SGDR(cycles=2),
    SGDR(cycles=3, cycle_mult=1),
    OneCycle(),
    OneCycle(style="linear"),
    CosineAnnealing(warmup=1.0),
    CyclicalLR(cycles=3, step_size=0.5),
    StepDecay(every=1),
    Halving(),
    Constant(),
]


@pytest.mark.parametrize("schedule", SHORT, ids=repr)
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_real_run_applies_the_plan(schedule, accumulate):
    # 5 batches an epoch: with 3 batches a step, the second window of every epoch is a partial one.
    module, scheduler = fit(schedule, accumulate_grad_batches=accumulate)
    assert rates(module) == planned(schedule, [math.ceil(5 / accumulate)] * 3)
    assert scheduler.plan.steps == len(module.trace)


def test_limit_train_batches_shortens_every_epoch():
    module, _ = fit(SGDR(cycles=2), limit_train_batches=4)
    assert rates(module) == planned(SGDR(cycles=2), [4, 4, 4])


def test_max_steps_holds_the_whole_schedule_in_small():
    module, _ = fit(SGDR(cycles=2), max_steps=7)
    assert rates(module) == [BASE * f for f in _factors(SGDR(cycles=2).bind(Horizon(7, (5, 5)), stretch=True))]
    assert rates(module)[-1] == 0.0


def test_max_steps_on_the_border_of_an_epoch_cuts_short_too():
    module, _ = fit(SGDR(cycles=2), max_steps=10)
    assert rates(module) == planned(SGDR(cycles=2), [5, 5], stretch=True)


def test_accumulation_that_changes_between_epochs():
    module, scheduler = fit(CosineAnnealing(), callbacks=[GradientAccumulationScheduler({0: 4, 1: 1})])
    assert scheduler.plan.horizon.lengths == (2, 5, 5)
    assert rates(module) == planned(CosineAnnealing(), [2, 5, 5])


class Endless(IterableDataset):
    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        while True:
            yield torch.randn(6, generator=generator), torch.tensor(1)


def test_data_without_a_length_needs_max_steps():
    loader = DataLoader(Endless(), batch_size=4)
    module, _ = fit(CosineAnnealing(), loader=loader, max_steps=9, max_epochs=-1)
    assert rates(module) == [BASE * f for f in _factors(CosineAnnealing().bind(Horizon(9)))]


def test_data_without_a_length_can_be_told_what_an_epoch_is():
    scheduler = ParamScheduler(StepDecay(every=1), steps_per_epoch=4)
    module, _ = fit(None, scheduler=scheduler, loader=DataLoader(Endless(), batch_size=4), max_steps=9, max_epochs=-1)
    assert rates(module) == pytest.approx([0.1] * 4 + [0.01] * 4 + [0.001])


def test_nothing_that_bounds_the_run_is_an_error():
    with pytest.raises(
        ValueError, match=r"neither max_steps nor epochs of known length say so; give the Trainer max_steps"
    ):
        fit(CosineAnnealing(), loader=DataLoader(Endless(), batch_size=4), max_epochs=3)


def test_epochs_schedule_without_epochs_is_an_error():
    with pytest.raises(ValueError, match=r"schedule.every is in epochs .* say how many optimizer steps make an epoch"):
        fit(StepDecay(), loader=DataLoader(Endless(), batch_size=4), max_steps=9, max_epochs=-1)


@pytest.mark.parametrize("groups", [1, 2])
def test_every_group_keeps_its_own_base_rate(groups):
    module, _ = fit(SGDR(cycles=2), module=Toy(groups=groups))
    for step in module.trace:
        assert len(step) == groups
        assert all(rate == pytest.approx(step[0] * 0.1**i) for i, rate in enumerate(step))


@pytest.mark.parametrize(
    ("optimizer", "read"),
    [("sgd", lambda g: g["momentum"]), ("adam", lambda g: g["betas"][0]), ("adamw", lambda g: g["betas"][0])],
)
def test_momentum_moves_against_the_rate(optimizer, read):
    class Watching(Toy):
        def on_before_optimizer_step(self, opt):
            self.trace.append((opt.param_groups[0]["lr"], read(opt.param_groups[0])))

    module, scheduler = fit(OneCycle(), module=Watching(optimizer=optimizer))
    assert [m for _, m in module.trace] == [scheduler.plan.momentum(step) for step in range(15)]
    assert min(module.trace, key=lambda pair: pair[1])[0] == BASE


def test_optimizers_without_momentum_are_left_alone():
    module, _ = fit(OneCycle(), module=Toy(optimizer="adagrad"))
    assert rates(module) == planned(OneCycle(), [5, 5, 5])


def test_a_rate_in_a_tensor_is_filled_in_place():
    class Capturable(Toy):
        def configure_optimizers(self):
            self.rate = torch.tensor(BASE)
            return torch.optim.Adam(self.parameters(), lr=self.rate, capturable=False, foreach=False)

    module, _ = fit(CosineAnnealing(), module=Capturable())
    assert rates(module) == pytest.approx(planned(CosineAnnealing(), [5, 5, 5]), rel=1e-6)
    assert module.rate.item() == 0.0


# -- metrics ---------------------------------------------------------------------------------------------------------


class Scripted(Toy):
    """Logs validation losses that were written down before."""

    losses = (1.0, 0.5, 0.5, 0.5, 0.5, 0.4)

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.losses[self.current_epoch])
        self.log("val/acc", 1 - self.losses[self.current_epoch])


def test_plateau_reduces_where_torchs_does():
    module, _ = fit(ReduceOnPlateau(patience=1), module=Scripted(), val=toy_loader(), max_epochs=6)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=BASE)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
    expected = []
    for loss in Scripted.losses:
        expected += [optimizer.param_groups[0]["lr"]] * 5
        theirs.step(loss)
    assert rates(module) == pytest.approx(expected)
    assert len(set(expected)) > 1


def test_halving_at_an_accuracy_and_at_a_loss():
    schedule = Halving(at_accuracy=[0.5], at_loss=[0.45])
    module, _ = fit(schedule, module=Scripted(), val=toy_loader(), max_epochs=6)
    assert rates(module) == [0.1] * 10 + [0.05] * 20
    module, _ = fit(Halving(at_loss=[1.0, 0.5]), module=Scripted(), val=toy_loader(), max_epochs=3)
    assert rates(module) == [0.1] * 5 + [0.05] * 5 + [0.025] * 5


def test_a_metric_of_the_training_epoch_can_be_watched():
    _, scheduler = fit(ReduceOnPlateau(monitor="train/loss", threshold=1e9, patience=0), val=toy_loader())
    assert scheduler.metric_state["factor"] == pytest.approx(0.01)  # the first sets the best, the others never beat it


def test_a_metric_that_nobody_logs_is_an_error_that_lists_what_there_is():
    with pytest.raises(ValueError, match=r"watches val/f1, which nobody logged; logged are: .*val/acc, val/loss"):
        fit(ReduceOnPlateau(monitor="val/f1"), val=toy_loader())


# -- refusals --------------------------------------------------------------------------------------------------------


def test_a_second_scheduler_of_the_same_quantity_is_refused():
    with pytest.raises(ValueError, match=r"two ParamSchedulers set the lr; drop one, or give each its own"):
        fit(
            None,
            scheduler=ParamScheduler(Constant(), quantities=["lr"]),
            callbacks=[ParamScheduler(OneCycle())],
        )


def test_two_schedulers_of_different_quantities_work_together():
    other = ParamScheduler(OneCycle(), quantities=["momentum"])
    module, _ = fit(None, scheduler=ParamScheduler(StepDecay(every=1), quantities=["lr"]), callbacks=[other])
    assert rates(module) == planned(StepDecay(every=1), [5, 5, 5])
    assert other.plan.momentum(14) == 0.95


def test_a_module_with_its_own_lr_scheduler_is_refused():
    class Own(Toy):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    with pytest.raises(ValueError, match=r"Own.configure_optimizers also returns StepLR.*drop the ParamScheduler"):
        fit(Constant(), module=Own())


def test_several_optimizers_and_manual_optimization_are_refused():
    class Manual(Toy):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

    with pytest.raises(ValueError, match=r"Manual optimizes manually"):
        fit(Constant(), module=Manual())

    class Two(Toy):
        def configure_optimizers(self):
            return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.body, self.head)]

    with pytest.raises(RuntimeError, match=r"multiple optimizers is only supported with manual optimization"):
        fit(Constant(), module=Two())


def test_a_schedule_that_does_not_fit_the_run_is_refused():
    message = (
        r"SGDR is 7 epochs long \(1 \+ 2 \+ 4\) and the run is 3: make the run 7 epochs, or stretch .*cycle_len=null"
    )
    with pytest.raises(ValueError, match=message):
        fit(SGDR(cycles=3))
    module, _ = fit(None, scheduler=ParamScheduler(SGDR(cycles=3), stretch=True))
    assert rates(module) == planned(SGDR(cycles=3), [5, 5, 5], stretch=True)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"quantities must be some of lr, momentum \(got \['weight_decay'\]\)"):
        ParamScheduler(Constant(), quantities=["weight_decay"])
    with pytest.raises(ValueError, match=r"on_resume must be one of same, keep, replan \(got 'jump'\)"):
        ParamScheduler(Constant(), on_resume="jump")


# -- several fits, resume --------------------------------------------------------------------------------------------


def test_a_second_fit_of_the_same_trainer_starts_the_schedule_again():
    module, scheduler = Toy(), ParamScheduler(CosineAnnealing())
    trainer = quiet_trainer(max_epochs=2, callbacks=[scheduler])
    trainer.fit(module, toy_loader())
    trainer.fit_loop.max_epochs = 5
    trainer.fit(module, toy_loader())
    assert rates(module) == planned(CosineAnnealing(), [5, 5]) + planned(CosineAnnealing(), [5, 5, 5])


def checkpoints(tmp_path):
    return ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1, filename="{step}")


@pytest.mark.parametrize("schedule", [SGDR(cycles=2), OneCycle(), CyclicalLR(cycles=3, step_size=0.5)], ids=repr)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resume_at_every_step_continues_the_trace(schedule, accumulate, tmp_path):
    options = {"accumulate_grad_batches": accumulate}
    straight, scheduler = fit(schedule, callbacks=[checkpoints(tmp_path)], **options)
    for step in range(1, scheduler.plan.steps):
        module = Toy()
        with _no_warning_about_the_loader():
            fit(schedule, module=module, ckpt_path=tmp_path / f"step={step}.ckpt", **options)
        assert module.trace == straight.trace[step:], f"resumed at {step}"


def test_resume_keeps_the_base_rates_and_the_memory_of_metrics(tmp_path):
    schedule, options = ReduceOnPlateau(patience=1), {"max_epochs": 6, "val": toy_loader()}
    straight, _ = fit(schedule, module=Scripted(), callbacks=[checkpoints(tmp_path)], **options)
    # Not 15: Lightning resumes a checkpoint of an epoch's last batch behind the validation that belongs to it.
    for step in (3, 7, 12, 18, 24, 29):
        module = Scripted(lrs=(5.0,))  # somebody edited the rate: the checkpoint's counts
        with _no_warning_about_the_loader():
            fit(schedule, module=module, ckpt_path=tmp_path / f"step={step}.ckpt", **options)
        assert module.trace == straight.trace[step:], f"resumed at {step}"


def test_base_rates_that_were_not_configured_are_said_in_three_digits(tmp_path, caplog):
    fit(CosineAnnealing(), module=Scripted(lrs=(1 / 3, 1 / 3)), callbacks=[checkpoints(tmp_path)], max_epochs=3)
    with _no_warning_about_the_loader(), caplog.at_level("INFO"):
        fit(CosineAnnealing(), module=Scripted(lrs=(0.1, 0.1)), ckpt_path=tmp_path / "step=7.ckpt", max_epochs=3)
    assert "resumed with the checkpoint's base rates 0.333, not 0.1\n" in caplog.text


def test_resume_with_another_length_is_a_choice(tmp_path):
    options = {"ckpt_path": tmp_path / "step=10.ckpt", "max_epochs": 5}
    fit(CosineAnnealing(), callbacks=[checkpoints(tmp_path)])
    message = r"planned as CosineAnnealing\(.*\) over 15 steps, and this run is .* over 25: the rate would jump"
    with pytest.raises(ValueError, match=message):
        fit(CosineAnnealing(), **options)
    kept, _ = fit(None, scheduler=ParamScheduler(CosineAnnealing(), on_resume="keep"), **options)
    assert rates(kept) == planned(CosineAnnealing(), [5, 5, 5])[10:] + [0.0] * 10
    anew, _ = fit(None, scheduler=ParamScheduler(CosineAnnealing(), on_resume="replan"), **options)
    assert rates(anew) == planned(CosineAnnealing(), [5] * 5)[10:]


def test_the_checkpoint_loads_without_pickle(tmp_path):
    fit(ReduceOnPlateau(), val=toy_loader(), callbacks=[checkpoints(tmp_path)])
    saved = torch.load(tmp_path / "step=10.ckpt", weights_only=True)
    assert "ParamScheduler[lr,momentum]" in saved["callbacks"]


def _factors(plan):
    return [plan.factor(step) for step in range(plan.steps)]


@contextmanager
def _no_warning_about_the_loader():
    """The plain loader of these tests starts its epoch anew on resume; only the rates are compared."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*dataloader is not resumable.*")
        yield
