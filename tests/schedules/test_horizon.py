"""Epochs and steps: exact at every border, and back."""

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightcycle.schedules import Horizon

settings.register_profile("deterministic", derandomize=True, deadline=None)
deterministic = settings(settings.get_profile("deterministic"), max_examples=100)
lengths = st.lists(st.integers(1, 300), min_size=1, max_size=12)


@deterministic
@given(lengths)
def test_borders_are_exact_both_ways(lengths):
    run = Horizon.of_epochs(lengths)
    assert (run.steps, run.epochs) == (sum(lengths), float(len(lengths)))
    for epoch in range(len(lengths) + 1):
        assert run.step_at(float(epoch)) == sum(lengths[:epoch])
        assert run.step_at_fraction(epoch / len(lengths)) == sum(lengths[:epoch])
        assert run.epoch_at(sum(lengths[:epoch])) == epoch


@deterministic
@given(lengths)
def test_every_step_has_its_own_time(lengths):
    run = Horizon.of_epochs(lengths)
    times = [run.epoch_at(step) for step in range(run.steps + 1)]
    assert times == sorted(set(times))
    assert [run.step_at(time) for time in times] == list(range(run.steps + 1))
    assert run.step_at(math.nextafter(1.0, 0.0)) == run.step_at(math.nextafter(1.0, 2.0)) == lengths[0]


@deterministic
@given(st.integers(1, 1000), st.integers(1, 100))
def test_a_run_of_so_many_steps_may_end_within_an_epoch(steps, per_epoch):
    run = Horizon.of_steps(steps, per_epoch)
    assert run.steps == steps
    assert run.epochs == pytest.approx(steps / per_epoch, rel=1e-12)
    assert run.step_at(run.epochs) == run.step_at(run.epochs + 5) == steps
    assert run.step_at_fraction(1.0) == steps


def test_a_run_without_epochs_counts_in_steps():
    run = Horizon.of_steps(200)
    assert (run.epochs, run.starts, run.step_at_fraction(0.25)) == (None, (), 50)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Horizon(0), "a run needs at least 1 optimizer step (got 0); give it data and epochs"),
        (lambda: Horizon.of_epochs([]), "a run needs at least 1 optimizer step (got 0); give it data and epochs"),
        (lambda: Horizon.of_epochs([3, 0]), "every epoch needs at least 1 optimizer step (got (3, 0))"),
        (lambda: Horizon(5, (2, 2)), "epochs of (2, 2) steps do not add up to a run of 5 steps"),
        (lambda: Horizon(2, (2, 2)), "epochs of (2, 2) steps do not add up to a run of 2 steps"),
        (lambda: Horizon.of_steps(5, 0), "steps_per_epoch must be >= 1 (got 0); None has no epochs"),
        (lambda: Horizon(5).epoch_at(2), "this run has no epochs: its data has no length"),
        (lambda: Horizon(5).step_at(0.5), "this run has no epochs: its data has no length"),
    ],
)
def test_errors(make, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        make()
