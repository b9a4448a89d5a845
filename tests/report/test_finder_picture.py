"""The finder's picture holds the numbers it was given."""

import numpy as np
import pytest
from matplotlib.image import imread

from finder.curves import LOG_LRS, curve, textbook
from lightcycle.finder import suggest_all
from lightcycle.report.finder_picture import draw_finder, finder_figure


def lines(axes, gid):
    return [line for line in axes.get_lines() if line.get_gid() == gid]


def words(picture):
    return [text.get_text() for text in picture.texts]


def test_points_and_smoothed_line_are_the_curves():
    seen = textbook(noise=0.05, sweeps=3)
    upper, _ = finder_figure(seen, suggest_all(seen)).axes
    assert [line.get_ydata().tolist() for line in lines(upper, "raw")] == seen.sweeps
    (smoothed,) = lines(upper, "smoothed")
    assert smoothed.get_ydata().tolist() == seen.smoothed
    assert smoothed.get_xdata().tolist() == seen.lrs
    (band,) = [each for each in upper.collections if each.get_gid() == "band"]
    low, high = seen.band
    edge = band.get_paths()[0].get_extents()
    assert (edge.y0, edge.y1) == (min(low), max(high))
    assert upper.get_xscale() == "log"


def test_every_answer_is_marked_and_the_chosen_one_is_bold():
    seen = textbook()
    answers = suggest_all(seen)
    picture = finder_figure(seen, answers, chosen="slide")
    upper, lower = picture.axes
    for rule, answer in answers.items():
        assert lines(lower, rule)[0].get_xdata() == [answer.lr]
        assert lines(upper, f"{rule} line")[0].get_xdata() == [answer.lr, answer.lr]
    bold = [text.get_text() for text in lower.texts if text.get_fontweight() == "bold"]
    assert bold == [f"slide  {answers['slide'].lr:.2g}"]
    assert words(picture)[0] == f"LR range test: slide suggests {answers['slide'].lr:.2g}"


@pytest.mark.parametrize("fall", [-5.5, -2.5, -1.0])
@pytest.mark.parametrize("sweeps", [1, 3])
def test_labels_neither_overlap_nor_leave_the_picture(fall, sweeps):
    seen = textbook(fall, fall + 1.8, noise=0.04, sweeps=sweeps)
    picture = finder_figure(seen, suggest_all(seen))
    picture.draw_without_rendering()
    boxes = [text.get_window_extent() for text in [*picture.axes[1].texts, *picture.texts]]
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    width, height = picture.get_size_inches() * picture.dpi
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)


def test_an_explosion_leaves_the_picture_without_flattening_the_rest():
    upper, _ = finder_figure(textbook(), suggest_all(textbook())).axes
    low, high = upper.get_ylim()
    assert 0 < low < 0.3
    assert 1.3 < high < 2


def test_refusals_stand_below_in_words():
    seen = curve(1 + 0.02 * np.random.default_rng(0).normal(size=100) + np.exp(2 * (LOG_LRS + 2)))
    picture = finder_figure(seen, suggest_all(seen))
    assert words(picture)[0] == "LR range test: no suggestion"
    assert words(picture)[1] == "The loss only rises; start the test at a lower rate, or look at the model."
    assert " ".join(reversed(words(picture)[2:])).startswith("auto, steepest, valley, slide, minimum_over_10, div")


@pytest.mark.parametrize("losses", [[float("nan")] * 12, [1.0] * 12, [-5.0], [2.0, 1.0]], ids=["nan", "flat", "1", "2"])
def test_poor_curves_are_drawn_too(losses, tmp_path):
    seen = curve(losses)
    path = draw_finder(seen, suggest_all(seen), tmp_path / "deep" / "lr_find.png")
    assert imread(path).shape[1] == 1440
