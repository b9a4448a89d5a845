"""The smoothed line neither lags nor bends, and its errors are those of the noise it is given."""

import numpy as np
import pytest

from lightcycle.finder.smooth import local_line, noise, running_median


@pytest.mark.parametrize("x", [np.linspace(-7, 1, 100), np.log10(np.linspace(0.01, 1, 60)), [0.0, 1.0]], ids=len)
def test_a_straight_line_comes_back_with_its_slope(x):
    line = local_line(x, 3 - 2 * np.asarray(x), 0.25)
    np.testing.assert_allclose(line.value, 3 - 2 * np.asarray(x), atol=1e-9)
    np.testing.assert_allclose(line.slope, -2, atol=1e-9)


@pytest.mark.parametrize("center", [30, 50, 71])
def test_a_symmetric_peak_stays_where_it_is(center):
    x = np.arange(101.0)
    line = local_line(x, np.exp(-0.5 * ((x - center) / 6) ** 2), 3.0)
    assert line.value.argmax() == center
    np.testing.assert_allclose(line.value[center - 10 : center], line.value[center + 10 : center : -1], atol=1e-8)


def test_equals_weighted_least_squares():
    rng = np.random.default_rng(0)
    x, y = np.arange(40.0), rng.normal(size=40)
    line = local_line(x, y, 2.0)
    for i in (0, 1, 17, 39):
        nearest = np.sort(np.abs(x - x[i]))
        width = min(max(2.0, nearest[3]), nearest[6])  # as documented: past 3 neighbors, not past an eighth or 6
        slope, value = np.polyfit(x - x[i], y, 1, w=np.exp(-0.25 * ((x - x[i]) / width) ** 2))  # polyfit squares w
        np.testing.assert_allclose([line.value[i], line.slope[i]], [value, slope], atol=1e-9)


def test_errors_are_those_of_many_noisy_lines():
    rng = np.random.default_rng(1)
    x = np.linspace(-7, 1, 60)
    lines = [local_line(x, rng.normal(size=60), 0.25) for _ in range(800)]
    np.testing.assert_allclose(np.std([each.value for each in lines], axis=0), lines[0].value_error, rtol=0.12)
    np.testing.assert_allclose(np.std([each.slope for each in lines], axis=0), lines[0].slope_error, rtol=0.12)


def test_noise_is_the_standard_deviation_and_wild_points_do_not_move_it():
    rng = np.random.default_rng(2)
    y = np.linspace(0, 50, 4000) + 0.3 * rng.normal(size=4000)
    assert noise(y) == pytest.approx(0.3, rel=0.05)
    y[::100] = 1e9
    assert noise(y) == pytest.approx(0.3, rel=0.15)
    assert noise([1.0, 2.0]) == 0.0


def test_running_median_is_the_median_of_each_window():
    y = np.random.default_rng(3).normal(size=30)
    expected = [np.median([y[j] for j in range(30) if abs(i - j) <= 2]) for i in range(30)]
    np.testing.assert_array_equal(running_median(y), expected)
