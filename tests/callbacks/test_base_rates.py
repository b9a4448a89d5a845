"""BaseRates: a fit's own rates, on any module's optimizer."""

import pytest
import torch

from lightcycle.callbacks import BaseRates, ParamScheduler
from lightcycle.schedules import Constant, CosineAnnealing, Horizon
from toys import Toy, quiet_trainer, toy_loader


def trace(lr, *, module=None, schedule=None, **options):
    module = module or Toy(groups=2)
    callbacks = [BaseRates(lr, **options), ParamScheduler(schedule or Constant())]
    quiet_trainer(callbacks=callbacks, max_epochs=1).fit(module, toy_loader())
    return module.trace


def test_one_number_is_the_fastest_groups_and_ratios_stay():
    plan = CosineAnnealing().bind(Horizon.of_epochs([5]))
    expected = [pytest.approx((0.5 * plan.factor(s), 0.05 * plan.factor(s))) for s in range(5)]
    assert trace(0.5, schedule=CosineAnnealing()) == expected


@pytest.mark.parametrize(
    ("lr", "expected"), [([0.003, 0.02], (0.003, 0.02)), ({"first": 1e-4, "last": 1e-2}, (1e-4, 1e-2))]
)
def test_rates_of_the_layer_groups(lr, expected):
    assert trace(lr, groups=2)[0] == pytest.approx(expected)


def test_an_optimizer_that_mixes_layer_groups_is_refused():
    with pytest.raises(ValueError, match="holds parameters of 2 of them; make a parameter group for each"):
        trace([0.1, 0.2], module=Toy(groups=1))
    with pytest.raises(ValueError, match="lr must be a number > 0"):
        BaseRates(-1)


def test_a_module_whose_rates_are_zero_gets_them_all_the_same():
    assert trace(0.5, module=Toy(groups=2, lrs=(0.0, 0.0)))[0] == (0.5, 0.5)
    assert torch.is_grad_enabled()
