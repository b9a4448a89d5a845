"""The picture holds the numbers it was given, at the right place."""

import math
import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.image import imread

from lightcycle.report.timeline import Timeline, draw, figure


def sgdr(steps=70, parts=(1, 2, 4), peak=0.1):
    """Values and cycle ends of cosine cycles, written without the package."""
    edges = [round(steps * sum(parts[:k]) / sum(parts)) for k in range(len(parts) + 1)]
    values = []
    for start, stop in pairwise(edges):
        last = max(1, stop - start - 1)
        values += [peak * (1 + math.cos(math.pi * i / last)) / 2 for i in range(stop - start)]
    return values, edges[1:]


def lines(axes, gid):
    return [line for line in axes.get_lines() if line.get_gid() == gid]


def panel(picture, label):
    return next(axes for axes in picture.axes if axes.get_ylabel() == label)


def legend(picture):
    return [text.get_text() for each in picture.legends for text in each.get_texts()]


def test_planned_line_and_cycle_ends_are_the_numbers_given():
    values, ends = sgdr()
    picture = figure(Timeline("t", 70, list(range(0, 71, 10)), {"all": values}, cycle_ends=ends))
    (axes,) = picture.axes
    (plan,) = lines(axes, "plan")
    assert plan.get_xdata().tolist() == list(range(70))
    assert plan.get_ydata().tolist() == values
    assert [line.get_xdata()[0] for line in lines(axes, "cycle_end")] == [10, 30, 70]
    assert list(lines(axes, "cycle_ends")[0].get_xdata()) == [10, 30, 70]
    assert legend(picture) == ["cycle end"]
    assert axes.get_yscale() == "linear"


def test_epochs_below_and_steps_above():
    picture = figure(Timeline("t", 100, [0, 40, 80, 100], {"all": [0.1] * 100}))
    picture.draw_without_rendering()
    (axes,) = picture.axes
    assert axes.get_xlabel() == "epoch"
    assert axes.get_xticks().tolist() == [0, 40, 80, 100]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "2", "3"]
    (upper,) = axes.child_axes
    assert upper.get_xlabel() == "step"
    assert upper.get_xlim() == axes.get_xlim()
    assert {0, 20, 100} <= set(upper.get_xticks())


@pytest.mark.parametrize(("epochs", "labels"), [(15, 16), (16, 9), (90, 10), (1000, 11), (1, 2)])
def test_epoch_labels_never_crowd(epochs, labels):
    picture = figure(Timeline("t", epochs, list(range(epochs + 1)), {"all": [0.1] * epochs}))
    assert len(picture.axes[0].get_xticks()) == labels


def test_steps_below_where_epochs_are_not_known():
    (axes,) = figure(Timeline("t", 10, lr={"all": [0.1] * 10})).axes
    assert axes.get_xlabel() == "step"
    assert not axes.child_axes


def test_long_runs_are_thinned_but_keep_every_peak_and_low():
    values, ends = sgdr(100_000, [1] * 50)
    (plan,) = lines(figure(Timeline("t", 100_000, lr={"all": values}, cycle_ends=ends)).axes[0], "plan")
    x, y = plan.get_xdata(), plan.get_ydata()
    assert len(x) <= 4000
    assert {*(end - 1 for end in ends), *ends[:-1]} <= set(x)
    assert (y == 0.1).sum() == 50
    assert (y == 0).sum() == 50
    np.testing.assert_array_equal(y, np.array(values)[x.astype(int)])


def test_equal_groups_share_a_line_and_others_have_their_own():
    values, _ = sgdr()
    same = figure(Timeline("t", 70, lr={"a": values, "b": values}))
    assert legend(same) == ["lr (all groups)"]
    assert len(lines(same.axes[0], "plan")) == 1
    half = [value / 2 for value in values]
    mixed = figure(Timeline("t", 70, lr={"a": values, "b": half, "c": half}))
    assert legend(mixed) == ["a", "b, c"]
    assert len({line.get_color() for line in lines(mixed.axes[0], "plan")}) == 2


