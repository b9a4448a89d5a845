import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit

from lightcycle.data.split import limit, shares, split

LABELS = np.random.default_rng(0).choice(4, 1000, p=[0.5, 0.3, 0.15, 0.05])


@settings(deadline=None, max_examples=60)
@given(labels=st.lists(st.integers(0, 4), min_size=2, max_size=80), data=st.data())
def test_a_split_is_disjoint_complete_exact_and_stratified(labels, data):
    labels = np.array(labels)
    taken = data.draw(st.integers(1, len(labels) - 1))
    rest, chosen = split(labels, taken, seed=0, part="val")
    assert sorted([*rest, *chosen]) == list(range(len(labels)))
    assert len(chosen) == taken
    for label in np.unique(labels):
        exact = (labels == label).sum() * taken / len(labels)
        assert abs((labels[chosen] == label).sum() - exact) < 1


def test_class_shares_agree_with_scikit_learn():
    _, theirs = next(StratifiedShuffleSplit(1, test_size=137, random_state=0).split(LABELS, LABELS))
    _, ours = split(LABELS, 137, seed=0, part="val")
    assert np.abs(np.bincount(LABELS[theirs]) - np.bincount(LABELS[ours])).max() <= 1


def test_the_seed_decides_and_nothing_else():
    state = np.random.get_state()[1].copy()
    first = split(LABELS, 100, seed=0, part="val")[1]
    np.random.seed(7)
    assert np.array_equal(split(LABELS, 100, seed=0, part="val")[1], first)
    np.random.set_state(("MT19937", state, 624))
    assert not np.array_equal(split(LABELS, 100, seed=1, part="val")[1], first)
    assert not np.array_equal(split(LABELS, 100, seed=0, part="test")[1], first)


def test_limit_keeps_the_first_of_each_class():
    kept = limit(LABELS, 50)
    assert len(kept) == 50
    for label, n in enumerate(np.bincount(LABELS[kept])):
        assert np.array_equal(kept[LABELS[kept] == label], np.flatnonzero(label == LABELS)[:n])
        assert n == pytest.approx(50 * (label == LABELS).mean(), abs=1)


@pytest.mark.parametrize("n", [None, 1000, 5000])
def test_no_limit_keeps_all(n):
    assert np.array_equal(limit(LABELS, n), np.arange(1000))


def test_shares_are_exact_where_floats_are_not():
    assert shares(np.array([1] * 10), 7).sum() == 7
    assert shares(np.array([3_000_000_000, 1]), 2_999_999_999).tolist() == [2_999_999_998, 1]
