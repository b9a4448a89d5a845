"""StopOnOverfitting: it judges at the ends of cycles alone, and the best of them is kept."""

import pytest
import torch

from lightcycle.callbacks import LastCheckpoint, ParamScheduler, StepSeed, StopOnOverfitting
from lightcycle.schedules import SGDR, Constant, CosineAnnealing
from toys import Toy, quiet_trainer, toy_loader


class Told(Toy):
    """Logs the validation losses that it is told, before and behind each epoch; its training loss falls as told."""

    def __init__(self, losses, slope=-0.1, before=99.0):
        torch.manual_seed(0)
        super().__init__(lrs=(0.01,))
        self.losses, self.slope, self.before, self.states = losses, slope, before, []

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss - loss.detach() + 1.0 + self.slope * self.current_epoch

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.before if self.trainer.sanity_checking else self.losses[self.current_epoch])

    def on_train_epoch_end(self):
        self.states.append({name: value.clone() for name, value in self.state_dict().items()})


def fit(module, *callbacks, epochs=7, schedule=None, ckpt=None, **options):
    scheduler = ParamScheduler(schedule or SGDR(cycles=3))
    trainer = quiet_trainer(callbacks=[StepSeed(0), scheduler, *callbacks], max_epochs=epochs, **options)
    trainer.fit(module, toy_loader(), toy_loader(), ckpt_path=ckpt, weights_only=True)
    return trainer


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a | b)


def test_it_stops_where_a_cycle_over_fits_and_puts_the_best_back():
    module, stop = Told([5, 5, 1.0, 9, 9, 9, 2.0, 0]), StopOnOverfitting()
    trainer = fit(module, stop, schedule=SGDR(cycles=4), epochs=15)
    assert (trainer.current_epoch, trainer.global_step) == (7, 35)
    assert [(end["step"], end["val"]) for end in stop.ends] == [(5, 5.0), (15, 1.0), (35, 2.0)]
    assert [end["train"] for end in stop.ends] == pytest.approx([1.0, 0.8, 0.4])
    assert same(module.state_dict(), module.states[2])
    assert not same(module.states[2], module.states[6])
    assert stop.figures == {"val/loss": 1.0}


def test_a_bad_epoch_inside_a_cycle_is_not_judged():
    module, stop = Told([5, 9, 4, 9, 9, 9, 3]), StopOnOverfitting()
    assert fit(module, stop).current_epoch == 7
    assert same(module.state_dict(), module.states[6])


def test_a_validation_loss_that_rises_with_the_training_loss_is_no_over_fitting():
    module, stop = Told([1, 9, 2, 9, 9, 9, 3], slope=0.1), StopOnOverfitting()
    assert fit(module, stop).current_epoch == 7
    assert same(module.state_dict(), module.states[0])  # and yet the best is kept


def test_a_fit_that_only_harms_leaves_the_weights_it_began_with():
    module, stop = Told([5, 5, 4.0, 5, 5, 5, 6.0], before=3.0), StopOnOverfitting()
    start = {name: value.clone() for name, value in module.state_dict().items()}
    trainer = fit(module, stop, schedule=SGDR(cycles=4), epochs=15)
    assert trainer.current_epoch == 7  # what over-fits is told by the ends of cycles alone
    assert same(module.state_dict(), start)
    assert stop.figures == {"val/loss": 3.0}
    assert trainer.num_sanity_val_steps == 0  # as it was


def test_the_whole_validation_set_judges_the_weights_it_began_with():
    class Counted(Told):
        batches = 0

        def validation_step(self, batch, batch_idx):
            self.batches += self.trainer.sanity_checking
            super().validation_step(batch, batch_idx)

    module = Counted([1] * 7)
    fit(module, StopOnOverfitting())
    assert module.batches == len(toy_loader())


def test_patience_counts_cycles_in_a_row():
    losses = [3, 4, 2, 5, 5, 5]
    counted = [
        fit(Told(losses), StopOnOverfitting(n), schedule=SGDR(cycles=6, cycle_mult=1), epochs=6) for n in (1, 2, 3)
    ]
    assert [trainer.current_epoch for trainer in counted] == [2, 5, 6]


@pytest.mark.parametrize("before", [99.0, 0.5])
def test_a_resumed_fit_stops_where_the_straight_one_does(tmp_path, before):
    losses = [5, 5, 1.0, 9, 9, 9, 2.0]
    straight = Told(losses, before=before)
    fit(straight, StopOnOverfitting(), schedule=SGDR(cycles=4), epochs=15)

    class Ends(Exception):
        pass

    class Cut(Told):
        def on_train_batch_start(self, batch, batch_idx):
            if self.global_step == 22:
                raise Ends

    options = {"schedule": SGDR(cycles=4), "epochs": 15, "enable_checkpointing": True}
    with pytest.raises(Ends):
        fit(Cut(losses, before=before), StopOnOverfitting(), LastCheckpoint(tmp_path), **options)
    resumed, stop = Told(losses, before=before), StopOnOverfitting()
    trainer = fit(resumed, stop, LastCheckpoint(tmp_path), ckpt=tmp_path / "last.ckpt", **options)
    assert trainer.global_step == 35
    assert [end["step"] for end in stop.ends] == [5, 15, 35]
    assert same(resumed.state_dict(), straight.state_dict())


REFUSED = [
    (Constant(), {}, "judges at the ends of cycles, and Constant has none; use schedule=sgdr or clr"),
    (SGDR(cycles=2, cycle_len=0.5, cycle_mult=13), {}, "one ends inside an epoch, after 2 steps"),
    (CosineAnnealing(), {"check_val_every_n_epoch": 2}, "needs a validation after every epoch"),
    (CosineAnnealing(), {"limit_val_batches": 0}, "needs a validation after every epoch"),
]


@pytest.mark.parametrize(("schedule", "options", "text"), REFUSED, ids=lambda x: str(x)[:40])
def test_what_it_cannot_judge_is_refused(schedule, options, text):
    with pytest.raises(ValueError, match=text):
        fit(Told([1] * 7), StopOnOverfitting(), schedule=schedule, **options)


def test_it_needs_a_schedule_and_a_loss():
    with pytest.raises(ValueError, match="add a ParamScheduler with cycles"):
        quiet_trainer(callbacks=[StopOnOverfitting()], max_epochs=1).fit(Toy(), toy_loader(), toy_loader())
    with pytest.raises(ValueError, match=r"watches val/error, which nobody logged; logged are: val/loss"):
        fit(Told([1] * 7), StopOnOverfitting(monitor="val/error"))
    with pytest.raises(ValueError, match=r"patience must be a whole number >= 1 \(got 0\); 1 is usual"):
        StopOnOverfitting(patience=0)


def test_a_run_that_is_cut_short_for_a_look_is_not_refused():
    module, stop = Told([1] * 7), StopOnOverfitting()
    assert fit(module, stop, schedule=SGDR(cycles=3), max_steps=8).global_step == 8