def test_many_groups_get_a_ramp_from_light_to_dark():
    picture = figure(Timeline("t", 2, lr={f"g{k}": [k + 1.0, 1.0] for k in range(8)}))
    light = [sum(line.get_color()[:3]) for line in lines(picture.axes[0], "plan")]
    assert len(light) == 8
    assert light == sorted(light, reverse=True)


def test_what_was_applied_lies_thin_over_the_plan():
    values, _ = sgdr()
    applied = [(step, value * 0.9) for step, value in enumerate(values)]
    picture = figure(Timeline("t", 70, lr={"all": values}, applied_lr={"all": applied}))
    (plan,), (fact,) = (lines(picture.axes[0], gid) for gid in ("plan", "applied"))
    assert list(zip(fact.get_xdata(), fact.get_ydata(), strict=True)) == applied
    assert fact.get_linewidth() < plan.get_linewidth()
    assert fact.get_zorder() > plan.get_zorder()
    assert legend(picture) == ["planned", "applied"]


def test_groups_that_were_not_planned_are_drawn_too():
    picture = figure(Timeline("t", 3, lr={"body": [0.1] * 3}, applied_lr={"body": [(0, 0.1)], "head": [(0, 0.2)]}))
    assert [line.get_ydata().tolist() for line in lines(picture.axes[0], "applied")] == [[0.1], [0.2]]


def test_log_only_if_most_of_the_run_spans_three_decades():
    decades = [0.1 * 10 ** (-5 * i / 99) for i in range(100)]
    dive = [0.1] * 95 + [10.0**-k for k in range(2, 7)]
    ratios = {f"g{k}": [0.1 * 0.01**k] * 100 for k in range(3)}
    for lr, scale in [
        ({"a": decades}, "log"),
        ({"a": dive}, "linear"),
        (ratios, "log"),
        ({"a": [0.0] * 100}, "linear"),
    ]:
        assert figure(Timeline("t", 100, lr=lr)).axes[0].get_yscale() == scale


def test_momentum_has_a_panel_only_if_it_moves():
    still = Timeline("t", 3, lr={"a": [1, 1, 1]}, momentum=[0.9] * 3)
    moves = Timeline("t", 3, lr={"a": [1, 1, 1]}, momentum=[0.9, 0.8, 0.9], applied_momentum=[(0, 0.9), (1, 0.8)])
    assert len(figure(still).axes) == 1
    axes = panel(figure(moves), "momentum")
    assert lines(axes, "plan")[0].get_ydata().tolist() == [0.9, 0.8, 0.9]
    assert lines(axes, "applied")[0].get_ydata().tolist() == [0.9, 0.8]


def test_tracks_hold_to_the_end_and_stages_are_named():
    tracks = {"image size": [(0, 64), (50, 128)]}
    stages = [("head", 0, 30), ("all", 30, 70)]
    picture = figure(Timeline("t", 70, lr={"a": sgdr()[0]}, tracks=tracks, stages=stages))
    (track,) = lines(panel(picture, "image size"), "track")
    assert (track.get_xdata().tolist(), track.get_ydata().tolist()) == ([0, 50, 70], [64, 128, 128])
    assert track.get_drawstyle() == "steps-post"
    names = {text.get_text(): text.get_position()[0] for text in picture.axes[0].texts}
    assert names == {"head": 15, "all": 50}
    (band,) = (patch for patch in picture.axes[0].patches if patch.get_gid() == "stage")
    assert (band.get_x(), band.get_width()) == (0, 30)


def pieces(line):
    """A line's points between its gaps."""
    points = line.get_xydata()
    gaps = np.flatnonzero(np.isnan(points[:, 1]))
    return [part[~np.isnan(part[:, 1])].tolist() for part in np.split(points, gaps) if not np.isnan(part[:, 1]).all()]


