"""Every rule: its number on a curve with a formula, its independence of the loss's unit, its refusals in words."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finder.curves import LOG_LRS, curve, textbook
from lightcycle.finder import RULES, Curve, suggest, suggest_all

STEP = 10 ** (8 / 99)  # between two rates


def near(lr, steps):
    return pytest.approx(lr, rel=STEP**steps - 1)


@pytest.mark.parametrize("fall", [-4.0, -3.2, -2.0])
def test_steepest_is_the_center_of_a_sigmoid(fall):
    assert suggest(textbook(fall, fall + 2.5), "steepest").lr == near(10**fall, 1)


def test_numbers_of_every_rule_on_the_formula():
    seen = textbook()
    x = np.linspace(-7, 1, 80_001)
    loss = 0.3 + 1 / (1 + np.exp((x + 2.5) / 0.25)) + np.exp(10 * (x + 0.4))
    low, bottom = loss.min(), loss.argmin()
    drop = 1.3 - low

    def left(share):
        return 10 ** x[:bottom][loss[:bottom] > low + share * drop][-1]

    right = 10 ** x[bottom:][loss[bottom:] < low + 0.1 * drop][-1]
    exploded = 10 ** x[bottom:][loss[bottom:] > low + drop / 3][0]
    found = {rule: answer.lr for rule, answer in suggest_all(seen).items()}
    assert found == {
        "auto": near(math.sqrt(left(0.25) * right), 2),
        "steepest": near(10**-2.5, 1),
        "valley": near(math.sqrt(left(0.95) * left(0.05)), 2),
        "slide": near(10 ** (-2.5 + 0.25 * 2 * math.acosh(math.sqrt(3))), 3),  # sigmoid slope at a third of its most
        "minimum_over_10": near(10 ** x[bottom] / 10, 3),
        "divergence_over_10": near(exploded / 10, 1.5),
    }
    assert list(found) == list(RULES)


def test_auto_lies_between_the_steepest_point_and_the_explosion():
    for seed in range(10):
        seen = textbook(noise=0.1, seed=seed)
        assert 10**-2.5 < suggest(seen).lr < 10**-0.6


def test_without_an_explosion_auto_is_where_nine_tenths_are_done():
    answer = suggest(textbook(explosion=9))
    assert answer.lr == near(10 ** (-2.5 + 0.25 * math.log(9)), 2)
    assert answer.reason == "90 % of the fall of 1 are done here, and the loss does not rise again."


def test_a_dip_at_a_tiny_rate_does_not_count():
    losses = np.array(textbook(noise=0.01).mean)
    losses[5:9] -= 0.5
    for rule in ("auto", "minimum_over_10", "divergence_over_10", "slide"):
        assert suggest(curve(losses), rule).lr == near(suggest(textbook(noise=0.01), rule).lr, 2)


@settings(max_examples=40, deadline=None)
@given(
    scale=st.floats(1e-3, 1e3),
    offset=st.floats(-100, 100),
    seed=st.integers(0, 50),
    noise=st.sampled_from([0.0, 0.02, 0.1]),
)
def test_no_rule_depends_on_unit_or_zero_of_the_loss(scale, offset, seed, noise):
    seen = textbook(noise=noise, seed=seed)
    moved = curve(scale * (np.array(seen.mean) + offset))
    for rule in RULES:
        there, here = suggest(moved, rule).lr, suggest(seen, rule).lr
        assert (there is None) == (here is None)
        assert here is None or there == near(here, 1.01)


@settings(max_examples=30, deadline=None)
@given(
    losses=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=60),
    sweeps=st.integers(1, 3),
)
def test_no_list_of_losses_breaks_a_rule(losses, sweeps):
    for answer in suggest_all(curve(*[losses] * sweeps)).values():
        assert answer.lr is None or (math.isfinite(answer.lr) and answer.lr > 0)
        assert answer.reason.endswith(".")


NOISE = 1 + 0.05 * np.random.default_rng(7).normal(size=100)
RISING = 1 + (NOISE - 1) / 5 + np.exp(2 * (LOG_LRS + 2))
REFUSALS = {
    "flat": ([2.0] * 100, "the loss does not fall by more than its noise (0 against 2e-09)."),
    "rising": (RISING, "the loss only rises; start the test at a lower rate, or look at the model."),
    "nan": ([math.nan] * 100, "no loss is finite; look at the data and at the loss before the learning rate."),
    "short": ([2.0] * 6 + [math.nan] * 94, "only 6 losses are finite, 10 are needed; start the test at a lower rate."),
    "early": (
        [2.0] * 4 + [9.0] * 96,
        "the loss rises from step 4, lr 2.1e-07, on; start the test at a lower rate.",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_was_seen(name):
    losses, reason = REFUSALS[name]
    for answer in suggest_all(curve(losses)).values():
        assert (answer.lr, answer.reason, answer.spread) == (None, reason, None)
        assert str(answer) == f"no suggestion: {reason}"


def test_noise_gets_no_suggestion_and_both_figures():
    answer = suggest(curve(NOISE))
    assert answer.lr is None
    assert re.fullmatch(r"the loss does not fall by more than its noise \(0\.\d+ against 0\.\d+\)\.", answer.reason)
    hopeless = [suggest(curve(np.random.default_rng(seed).normal(size=100))).lr for seed in range(300)]
    assert sum(lr is not None for lr in hopeless) <= 3  # one in a hundred


def test_rules_that_need_the_end_of_the_curve_ask_for_it():
    found = suggest_all(curve(textbook(fall=-0.5, explosion=9).mean))
    assert found["steepest"].lr is not None
    assert found["minimum_over_10"].reason == "the loss is lowest at the end of the test, lr 10; raise max_lr."
    assert found["divergence_over_10"].reason == "the loss does not explode up to lr 10; raise max_lr."


def test_spread_is_the_factor_between_the_single_sweeps():
    seen = textbook(noise=0.05, sweeps=3)
    answer = suggest(seen)
    single = [suggest(Curve(seen.lrs, [sweep])).lr for sweep in seen.sweeps]
    assert answer.spread == max(single) / min(single) > 1
    assert f"Sweeps differ by x{answer.spread:.2g}." in str(answer)
    assert answer.lr == min(single), "a run meets the batches of every sweep"
    assert answer.reason.startswith("the lowest of 3 sweeps; ")
    for rule in set(RULES) - {"auto"}:
        assert suggest(seen, rule).lr == suggest(curve(seen.mean), rule).lr
    assert suggest(curve(seen.mean)).spread is None


def test_auto_needs_an_answer_from_most_sweeps():
    fallen, flat = textbook(noise=0.02).mean, [1.3] * len(textbook().lrs)
    most = Curve(textbook().lrs, [fallen, fallen, flat])
    assert suggest(most).lr == suggest(curve(fallen)).lr
    few = Curve(textbook().lrs, [fallen, flat, flat])
    assert suggest(few).lr == suggest(curve(few.mean)).lr


def test_several_noisy_sweeps_answer_where_one_cannot():
    assert suggest(textbook(noise=1, seed=3)).lr is None
    assert suggest(textbook(noise=1, seed=3, sweeps=20)).lr is not None


@pytest.mark.parametrize("kind", ["linear", "exponential"])
def test_works_on_linear_ramps_of_any_length(kind):
    for points in (50, 100, 400):
        lrs = np.linspace(0.02, 2, points) if kind == "linear" else np.geomspace(1e-5, 2, points)
        x = np.log10(lrs)
        losses = 1 / (1 + np.exp((x + 1) / 0.15)) + np.exp(np.minimum(12 * x, 30))
        lr = suggest(Curve(lrs.tolist(), [losses.tolist()])).lr
        assert 0.15 < lr < 0.5


def test_unknown_rules_are_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"there is no finder rule 'steep'; did you mean steepest\?"):
        suggest(textbook(), "steep")
    with pytest.raises(ValueError, match=r"no finder rule 'xyz'; choose one of auto, steepest, valley, slide, "):
        suggest(textbook(), "xyz")
