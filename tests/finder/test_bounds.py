"""The range of a cyclical schedule, from the loss and from the accuracy."""

import math

import numpy as np
import pytest

from finder.curves import curve, textbook
from lightcycle.finder import accuracy_bound, bounds, suggest

LRS = np.linspace(0.0, 3.0, 61)


def test_peak_is_the_rules_answer_and_the_low_end_a_quarter_of_it():
    found = bounds(textbook())
    assert (found.low, found.high) == (suggest(textbook()).lr / 4, suggest(textbook()).lr)
    assert bounds(textbook(), ratio=10, rule="steepest").low == suggest(textbook(), "steepest").lr / 10
    assert found.reason == suggest(textbook()).reason


def test_no_bounds_where_there_is_no_suggestion():
    found = bounds(curve([1.0] * 30))
    assert (found.low, found.high) == (None, None)
    assert found.reason.startswith("the loss does not fall")


@pytest.mark.parametrize("ratio", [1.0, 0, -3, math.nan, math.inf])
def test_ratio_must_be_above_one(ratio):
    with pytest.raises(ValueError, match=r"ratio must be > 1 \(got .*\); 4 makes the lowest rate a quarter"):
        bounds(textbook(), ratio=ratio)


@pytest.mark.parametrize("peak", [0.8, 1.5, 2.2])
def test_accuracy_bound_is_085_times_where_the_accuracy_starts_to_fall(peak):
    accuracies = 0.9 - np.abs(LRS - peak) / 4 + 0.005 * np.random.default_rng(0).normal(size=61)
    found = accuracy_bound(LRS.tolist(), accuracies.tolist())
    assert found.lr == pytest.approx(0.85 * peak, abs=0.85 * 0.15)
    assert found.reason.endswith("where the accuracy starts to fall.")


def test_accuracy_bound_is_where_it_gets_ragged():
    accuracies = 0.9 - 0.6 * np.exp(-LRS) + np.where(LRS > 1.5, 0.2, 0.004) * np.random.default_rng(0).normal(size=61)
    found = accuracy_bound(LRS.tolist(), accuracies.tolist())
    assert 0.85 * 1.3 < found.lr < 0.85 * 1.8
    assert found.reason.endswith("where the accuracy gets ragged.")


@pytest.mark.parametrize(
    ("accuracies", "reason"),
    [
        (0.1 + 0 * LRS, "the accuracy does not rise by more than its noise (0 against 0)."),
        (LRS / 4, "the accuracy still rises at the end of the test, lr 3; raise max_lr."),
        (np.where(LRS > 0.2, np.nan, 0.5), "only 5 accuracies are finite, 10 are needed."),
    ],
    ids=["flat", "rising", "lost"],
)
def test_accuracy_bound_refuses_in_words(accuracies, reason):
    found = accuracy_bound(LRS.tolist(), accuracies.tolist())
    assert (found.lr, found.reason) == (None, reason)


def test_accuracies_and_rates_go_in_pairs():
    with pytest.raises(ValueError, match=r"3 accuracies for 2 rates; give one per rate\."):
        accuracy_bound([0.1, 0.2], [0.5, 0.6, 0.7])
