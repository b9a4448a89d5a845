"""Discriminative rates, against the formulas of the papers."""

import math

import numpy
import pytest

from lightcycle.transfer.groups import LayerGroup
from lightcycle.transfer.rates import rates

GROUPS = [LayerGroup("stem", ("a",), 12), LayerGroup("body", ("b",), 3456), LayerGroup("head", ("c",), 7)]


def groups(n):
    return [LayerGroup(str(i), ()) for i in range(n)]


def test_one_number_is_everybodys():
    assert rates(0.1, GROUPS) == [0.1, 0.1, 0.1]


def test_a_list_is_as_it_is():
    assert rates([1e-4, 1e-3, 1e-2], GROUPS) == [1e-4, 1e-3, 1e-2]
    assert rates((1, 2, 3), GROUPS) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_first_and_last_are_exact_and_the_rest_lies_between_them_by_equal_factors(n):
    got = rates({"first": 1e-5, "last": 1e-3}, groups(n))
    assert (got[-1], got[0]) == (1e-3, 1e-5 if n > 1 else 1e-3)
    numpy.testing.assert_allclose(got, numpy.geomspace(1e-5, 1e-3, n) if n > 1 else [1e-3], rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("decay", [1, 2.6, 10])
def test_each_group_is_so_many_times_slower_than_the_next(n, decay):
    """ULMFiT, section 3.2: the rate of layer l - 1 is that of layer l over 2.6."""
    got = rates(0.01, groups(n), decay)
    assert got[-1] == 0.01
    numpy.testing.assert_allclose(got, [0.01 / decay ** (n - 1 - i) for i in range(n)], rtol=1e-12)


def test_a_wrong_number_of_rates_shows_the_groups():
    with pytest.raises(ValueError, match=r"^lr has 2 rates and the net 3 layer groups; give one rate for") as error:
        rates([0.1, 0.2], GROUPS)
    assert error.value.__notes__ == [
        "the layer groups, from the input to the head:\n"
        "  1  stem            12 parameters\n"
        "  2  body         3,456 parameters\n"
        "  3  head             7 parameters"
    ]


@pytest.mark.parametrize(
    "lr", ["fast", True, 0, -1, math.inf, math.nan, [], [0.1, 0], [0.1, "x"], {"first": 1}, {"first": 1, "x": 2}, None]
)
def test_what_is_no_rate_is_refused(lr):
    with pytest.raises(ValueError, match=r"^lr must be a number > 0, one for each layer group, or a first") as e:
        rates(lr, GROUPS)
    assert f"(got {lr!r}); try lr=0.1, lr=[1e-4,1e-3,1e-2] or lr={{first: 1e-5, last: 1e-3}}" in str(e.value)


@pytest.mark.parametrize("decay", [0, 0.5, -1, math.nan, math.inf, "x", True])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=r"^lr_decay_per_group must be >= 1 \(got .*\); 3 is usual, 1 is off$"):
        rates(0.1, GROUPS, decay)


@pytest.mark.parametrize("lr", [[1, 2, 3], {"first": 1, "last": 2}])
def test_two_ways_to_say_it_are_refused(lr):
    with pytest.raises(ValueError, match=r"^lr_decay_per_group=3 needs lr to be one number, the head's \(got lr="):
        rates(lr, GROUPS, 3)
