"""The record is what was trained with, has a bound, and goes on after a resume."""

import pytest
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger

from lightcycle.callbacks import ParamScheduler, Recorder, StepSeed
from lightcycle.callbacks.recorder import momentum_of
from lightcycle.schedules import Constant, CosineAnnealing, OneCycle
from toys import Toy, quiet_trainer, toy_loader


class Kept(Logger):
    """A logger that keeps what it is given."""

    name, version = "kept", ""

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, params, *args, **kwargs):
        pass


def fit(recorder, schedule=None, module=None, val=None, callbacks=(), ckpt=None, **options):
    module = module or Toy()
    called = [ParamScheduler(schedule or CosineAnnealing()), *callbacks, recorder]
    options = {"max_epochs": 3, "enable_checkpointing": any(isinstance(c, Checkpoint) for c in callbacks), **options}
    quiet_trainer(callbacks=called, **options).fit(
        module, toy_loader(), val_dataloaders=val, ckpt_path=ckpt, weights_only=True
    )
    return module


def test_points_are_what_the_optimizer_had():
    recorder = Recorder()
    module = fit(recorder, OneCycle(), Toy(groups=2))
    assert [(step, tuple(rates)) for step, rates, _, _ in recorder.points] == list(enumerate(module.trace))
    momenta = [momentum for _, _, momentum, _ in recorder.points]
    assert (momenta[0], min(momenta), momenta[-1]) == (0.95, pytest.approx(0.85, abs=0.01), 0.95)
    assert recorder.groups == ["group 0", "group 1"]


def test_losses_are_those_of_the_steps():
    class Counting(Toy):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * 0 + self.global_step

    recorder = Recorder()
    fit(recorder, module=Counting())
    assert [loss for *_, loss in recorder.points] == list(range(15))


def test_an_accumulated_step_is_one_point_with_an_undivided_loss():
    class One(Toy):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * 0 + 1

    recorder = Recorder()
    fit(recorder, module=One(), accumulate_grad_batches=2)  # windows of 2, 2 and 1 of 5 batches
    assert [step for step, *_ in recorder.points] == list(range(9))
    assert [loss for *_, loss in recorder.points] == [1.0] * 9


def test_validations_are_remembered_with_the_steps_done():
    recorder = Recorder("val/acc")
    fit(recorder, val=toy_loader())
    assert [step for step, _ in recorder.validations] == [5, 10, 15]
    assert recorder.validated_at == 15
    fit(sanity := Recorder("val/acc"), val=toy_loader(), num_sanity_val_steps=1)
    assert [step for step, _ in sanity.validations] == [5, 10, 15]
    fit(other := Recorder("nobody/logs"), val=toy_loader())
    assert (other.validations, other.validated_at) == ([], 15)


def test_the_validation_loss_is_remembered_beside_what_is_watched():
    class Telling(Toy):
        def validation_step(self, batch, batch_idx):
            self.log_dict({f"val/{name}": 10.0 * k + self.global_step for k, name in enumerate(self.told)})

    def told(*names, watch):
        module, recorder = Telling(), Recorder(watch)
        module.told = names
        fit(recorder, module=module, val=toy_loader())
        return recorder

    recorder = told("acc", "loss", watch="val/acc")
    assert recorder.validations == [(5, 5.0), (10, 10.0), (15, 15.0)]
    assert recorder.val_losses == [(5, 15.0), (10, 20.0), (15, 25.0)]
    watched = told("acc", "loss", watch="val/loss")
    assert watched.validations == watched.val_losses == recorder.val_losses
    assert told("acc", watch="val/acc").val_losses == []
    (resumed := Recorder()).load_state_dict(recorder.state_dict())
    assert resumed.val_losses == recorder.val_losses
    old = {name: value for name, value in recorder.state_dict().items() if name != "val_losses"}
    (resumed := Recorder()).load_state_dict(old)
    assert (resumed.validations, resumed.val_losses) == (recorder.validations, [])


@pytest.mark.parametrize("limit", [2, 4, 7])
def test_the_number_of_points_is_bounded(limit):
    recorder = Recorder(limit=limit)
    module = fit(recorder, max_epochs=20)
    assert limit // 2 <= len(recorder.points) <= limit + 1
    steps = [step for step, *_ in recorder.points]
    assert steps == [*range(0, 99, recorder.stride), 99]  # and the last, where the rate is lowest
    assert all(tuple(rates) == module.trace[step] for step, rates, *_ in recorder.points)
    with pytest.raises(ValueError, match=r"limit must be >= 2 \(got 1\)"):
        Recorder(limit=1)


def test_a_resumed_run_has_the_whole_record(tmp_path):
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    straight = Recorder()
    fit(straight, val=toy_loader(), callbacks=[StepSeed(), saver])
    for step in (5, 10):  # the toy's plain loader starts an epoch anew
        resumed = Recorder()
        fit(resumed, val=toy_loader(), callbacks=[StepSeed()], ckpt=tmp_path / f"step={step}.ckpt")
        assert resumed.points == straight.points


def test_the_record_survives_an_error():
    class Broken(Toy):
        def training_step(self, batch, batch_idx):
            if self.global_step == 7:
                raise RuntimeError("out of memory, say")
            return super().training_step(batch, batch_idx)

    recorder = Recorder()
    with pytest.raises(RuntimeError, match="out of memory"):
        fit(recorder, module=Broken())
    assert [step for step, *_ in recorder.points] == list(range(7))


def test_momentum_is_read_where_there_is_one():
    tensors = [torch.zeros(1)]
    read = {
        "SGD": momentum_of(torch.optim.SGD(tensors, lr=1, momentum=0.8).param_groups[0]),
        "Adam": momentum_of(torch.optim.Adam(tensors, betas=(0.7, 0.9)).param_groups[0]),
        "Adagrad": momentum_of(torch.optim.Adagrad(tensors).param_groups[0]),
    }
    assert read == {"SGD": 0.8, "Adam": 0.7, "Adagrad": None}


def test_rates_go_to_the_loggers_one_by_one_where_groups_differ():
    def logged(module):
        kept = Kept()
        fit(Recorder(limit=2), Constant(), module, logger=kept, log_every_n_steps=5)
        return [(step, metrics) for step, metrics in kept.rows if "momentum" in metrics]

    assert logged(Toy()) == [(step, {"lr": 0.1, "momentum": 0.9}) for step in (0, 5, 10)]
    assert logged(Toy(groups=2))[0] == (0, {"lr/group 0": 0.1, "lr/group 1": 0.01, "momentum": 0.9})