def test_a_stage_has_lines_of_its_own_that_end_at_its_border():
    plan, stages = [0.1, 0.2, 0.9, math.nan, 0.5], [("a", 0, 2), ("b", 2, 3), ("no head", 3, 4), ("c", 4, 5)]
    applied = [(0, 0.1), (1, 0.2), (2, 0.9), (4, 0.5)]
    momentum = [0.9, 0.8, 0.9, 0.9, 0.9]
    given = {"applied_lr": {"head": applied}, "momentum": momentum, "applied_momentum": list(enumerate(momentum))}
    picture = figure(Timeline("t", 5, lr={"head": plan}, stages=stages, **given))
    apart = [[[0, 0.1], [1, 0.2], [2, 0.2]], [[2, 0.9], [3, 0.9]], [[4, 0.5], [5, 0.5]]]
    assert pieces(lines(picture.axes[0], "plan")[0]) == apart
    assert pieces(lines(picture.axes[0], "applied")[0]) == apart
    apart = [[[0, 0.9], [1, 0.8], [2, 0.8]], [[2, 0.9], [3, 0.9]], [[3, 0.9], [4, 0.9]], [[4, 0.9], [5, 0.9]]]
    for gid in ("plan", "applied"):
        assert pieces(lines(panel(picture, "momentum"), gid)[0]) == apart


def test_a_stage_that_somebody_stopped_ends_where_it_did_and_its_plan_at_the_border():
    stages = [("a", 0, 5_000), ("b", 5_000, 10_000)]
    applied = list(enumerate([0.1] * 5_000 + [0.2] * 100))
    axes = figure(Timeline("t", 10_000, lr={"all": [0.1] * 5_000 + [0.2] * 5_000}, stages=stages,
                           applied_lr={"all": applied})).axes[0]  # fmt: skip
    ends = {gid: [(part[0], part[-1]) for part in pieces(lines(axes, gid)[0])] for gid in ("plan", "applied")}
    assert ends["plan"] == [([0, 0.1], [5_000, 0.1]), ([5_000, 0.2], [10_000, 0.2])]
    assert ends["applied"] == [([0, 0.1], [5_000, 0.1]), ([5_000, 0.2], [5_100, 0.2])]


def test_the_validation_loss_lies_beside_the_training_loss():
    points = [(step, 2.0 - step / 70) for step in range(70)]
    watched = {"val": [(35, 0.5), (70, 0.9)], "val_loss": [(35, 1.25), (70, 2.5)]}
    picture = figure(Timeline("t", 70, lr={"a": sgdr()[0]}, loss=points, **watched))
    axes = panel(picture, "loss")
    (line,) = lines(axes, "val")
    assert line.get_xydata().tolist() == [[35, 1.25], [70, 2.5]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "train, smoothed", "val/loss"]
    assert axes.get_ylim()[1] > 2.5
    assert lines(panel(picture, "val/acc"), "val")[0].get_ydata().tolist() == [0.5, 0.9]
    both = Timeline(
        "t", 70, lr={"a": sgdr()[0]}, loss=points, val=[(35, 0.5)], val_name="my_loss", val_loss=[(35, 9.0)]
    )
    assert [line.get_ydata().tolist() for line in lines(panel(figure(both), "loss"), "val")] == [[0.5]]
    spike = figure(Timeline("t", 70, lr={"a": sgdr()[0]}, loss=points, val_loss=[(35, 1e6)]))
    assert 2 < panel(spike, "loss").get_ylim()[1] < 4


def test_the_loss_and_the_metric_have_panels_after_the_run():
    points = [(step, 2.0 - step / 70) for step in range(70)]
    accuracy = Timeline("t", 70, lr={"a": sgdr()[0]}, loss=points, val=[(35, 0.5), (70, 0.9)])
    picture = figure(accuracy)
    assert [axes.get_ylabel() for axes in picture.axes] == ["learning rate", "loss", "val/acc"]
    raw, smoothed = (lines(panel(picture, "loss"), gid)[0] for gid in ("loss", "smooth"))
    assert list(zip(raw.get_xdata(), raw.get_ydata(), strict=True)) == points
    np.testing.assert_allclose(smoothed.get_ydata(), raw.get_ydata())  # one in forty of 70 is no window
    assert lines(panel(picture, "val/acc"), "val")[0].get_xdata().tolist() == [35, 70]
    beside = figure(Timeline("t", 70, lr={"a": sgdr()[0]}, val=[(35, 0.5)], val_name="val/loss"))
    assert lines(panel(beside, "loss"), "val")[0].get_ydata().tolist() == [0.5]


