"""Fewer points, the same line; and a mean that does not lag."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightcycle.report.lines import smooth, thin


def test_short_lines_come_back_whole():
    x, y = thin(range(4000), range(4000))
    assert len(x) == 4000
    np.testing.assert_array_equal(x, y)


@given(st.integers(4001, 30_000), st.integers(0, 2**32 - 1), st.integers(100, 4000))
def test_thinned_lines_are_true_points_with_the_true_range(n, seed, limit):
    values = np.random.default_rng(seed).normal(size=n)
    keep = [n // 3, n // 3 + 1, -1, n]
    x, y = thin(range(n), values, keep, limit)
    assert len(x) <= limit
    assert np.all(np.diff(x) > 0)
    np.testing.assert_array_equal(y, values[x.astype(int)])
    assert (y.min(), y.max(), x[0], x[-1]) == (values.min(), values.max(), 0, n - 1)
    assert {n // 3, n // 3 + 1} <= set(x)


def test_one_step_spikes_survive():
    values = np.ones(100_000)
    spikes = np.arange(777, 100_000, 1000)
    values[spikes] = 2
    x, y = thin(range(100_000), values)
    np.testing.assert_array_equal(x[y == 2], spikes)


def test_more_restarts_than_points_stay_within_the_limit():
    x, y = thin(range(50_000), [i % 2 for i in range(50_000)], keep=range(50_000))
    assert len(x) <= 4000
    assert {0.0, 1.0} == set(y)


def test_thin_skips_over_nan():
    values = np.arange(10_000.0)
    values[2000:4000] = math.nan
    _, y = thin(range(10_000), values)
    assert np.isnan(y).any()
    assert np.nanmax(y) == 9999


def test_smooth_is_the_centered_mean_of_the_centered_mean():
    values = np.random.default_rng(0).normal(size=50)

    def mean(y):
        return [np.mean(y[max(0, i - 2) : i + 3]) for i in range(len(y))]

    np.testing.assert_allclose(smooth(values, window=5), mean(mean(values)), atol=1e-12)


@pytest.mark.parametrize("window", [0, 1])
def test_no_window_changes_nothing(window):
    assert smooth([1.0, 5.0, 2.0], window).tolist() == [1, 5, 2]


def test_smooth_does_not_lag_and_leaves_out_what_is_not_finite():
    ramp = np.arange(100.0)
    np.testing.assert_allclose(smooth(ramp, 9)[10:-10], ramp[10:-10])
    holed = np.ones(20)
    holed[[3, 10]] = math.nan, math.inf
    np.testing.assert_allclose(smooth(holed, 5), 1)
    assert np.isnan(smooth([math.nan] * 5, 3)).all()
    assert smooth([], 3).size == 0
