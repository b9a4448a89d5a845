"""The picture of a snapshot ensemble says the numbers it is given."""

import pytest
from matplotlib.figure import Figure

from lightcycle.report.snapshots_picture import accuracies, disagreements, draw_snapshots

ROWS = [
    *({"name": f"step {s}", "kind": "member", "members": 1, "val": v} for s, v in [(5, 0.7), (10, 0.8), (15, 0.75)]),
    *({"name": f"last {m}", "kind": "last", "members": m, "val": v} for m, v in [(1, 0.75), (2, 0.85), (3, 0.82)]),
    {"name": "ensemble", "kind": "chosen", "members": 2, "val": 0.85},
    {"name": "its votes", "kind": "chosen", "members": 2, "val": 0.84},
    {"name": "best checkpoint", "kind": "single", "members": 1, "val": 0.81},
]


def test_the_lines_are_the_rows():
    axes = Figure().subplots()
    accuracies(axes, ROWS, "val")
    lines = {line.get_gid(): line for line in axes.lines if line.get_gid()}
    assert list(lines["member"].get_ydata()) == [0.7, 0.8, 0.75]
    assert list(lines["last"].get_xdata()) == [1, 2, 3]
    assert list(lines["last"].get_ydata()) == [0.75, 0.85, 0.82]
    assert (lines["chosen"].get_xdata()[0], lines["chosen"].get_ydata()[0]) == (2, 0.85)
    assert axes.get_legend_handles_labels()[1] == [
        "member number m",
        "the last m together",
        "chosen on validation",
        "best checkpoint",
    ]


def test_an_early_member_far_below_does_not_press_the_others_together():
    axes = Figure().subplots()
    accuracies(axes, [{**ROWS[0], "val": 0.1}, *ROWS[1:]], "val")
    assert axes.get_ylim()[0] > 0.6
    assert [text.get_text() for text in axes.texts] == ["0.1"]
    accuracies(near := Figure().subplots(), ROWS, "val")
    assert not near.texts


@pytest.mark.parametrize(("members", "written"), [(2, 4), (11, 0)])
def test_numbers_stand_in_the_squares_where_there_is_room(members, written):
    axes = Figure().subplots()
    disagreements(axes, [[0.0 if i == j else 0.123 for j in range(members)] for i in range(members)], range(members))
    assert len(axes.texts) == written
    assert not written or [text.get_text() for text in axes.texts] == ["0.0", "12.3", "12.3", "0.0"]


def test_a_panel_for_each_part(tmp_path):
    rows = [{**row, "test": row["val"] - 0.01} for row in ROWS]
    path = draw_snapshots(rows, [[0.0] * 3] * 3, tmp_path / "a.png", ["val", "test"])
    assert path.read_bytes()[1:4] == b"PNG"