def test_a_spike_does_not_flatten_the_loss():
    points = [(step, 1.0) for step in range(1000)]
    points[5], points[6], points[7] = (5, 1e6), (6, math.nan), (7, 0.5)
    axes = panel(figure(Timeline("t", 1000, loss=points, lr={"a": [1.0] * 1000})), "loss")
    assert axes.get_ylim()[1] < 2


@pytest.mark.parametrize("steps", [1, 2])
def test_the_shortest_runs_are_visible(steps, tmp_path):
    timeline = Timeline("t", steps, [0, steps], {"a": [0.1] * steps}, cycle_ends=[steps], loss=[(0, 2.0)])
    assert lines(figure(timeline).axes[0], "plan")[0].get_marker() == "o"
    assert imread(draw(timeline, tmp_path / "t.png")).std() > 0


def test_the_file_is_an_image_wide_enough_to_read_and_the_same_each_time(tmp_path):
    values, ends = sgdr()
    timeline = Timeline(r"costs $5 and \alpha_", 70, [0, 35, 70], {"a": values}, cycle_ends=ends)
    first, again = (draw(timeline, tmp_path / name) for name in ("a.png", "b.png"))
    image = imread(first)
    assert image.shape[1] >= 900
    assert image[..., :3].min() < 0.3
    assert image[..., :3].mean() > 0.8  # a light background
    assert first.read_bytes() == again.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png"]


def test_the_old_picture_stays_if_drawing_fails(tmp_path):
    (tmp_path / "t.png").write_bytes(b"old")
    timeline = Timeline("t", 1, lr={"a": [0.1]}, val=[("not a step", 1.0)])
    with pytest.raises(ValueError, match="could not convert"):
        draw(timeline, tmp_path / "t.png")
    assert (tmp_path / "t.png").read_bytes() == b"old"


def test_legend_lies_between_title_and_axes():
    lr = {f"group {k}": [k + 1.0, 1.0] for k in range(20)}
    picture = figure(Timeline("a title that is much longer than the others " * 2, 2, [0, 2], lr, cycle_ends=[2]))
    picture.draw_without_rendering()
    box = picture.legends[0].get_window_extent()
    (title,) = (text for text in picture.texts if text.get_text().startswith("a title"))
    assert box.y1 <= title.get_window_extent().y0
    assert box.y0 >= picture.axes[0].child_axes[0].get_tightbbox().y1
    assert box.x1 <= picture.bbox.x1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps=0 is no run; a timeline needs at least 1 step."),
        ({"lr": {"head": [0.1]}}, r"lr\['head'\] has 1 values for 2 steps; give one value per step."),
        ({"momentum": [0.9] * 3}, "momentum has 3 values for 2 steps; give one value per step."),
    ],
)
def test_errors_teach(change, message):
    with pytest.raises(ValueError, match=message):
        Timeline(**{"title": "t", "steps": 2} | change)


def test_no_line_of_a_long_run_has_more_points_than_a_picture_can_show():
    values, ends = sgdr(10_000, [1] * 10)
    points = list(enumerate(values))
    timeline = Timeline("t", 10_000, [], {"a": values}, values, ends, applied_lr={"a": points}, loss=points)
    timeline.applied_momentum = points
    drawn = [line for axes in figure(timeline).axes for line in axes.get_lines()]
    assert {"plan", "applied", "loss", "smooth"} <= {line.get_gid() for line in drawn}
    assert max(len(line.get_xdata()) for line in drawn) <= 4000


def test_empty_plans_are_pictures_too(tmp_path):
    assert imread(draw(Timeline("t", 5, tracks={"depth": []}), tmp_path / "t.png")).std() > 0


def test_the_room_is_light_and_draws_without_torch():
    code = (
        "import sys, lightcycle.report as room\n"
        "assert not {'matplotlib', 'numpy', 'rich'} & set(sys.modules)\n"
        "for name in dir(room): getattr(room, name)\n"
        "assert not {'torch', 'lightning', 'hydra', 'matplotlib.pyplot'} & set(sys.modules)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
