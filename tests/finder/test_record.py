"""lr_find.json gives back what it was given, bit for bit."""

import json

import numpy as np
import pytest

from finder.curves import curve, textbook
from lightcycle.finder import from_dict, suggest_all, to_dict
from lightcycle.report.files import write_json

CURVES = {
    "sweeps": textbook(noise=0.05, sweeps=3),
    "lost": curve([*textbook().mean[:60], float("nan")], textbook().mean[:55]),
    "nothing": curve([float("inf")] * 12),
    "negative": curve(-1e6 * np.array(textbook(noise=1 / 3).mean)),
}


@pytest.mark.parametrize("name", CURVES)
def test_round_trip_through_the_file_is_exact(name, tmp_path):
    seen = CURVES[name]
    answers = suggest_all(seen)
    path = write_json(tmp_path / "lr_find.json", to_dict(seen, answers, "slide"))
    back, back_answers, chosen = from_dict(json.loads(path.read_text()))
    assert back.lrs == seen.lrs
    np.testing.assert_array_equal(back.sweeps, seen.sweeps)  # NaN equals NaN here
    assert (back_answers, chosen) == (answers, "slide")
    assert suggest_all(back) == answers


def test_what_the_file_says_to_other_readers():
    seen = CURVES["lost"]
    data = json.loads(json.dumps(to_dict(seen, suggest_all(seen)), allow_nan=False))
    assert data["version"] == 1
    assert data["lr"] == suggest_all(seen)["auto"].lr
    assert data["sweeps"][1][54:56] == [seen.sweeps[1][54], None]
    assert len(data["smoothed"]) == len(data["lrs"])
    assert data["lost_at"] == seen.lost_at
    assert {"rule", "lr", "reason", "spread"} == set(data["suggestions"][0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"version": 2}, r"version=2 of lr_find\.json cannot be read, only 1; find again\."),
        ({}, r"version=None of lr_find\.json cannot be read, only 1; find again\."),
        ({"version": 1, "lrs": [], "chosen": "auto"}, r"lr_find\.json lacks sweeps, suggestions; find again\."),
    ],
)
def test_foreign_files_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        from_dict(data)
