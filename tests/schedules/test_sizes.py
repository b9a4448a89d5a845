"""Resizing: exact sizes for every epoch, and errors that teach."""

import pickle
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightcycle.schedules import BoundResizing, Resizing

SIZES = [64, 96, 128]


def heights(plan, epochs, full=(128, 128)):
    bound = plan.bind(epochs, full)
    return [bound.size(epoch)[0] for epoch in range(epochs)]


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Resizing(sizes=SIZES, at=[0, 4, 7]), [64] * 4 + [96] * 3 + [128] * 3),
        (Resizing(sizes=SIZES, fractions=[0, 0.4, 0.75]), [64] * 4 + [96] * 4 + [128] * 2),
        (Resizing(sizes=[64, 128]), [64] * 5 + [128] * 5),
        (Resizing(sizes=[96]), [96] * 10),
        (
            Resizing(),
            [64] * 5 + [80, 96, 112] + [128] * 2,
        ),  # Composer: half for the first half, full for the last fifth
        (Resizing(start=0.25, begin=0.2, until=0.5, step=32), [32] * 2 + [64, 96, 96] + [128] * 5),
        (Resizing(begin=0.5, until=0.5), [64] * 5 + [128] * 5),
        (Resizing(finish=64), [32] * 5 + [40, 48, 56] + [64] * 2),
        (Resizing(start=0.5, begin=0, until=0.3), [80, 96, 112] + [128] * 7),
    ],
    ids=str,
)
def test_the_size_of_every_epoch(plan, expected):
    assert heights(plan, 10) == expected


def test_the_ramp_is_composers():
    """``scale = start`` before the delay, 1 behind ``1 - finetune``, linear between; sampled amid epochs."""

    def composer(t, initial=0.5, delay=0.5, finetune=0.2):
        return 1.0 if t >= 1 - finetune else initial + (1 - initial) * max(t - delay, 0) / (1 - delay - finetune)

    for epoch, height in enumerate(heights(Resizing(step=1), 100, (1000, 1000))):
        assert abs(height / 1000 - composer((epoch + 0.5) / 100)) < 0.01


def test_images_that_are_not_square():
    bound = Resizing(sizes=[[32, 48], [64, 48], 64], at=[0, 1, 3]).bind(5)
    assert [bound.size(epoch) for epoch in range(5)] == [(32, 48), (64, 48), (64, 48), (64, 64), (64, 64)]
    assert Resizing(step=8).bind(4, (120, 200)).points == [(0, (64, 104)), (2, (88, 152)), (3, (120, 200))]


def test_a_fraction_goes_to_the_nearest_border():
    assert Resizing(sizes=[8, 16], fractions=[0, 0.3]).bind(5).borders == (0, 2)  # 1.5 epochs
    assert Resizing(sizes=[8, 16], fractions=[0, 0.29]).bind(5).borders == (0, 1)
    assert Resizing(sizes=[8, 16], fractions=[0, 0.1]).bind(10).borders == (0, 1)


def test_at_needs_no_length_and_a_cut_run_leaves_out_what_comes_too_late():
    assert Resizing(sizes=[8, 16], at=[0, 3]).bind(None).size(1000) == (16, 16)
    assert Resizing(sizes=[8, 12, 16], at=[0, 3, 5]).bind(4, cut=True).points == [(0, (8, 8)), (3, (12, 12))]


@given(st.integers(5, 300), st.integers(8, 400), st.integers(8, 400), st.integers(1, 32), st.floats(0.1, 0.9))
def test_a_ramp_never_shrinks_and_ends_full(epochs, height, width, step, start):
    bound = Resizing(step=step, start=start).bind(epochs, (height, width))
    sizes = [bound.size(epoch) for epoch in range(epochs)]
    assert sizes[-1] == (height, width)
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(sizes))
    assert all(
        side % step == 0 or side == whole for size in sizes for side, whole in zip(size, (height, width), strict=True)
    )
    assert [bound.size(epoch) for epoch in bound.borders] == list(bound.sizes)
    assert pickle.loads(pickle.dumps(bound)) == bound


