"""What a curve says of the losses it holds."""

import math

import numpy as np
import pytest

from finder.curves import curve, textbook
from lightcycle.finder import Curve


def test_mean_and_band_over_sweeps_and_where_the_first_is_lost():
    seen = curve([4.0, 3.0, 2.0, math.nan, 1.0], [2.0, 1.0, 4.0, 8.0], [3.0, 2.0, 0.0, 1.0, math.inf])
    assert seen.mean[:3] == [3.0, 2.0, 2.0]
    assert np.isnan(seen.mean[3:]).all()
    assert [line[:3] for line in seen.band] == [[2.0, 1.0, 0.0], [4.0, 3.0, 4.0]]
    assert seen.finite == 3
    assert np.isnan(seen.sweeps[0][3:]).all()  # what follows a lost loss is no loss of that model


def test_a_first_rate_of_zero_is_left_out():
    seen = Curve([0.0, 0.1, 0.2], [[9.0, 2.0, 1.0]])
    assert (seen.lrs, seen.sweeps) == ([0.1, 0.2], [[2.0, 1.0]])


@pytest.mark.parametrize(
    ("lrs", "sweeps", "message"),
    [
        (
            [0.1, 0.1],
            [[1, 1]],
            "lrs must be positive and ascending (got 0.1, 0.1); a range test goes from low to high.",
        ),
        ([], [[]], "lrs must be positive and ascending (got none); a range test goes from low to high."),
        (
            [0.1, math.nan],
            [[1]],
            "lrs must be positive and ascending (got 0.1, nan); a range test goes from low to high.",
        ),
        ([0.1], [], "sweeps is empty; a curve needs the losses of at least one sweep."),
        ([0.1], [[1], [1, 2]], "sweeps[1] has 2 losses for 1 rates; give one per rate."),
    ],
)
def test_errors_say_what_to_give(lrs, sweeps, message):
    with pytest.raises(ValueError, match=r".+") as error:
        Curve(lrs, sweeps)
    assert str(error.value) == message


def test_noise_is_that_of_the_losses_and_falls_with_the_square_root_of_the_sweeps():
    assert textbook(noise=0.05, points=1000).noise == pytest.approx(0.05, rel=0.1)
    assert textbook(noise=0.05, points=1000, sweeps=9).noise == pytest.approx(0.05 / 3, rel=0.1)
    assert textbook(points=1000).noise < 1e-4


def test_the_smoothed_line_follows_the_formula_and_is_not_bent_by_the_explosion():
    true, noisy = textbook(), textbook(noise=0.03)
    before = slice(0, true.end - 3)
    np.testing.assert_allclose(true.smoothed[before], true.mean[before], atol=0.05)
    np.testing.assert_allclose(noisy.smoothed[before], true.mean[before], atol=0.09)
    assert min(true.smoothed) > 0.27  # no false minimum in front of the wall


def test_the_start_does_not_rise():
    falling = curve(np.linspace(2, 1, 50))
    assert (np.diff(falling.smoothed) < 0).all()
    assert falling.smoothed[0] == pytest.approx(2.0)


def test_explosion_is_where_a_third_of_the_gain_is_lost():
    seen = textbook()
    expected = next(i for i in range(70, 100) if seen.mean[i] > 0.3 + 1 / 3)
    assert abs(seen.end - expected) <= 1
    assert seen.lost_at == seen.lrs[seen.end]
    assert textbook(explosion=9).lost_at is None


def test_one_wild_batch_is_no_explosion_but_a_sawtooth_is():
    losses = np.array([2.3] * 40 + [2.3 - 0.1 * k for k in range(15)] + [0.85] * 45)
    losses[62] = 5.0
    assert curve(losses).lost_at is None
    losses[62:70] = [2.5, 0.9, 2.2, 1.0, 2.6, 0.9, 2.0, 0.9]
    losses[70:] = 0.7  # lower than before: yet another model than the one that fell
    assert curve(losses).end == 62


def test_a_lost_loss_ends_the_curve():
    seen = textbook()
    losses = seen.mean[:60] + [math.nan] * 40
    assert curve(losses).end == 60
    assert curve(losses).lost_at == pytest.approx(seen.lrs[60])
    assert curve([math.nan] * 20).end == 0
