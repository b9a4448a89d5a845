"""Unfreezing: exact steps, and errors that teach."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightcycle.schedules import Horizon, Unfreezing

RUN = Horizon.of_epochs([10] * 6)


@pytest.mark.parametrize(
    ("plan", "groups", "steps"),
    [
        (Unfreezing(), 5, (10, 20, 30, 40)),  # ULMFiT: a group after every epoch
        (Unfreezing(every=0.5), 3, (5, 10)),
        (Unfreezing(every=2, start=2), 4, (20, 40)),
        (Unfreezing(at=[1, 1, 2.5]), 5, (10, 10, 25)),
        (Unfreezing(at=[3]), 5, (30,)),  # the lower groups never train
        (Unfreezing(fractions=[0.25, 0.5]), 3, (15, 30)),
        (Unfreezing(all_at=1), 4, (10, 10, 10)),
        (Unfreezing(all_at=1, start=3), 4, (10,)),
    ],
    ids=str,
)
def test_the_steps_of_the_unfreezes(plan, groups, steps):
    bound = plan.bind(RUN, groups)
    assert bound.steps == steps
    assert [bound.depth(step) for step in range(60)] == [
        plan.start + sum(step >= border for border in steps) for step in range(60)
    ]


def test_epochs_of_different_lengths():
    run = Horizon.of_epochs([20, 10, 4])
    assert Unfreezing(at=[0.5, 1.5, 2]).bind(run, 4).steps == (10, 25, 30)
    assert Unfreezing(fractions=[0.5]).bind(run, 2).steps == (25,)  # half of three epochs is in the second


def test_points_are_what_a_picture_needs():
    assert Unfreezing(at=[1, 1, 2]).bind(RUN, 5).points == [(0, 1), (10, 3), (20, 4)]


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=6), st.integers(1, 3), st.integers(8, 500))
def test_the_depth_never_falls_and_counts_the_unfreezes(fractions, start, steps):
    plan = Unfreezing(fractions=sorted(fractions), start=start)
    bound = plan.bind(Horizon(steps), start + len(fractions), cut=True)
    depths = [bound.depth(step) for step in range(steps)]
    assert depths == sorted(depths)
    assert depths[-1] == start + len(bound.steps)
    assert pickle.loads(pickle.dumps(bound)) == bound


def test_a_run_that_is_cut_short_leaves_out_what_comes_too_late():
    assert Unfreezing().bind(Horizon.of_steps(25, 10), 5, cut=True).steps == (10, 20)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"every": 1, "at": [2]},
            "callbacks.gradual_unfreezing takes one of every, at, fractions, all_at (got every and at); drop one",
        ),
        ({"start": 0}, "callbacks.gradual_unfreezing.start must be a whole number >= 1 (got 0); 1 is the head alone"),
        ({"start": 1.5}, "callbacks.gradual_unfreezing.start must be a whole number >= 1 (got 1.5)"),
        ({"start": True}, "callbacks.gradual_unfreezing.start must be a whole number >= 1 (got True)"),
        ({"every": 0}, "callbacks.gradual_unfreezing.every must be epochs > 0 (got 0); 1 is a group after every epoch"),
        ({"every": "often"}, "callbacks.gradual_unfreezing.every must be epochs > 0 (got 'often')"),
        ({"all_at": -1}, "callbacks.gradual_unfreezing.all_at must be epochs > 0 (got -1); 1 trains the head alone"),
        ({"at": [2, 1]}, "callbacks.gradual_unfreezing.at must be epochs > 0 that do not fall (got [2, 1])"),
        ({"at": [1, float("nan"), 2]}, "callbacks.gradual_unfreezing.at must be epochs > 0 that do not fall"),
        ({"at": 3}, "callbacks.gradual_unfreezing.at must be epochs > 0 that do not fall (got 3)"),
        ({"fractions": [0.5, 1]}, "callbacks.gradual_unfreezing.fractions must be numbers > 0 and < 1 that do not"),
        ({"fractions": [0]}, "callbacks.gradual_unfreezing.fractions must be numbers > 0 and < 1 that do not"),
    ],
    ids=str,
)
def test_a_plan_out_of_range_is_refused(options, text):
    with pytest.raises(ValueError, match=r"^callbacks\.gradual_unfreezing") as error:
        Unfreezing(**options)
    assert str(error.value).startswith(text)


@pytest.mark.parametrize(
    ("plan", "run", "groups", "text"),
    [
        (
            Unfreezing(start=3),
            RUN,
            3,
            "callbacks.gradual_unfreezing.start must be < 3, the number of layer groups (got 3); otherwise nothing is "
            "frozen, and the callback can go",
        ),
        (
            Unfreezing(at=[1, 2, 3]),
            RUN,
            3,
            "callbacks.gradual_unfreezing plans 3 unfreezes, and above the 1 that train at the start there are 2 layer "
            "groups left; drop 1",
        ),
        (
            Unfreezing(),
            RUN,
            9,
            "3 of the 8 unfreezes of callbacks.gradual_unfreezing would come at or after the end of a run of 6 epochs; "
            "make fewer layer groups, unfreeze earlier, or use fractions of the run such as fractions=[0.25,0.5]",
        ),
        (
            Unfreezing(at=[1]),
            Horizon(100),
            3,
            "callbacks.gradual_unfreezing.at is in epochs and this run has none, because its data has no length: use "
            "fractions, or say how many optimizer steps make an epoch (GradualUnfreezing(..., steps_per_epoch=500))",
        ),
    ],
    ids=["start", "too many", "too late", "no epochs"],
)
def test_a_plan_that_does_not_fit_the_run_is_refused(plan, run, groups, text):
    with pytest.raises(ValueError, match=r"callbacks\.gradual_unfreezing") as error:
        plan.bind(run, groups)
    assert str(error.value) == text


def test_an_empty_list_unfreezes_nothing():
    plan = Unfreezing(at=[], start=2).bind(Horizon.of_epochs([5, 5]), groups=4)
    assert plan.points == [(0, 2)]
    assert [plan.depth(step) for step in (0, 5, 9)] == [2, 2, 2]
