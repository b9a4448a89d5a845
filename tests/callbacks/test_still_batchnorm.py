"""StillBatchNorm: statistics stay, weights train, modes come back, and a range test sees the same."""

import pytest
import torch
from torch import nn

from lightcycle.callbacks import GradualUnfreezing, LRFinder, ParamScheduler, StepSeed, StillBatchNorm
from lightcycle.schedules import Constant
from toys import Toy, quiet_trainer, toy_loader


def fit(*callbacks, epochs=2, validated=True):
    torch.manual_seed(0)
    module = Toy()
    trainer = quiet_trainer(callbacks=[StepSeed(0), *callbacks, ParamScheduler(Constant())], max_epochs=epochs)
    trainer.fit(module, toy_loader(), toy_loader() if validated else None)
    return module


@pytest.mark.parametrize("validated", [True, False])
def test_the_statistics_stay_and_the_weights_train(validated):
    torch.manual_seed(0)
    before, module = Toy().body[1], fit(StillBatchNorm(), validated=validated)
    after = module.body[1]
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(after, name), getattr(before, name)), name
    assert not torch.equal(after.weight, before.weight)
    assert not torch.equal(fit().body[1].running_mean, before.running_mean)  # they move without it


def test_modes_come_back():
    module = fit(StillBatchNorm())
    assert all(part.training for part in module.modules())


def test_training_normalizes_as_validation_does():
    seen = []

    class Watched(StillBatchNorm):
        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            seen.append(
                [part.training for part in pl_module.modules() if isinstance(part, nn.BatchNorm1d | nn.Dropout)]
            )

    fit(Watched())
    assert seen
    assert all(modes == [False, True] for modes in seen)  # dropout is on


def test_it_holds_in_a_range_test_and_behind_an_unfreeze():
    torch.manual_seed(0)
    before = Toy().body[1].running_mean
    held = fit(StillBatchNorm(), LRFinder(apply=False, num_steps=10, sweeps=1))
    assert torch.equal(held.body[1].running_mean, before)
    woken = fit(GradualUnfreezing(at=[1], groups={"body": "body", "head": "head"}), StillBatchNorm())
    assert torch.equal(woken.body[1].running_mean, before)
    assert not torch.equal(woken.body[0].weight, fit(StillBatchNorm(), epochs=1).body[0].weight)
