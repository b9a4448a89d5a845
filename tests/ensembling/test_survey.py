import numpy as np
import pytest

from lightcycle.ensembling.survey import Barrier, along_lines, around, barrier, through_three, verdict


def test_lines_share_the_snapshots_rows():
    survey = along_lines(snapshots=3, states=5, points=5)
    assert survey.lines.shape == (2, 5)
    assert survey.lines[0][-1] == survey.lines[1][0] == 1
    assert len(survey.rows) == 3 + 2 * 3
    t = np.linspace(0, 1, 5)[:, None]
    for i, line in enumerate(survey.lines):
        np.testing.assert_allclose(survey.rows[line], (1 - t) * np.eye(5)[i] + t * np.eye(5)[i + 1])
    assert (survey.rows[:3] == np.eye(5)[:3]).all()  # exactly: their own losses


def test_one_snapshot_has_no_line():
    survey = along_lines(snapshots=1, states=1, points=5)
    assert (survey.lines.shape, survey.rows.tolist()) == ((0, 5), [[1.0]])


def test_the_plane_gives_each_of_its_points_that_place():
    corners = [(0.0, 0.0), (2.0, 0.0), (0.5, 1.0)]
    survey = through_three(along_lines(4, 4, 3), [3, 0, 2], corners, resolution=6, margin=0.25)
    assert survey.plane.shape == (6, 6)
    assert survey.places == {3: (0.0, 0.0), 0: (2.0, 0.0), 2: (0.5, 1.0)}
    assert (survey.xs[0], survey.xs[-1], survey.ys[0], survey.ys[-1]) == (-0.5, 2.5, -0.5, 1.5)
    weights = survey.rows[survey.plane]
    np.testing.assert_allclose(weights.sum(-1), 1)
    assert not weights[..., 1].any()
    x, y = np.moveaxis(weights[..., [3, 0, 2]] @ np.array(corners), -1, 0)
    np.testing.assert_allclose(x, np.broadcast_to(survey.xs, (6, 6)), atol=1e-12)
    np.testing.assert_allclose(y, np.broadcast_to(survey.ys[:, None], (6, 6)), atol=1e-12)


def test_directions_are_added_to_the_snapshot():
    survey = around(along_lines(2, 4, 3), 1, (2, 3), resolution=3, reach=0.5)
    assert survey.rows[survey.plane[1, 1]].tolist() == [0, 1, 0, 0]
    assert survey.rows[survey.plane[0, 2]].tolist() == [0, 1, 0.5, -0.5]
    assert survey.places == {1: (0.0, 0.0)}


def test_a_barrier_is_above_the_higher_end_with_the_error_of_paired_images():
    draw = np.random.default_rng(0)
    losses = draw.random((5, 50))
    losses[2] += 3
    found = barrier(losses)
    means = losses.mean(1)
    higher = losses[0] if means[0] > means[-1] else losses[-1]
    assert found.height == pytest.approx(means[2] - max(means[0], means[-1]))
    assert found.error == pytest.approx(np.std(losses[2] - higher, ddof=1) / 50**0.5)
    assert (found.at, found.ends) == (0.5, (means[0], means[-1]))


def test_a_way_that_only_falls_has_no_barrier():
    losses = np.linspace(4, 1, 7)[:, None] ** 0.2 + np.zeros((7, 10))  # above the straight line between its ends
    assert barrier(losses).height < 0


@pytest.mark.parametrize(
    ("height", "error", "separates"), [(0.5, 0.1, True), (0.29, 0.1, False), (0.05, 0.001, False), (-1, 0.1, False)]
)
def test_what_separates_is_sure_and_not_small(height, error, separates):
    assert Barrier(height, error, 0.5, (1.0, 0.6)).separates is separates


def test_verdicts():
    high, low, none = (Barrier(height, 0.01, 0.5, (0.2, 0.1)) for height in (2.0, 0.012, -0.01))
    own = "above the snapshots' own 0.2 and 0.1, from"
    assert verdict([low, high, none]) == f"1 of 3 ways cross a barrier: the loss climbs 2 (+-0.01) {own} 2 to 3"
    assert verdict([high, high]) == f"different minima: the loss climbs 2 (+-0.01) {own} 1 to 2"
    assert verdict([none, low]) == f"one valley: the loss climbs at most 0.012 (+-0.01) {own} 2 to 3"
    assert verdict([none]) == "one valley: no point between two snapshots has a higher loss than the worse of them"
