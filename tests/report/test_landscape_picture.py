"""The picture holds the numbers it was given."""

import numpy as np
import pytest
from matplotlib.image import imread

from lightcycle.report.landscape_picture import Landscape, Plane, draw_landscape, landscape_figure

LOSSES = np.array([[0.2, 1.5, 0.3], [0.3, 0.2, 0.1]])
XS, YS = np.linspace(-0.5, 1.5, 4), np.linspace(0, 1, 4)
PLANE = Plane(XS, YS, np.add.outer(YS, XS**2) + 0.1, {"1": (0.0, 0.1), "3": (1.0, 0.9)})


def landscape(lines=2, plane=None, title="different minima"):
    labels = [str(n + 1) for n in range(lines + 1)]
    return Landscape(title, "a note", labels, [1.0, 0.5][:lines], LOSSES[:lines], 1 - LOSSES[:lines] / 2, plane)


def drawn(axes, gid):
    return [line for line in axes.get_lines() if line.get_gid() == gid]


def test_lines_are_drawn_to_scale():
    upper, lower = landscape_figure(landscape()).axes
    assert [line.get_ydata().tolist() for line in drawn(upper, "loss")] == LOSSES.tolist()
    assert [line.get_xdata().tolist() for line in drawn(upper, "loss")] == [[0, 0.5, 1], [1, 1.25, 1.5]]
    assert [line.get_ydata().tolist() for line in drawn(lower, "accuracy")] == (1 - LOSSES / 2).tolist()
    (own,) = drawn(upper, "own loss")
    assert (own.get_xdata().tolist(), own.get_ydata().tolist()) == ([0, 1, 1.5], [0.2, 0.3, 0.1])
    assert [text.get_text() for text in upper.texts] == ["1", "2", "3"]


def test_the_plane_shows_its_snapshots():
    picture = landscape_figure(landscape(plane=PLANE))
    plane = picture.axes[2]
    for name, place in PLANE.places.items():
        (mark,) = drawn(plane, f"place {name}")
        assert (mark.get_xdata()[0], mark.get_ydata()[0]) == place
    assert plane.get_aspect() == 1.0


@pytest.mark.parametrize(
    "seen",
    [
        landscape(0, PLANE),
        landscape(1),
        landscape(2, Plane(XS, YS, np.where(PLANE.losses > 1, np.inf, PLANE.losses), PLANE.places)),
        landscape(2, Plane(XS, YS, np.full((4, 4), np.nan), PLANE.places)),
        landscape(2, Plane(XS, YS, np.zeros((4, 4)), PLANE.places)),
        landscape(2, title="a $title_{ that is no formula & very long " * 9),
    ],
    ids=["one snapshot", "one line", "explodes", "nan", "flat", "long title"],
)
def test_odd_cases_are_drawn(seen, tmp_path):
    picture = imread(draw_landscape(seen, tmp_path / "a" / "landscape.png"))
    assert picture.std() > 0.01
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["landscape.png"]