@given(st.integers(1, 64), st.integers(1, 4), st.integers(8, 100), st.integers(101, 200))
def test_batches_keep_their_pixels(share, processes, small, large):
    usual = share * processes
    bound = BoundResizing((0, 1), ((small, small), (large, large)), constant_pixels=True)
    grown = bound.batch_size(0, usual, processes)
    assert bound.batch_size(1, usual, processes) == usual
    assert grown >= usual
    assert grown % processes == 0
    multiple = {1: 8, 2: 8, 3: 24, 4: 8}[processes]
    assert grown == usual or (
        grown % multiple == 0 and abs(grown - usual * (large / small) ** 2) <= multiple / 2 + 1e-6
    )


def test_off_is_off():
    bound = Resizing(sizes=[8, 16]).bind(2)
    assert bound.batch_size(0, 12) == 12
    assert bound.strength_at(0) == 1.0
    assert BoundResizing((0,), ((8, 8),), True, 0.5).strength_at(0) == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": [96, 64]}, r"sizes must be pixels that increase \(got \[96, 64\]\); try \[64,96,128\]"),
        ({"sizes": [64, 64]}, "sizes must be pixels that increase"),
        ({"sizes": [[64, 32], [32, 64]]}, "sizes must be pixels that increase"),
        ({"sizes": []}, "sizes must be pixels that increase"),
        ({"sizes": [0, 8]}, r"sizes must be pixels >= 1 or \[height, width\] \(got 0\); 128 is 128 x 128"),
        ({"sizes": [True]}, "sizes must be pixels >= 1"),
        ({"sizes": [[8, 8, 8]]}, "sizes must be pixels >= 1"),
        ({"sizes": SIZES, "at": [0, 0.4, 0.75]}, r"at must be whole epochs, .* set fractions=\[0, 0.4, 0.75\]"),
        ({"sizes": SIZES, "at": [0, 2]}, "at must have an entry for each of the 3 sizes"),
        ({"sizes": SIZES, "at": [1, 2, 3]}, r"at must be whole epochs that start at 0 and rise \(got \[1, 2, 3\]\)"),
        (
            {"sizes": SIZES, "fractions": [0.1, 0.2, 0.5]},
            r"fractions must be fractions below 1 that start at 0 and rise",
        ),
        ({"sizes": SIZES, "fractions": [0, 0.5, 0.5]}, "start at 0 and rise"),
        ({"sizes": SIZES, "fractions": [0, 4, 7]}, r"fractions below 1 \(got \[0, 4, 7\]\); for epochs set at"),
        ({"sizes": SIZES, "at": [0, 1, 2], "fractions": [0, 0.4, 0.7]}, "takes at, in epochs, or fractions"),
        ({"sizes": SIZES, "start": 0.5}, "takes sizes or a ramp"),
        ({"fractions": [0, 0.5]}, "fractions says when sizes begin, and there are none"),
        ({"start": 64}, r"start must be a share of the full size, > 0 and < 1 \(got 64\)"),
        ({"begin": 0.9}, "0 <= begin <= until < 1"),
        ({"until": 1.0}, "0 <= begin <= until < 1"),
        ({"step": 0}, "step must be whole pixels >= 1"),
        ({"finish": -1}, "finish must be pixels >= 1"),
        ({"strength": 1.5}, r"strength must be between 0 and 1 \(got 1.5\)"),
    ],
    ids=str,
)
def test_what_is_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Resizing(**options)


@pytest.mark.parametrize(
    ("plan", "epochs", "message"),
    [
        (Resizing(sizes=SIZES), 2, "3 sizes beginning at epochs 0, 1, 1 of a run of 2 epochs, and each needs an epoch"),
        (Resizing(sizes=SIZES, at=[0, 4, 7]), 7, "3 sizes beginning at epochs 0, 4, 7 of a run of 7 epochs"),
        (Resizing(sizes=SIZES), None, "needs a run of known epochs"),
        (Resizing(finish=128), 1, "no epoch at the small or none at the full"),
        (Resizing(), 10, "cannot know the size of these images before the first batch; give finish=224"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_run_is_refused(plan, epochs, message):
    with pytest.raises(ValueError, match=message):
        plan.bind(epochs)
