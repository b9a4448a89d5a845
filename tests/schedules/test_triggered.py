"""Policies that watch a metric: ``ReduceOnPlateau`` against torch's, ``Halving`` against its definition."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lightcycle.schedules import Halving, Horizon, ReduceOnPlateau

settings.register_profile("deterministic", derandomize=True, deadline=None)
deterministic = settings(settings.get_profile("deterministic"), max_examples=100)

# Eighths and quarters: products and sums are exact in floats, so a tie is a tie on both sides.
eighths = st.integers(0, 24).map(lambda n: n / 8)
plateaus = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["min", "max"]),
        "factor": st.sampled_from([0.1, 0.5, 0.25]),
        "patience": st.integers(0, 4),
        "threshold": st.sampled_from([0.0, 0.125, 0.25, 0.5]),
        "cooldown": st.integers(0, 4),
        "min_factor": st.sampled_from([0.0, 0.05, 0.3]),
    }
)


def ours(schedule, values):
    state, factors = schedule.start(), []
    for value in values:
        state = schedule.update(state, {"val/loss": value})
        factors.append(state["factor"])
    return factors


def torchs(options, values, threshold_mode="rel"):
    options = dict(options)
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    floor = options.pop("min_factor")
    scheduler = ReduceLROnPlateau(optimizer, min_lr=floor, eps=0.0, threshold_mode=threshold_mode, **options)
    rates = []
    for value in values:
        scheduler.step(value)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@deterministic
@given(plateaus, st.lists(eighths | st.sampled_from([math.nan, math.inf]), max_size=40))
def test_plateau_is_torch_for_metrics_that_are_not_negative(options, values):
    assert ours(ReduceOnPlateau(**options), values) == torchs(options, values)


@deterministic
@given(plateaus, st.lists(st.integers(-24, 24).map(lambda n: n / 8), max_size=40))
def test_plateau_without_a_threshold_is_torch_for_every_metric(options, values):
    options["threshold"] = 0.0
    assert ours(ReduceOnPlateau(**options), values) == torchs(options, values)


def test_plateau_asks_a_negative_metric_for_an_improvement_too():
    """torch's relative bound is best (1 - threshold), which lies on the wrong side of a negative best: standing still,
    even getting worse, counts as better there. Ours moves by threshold |best|, to the better side."""
    options = {"mode": "min", "factor": 0.5, "patience": 1, "threshold": 0.25, "cooldown": 0, "min_factor": 0.0}
    assert ours(ReduceOnPlateau(**options), [-1.0] * 4) == [1.0, 1.0, 0.5, 0.5]
    assert torchs(options, [-1.0] * 4) == [1.0] * 4
    assert ours(ReduceOnPlateau(**options), [-1.0, -1.25, -1.5, -2.0]) == [1.0, 1.0, 1.0, 1.0]
    options["mode"] = "max"
    assert ours(ReduceOnPlateau(**options), [-1.0] * 4) == [1.0, 1.0, 0.5, 0.5]
    assert torchs(options, [-1.0] * 4) == [1.0] * 4


@deterministic
@given(plateaus, st.lists(st.sampled_from([-1.0, -1.5, -0.5]), min_size=1, max_size=20))
def test_plateau_at_negative_values_mirrors_the_positive_ones(options, values):
    """Lower is better for x as higher is better for -x."""
    mirror = dict(options, mode="max" if options["mode"] == "min" else "min")
    assert ours(ReduceOnPlateau(**options), values) == ours(ReduceOnPlateau(**mirror), [-value for value in values])


def test_nothing_is_better_than_an_infinitely_good_metric():
    schedule = ReduceOnPlateau(patience=1)
    assert ours(schedule, [-math.inf, 0.5, 0.4]) == [1.0, 1.0, 0.1]


def test_the_time_part_of_a_plateau_schedule_is_flat_behind_its_warm_up():
    plan = ReduceOnPlateau(warmup=1, warmup_start=0.5).bind(Horizon.of_epochs([2, 2]))
    assert [plan.factor(i) for i in range(4)] == [0.5, 0.75, 1.0, 1.0]


# -- Halving ---------------------------------------------------------------------------------------------------------


@deterministic
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 40)), max_size=30))
def test_halving_halves_once_for_each_level_that_was_ever_reached(history):
    schedule = Halving(at_accuracy=[0.5, 0.75, 0.9], at_loss=[1.0, 0.25])
    state, seen = schedule.start(), []
    for accuracy, loss in history:
        seen.append((accuracy / 20, loss / 20))
        before = dict(state)
        state = schedule.update(state, {"val/acc": accuracy / 20, "val/loss": loss / 20})
        reached = sum(any(acc >= level for acc, _ in seen) for level in (0.5, 0.75, 0.9))
        reached += sum(any(low <= level for _, low in seen) for level in (1.0, 0.25))
        assert state["factor"] == 0.5**reached
        assert state["factor"] <= before["factor"]


def test_halving_watches_only_what_it_has_levels_for():
    assert Halving().metrics == ()
    assert Halving(at_accuracy=[0.9]).metrics == ("val/acc",)
    assert Halving(at_loss=[0.1], loss_metric="test/loss").metrics == ("test/loss",)
    assert Halving(at_loss=[0.1], at_accuracy=[0.9]).metrics == ("val/acc", "val/loss")
    assert ReduceOnPlateau(monitor="val/acc", mode="max").metrics == ("val/acc",)


def test_a_metric_that_is_not_a_number_reaches_no_level():
    schedule = Halving(at_accuracy=[0.0], at_loss=[1.0])
    assert schedule.update(schedule.start(), {"val/acc": math.nan, "val/loss": math.nan}) == schedule.start()


@pytest.mark.parametrize(
    "schedule", [Halving(at_accuracy=[0.5], at_loss=[1.0]), ReduceOnPlateau(patience=0, cooldown=1)]
)
def test_update_is_a_pure_function_of_a_state_that_survives_json(schedule):
    values = [{"val/acc": accuracy, "val/loss": loss} for accuracy, loss in ((0.4, 2.0), (0.6, 3.0), (0.6, 0.5))]
    straight = saved = schedule.start()
    for value in values:
        before = dict(straight)
        result = schedule.update(straight, value)
        assert straight == before
        saved = json.loads(json.dumps(schedule.update(saved, value)))
        straight = result
    assert saved == straight
    assert straight["factor"] < 1.0
