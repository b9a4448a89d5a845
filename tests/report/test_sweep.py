"""A comparison's numbers, its CSV file and its picture."""

import csv
import io
import statistics

import numpy as np
import pytest

from lightcycle.report.sweep import Setting, as_csv, table, write_sweep
from lightcycle.report.sweep_picture import LOOKS, band, sweep_figure

ACCURACIES = [0.91, 0.93, 0.98]


@pytest.fixture
def settings():
    curves = [[(1.0, 0.1 * k), (2.0, 0.5), (3.0, acc)] for k, acc in enumerate(ACCURACIES)]
    return [
        Setting(("sgdr", "0.1"), {"val/acc": ACCURACIES, "seconds": [1.0, 2.0, 4.0]}, curves),
        Setting(("clr", "0.4"), {"val/acc": [0.5], "seconds": [3.0], "test/acc": [0.25]}, [[(1.0, 0.25), (2.0, 0.5)]]),
    ]


def test_mean_and_sample_sd(settings):
    first, second = settings
    assert first.mean("val/acc") == pytest.approx(np.mean(ACCURACIES), rel=1e-12)
    assert first.sd("val/acc") == pytest.approx(np.std(ACCURACIES, ddof=1), rel=1e-12)
    assert (second.mean("val/acc"), second.sd("val/acc")) == (0.5, None)
    assert (first.mean("test/acc"), first.sd("test/acc")) == (None, None)
    assert [each.n for each in settings] == [3, 1]


def test_the_table_and_the_names(settings):
    assert table(settings, ["val/acc", "test/acc"]) == [
        ["sgdr", "0.1", 3, "0.94 ± 0.036", "-"],
        ["clr", "0.4", 1, "0.5", "0.25"],
    ]
    assert settings[0].name(["schedule", "optimizer.lr"]) == "schedule=sgdr, lr=0.1"
    assert Setting(()).name([]) == "all runs"


def test_the_csv_has_all_digits(settings):
    rows = list(csv.DictReader(io.StringIO(as_csv(settings, ["schedule", "lr"]))))
    assert list(rows[0])[:4] == ["schedule", "lr", "n", "val/acc_mean"]
    assert float(rows[0]["val/acc_sd"]) == statistics.stdev(ACCURACIES)
    assert [row["test/acc_mean"] for row in rows] == ["", "0.25"]
    assert rows[1]["val/acc_sd"] == ""
    assert list(rows[0])[-1] == "run"


def test_the_run_of_a_setting_is_named_if_it_is_the_only_one(settings):
    assert [Setting((), runs=runs).run for runs in ((), ("a",), ("a", "b"))] == [None, "a", None]


def test_a_band_is_where_all_seeds_are(settings):
    x, mean, sd = band(settings[0].curves)
    assert x.tolist() == [1.0, 2.0, 3.0]
    assert mean == pytest.approx([0.1, 0.5, np.mean(ACCURACIES)])
    assert sd == pytest.approx([0.1, 0.0, np.std(ACCURACIES, ddof=1)])
    assert [len(column) for column in band([[(1.0, 2.0)], []])] == [0, 0, 0]
    assert [len(column) for column in band([])] == [0, 0, 0]


def drawn(axes, name):
    return [line for line in axes.lines if line.get_gid() == name]


def test_the_picture_holds_the_numbers(settings):
    figure = sweep_figure(settings, ["schedule", "lr"], "val/acc")
    upper, lower = figure.axes
    assert [line.get_label() for line in drawn(upper, "mean")] == ["schedule=sgdr, lr=0.1", "schedule=clr, lr=0.4"]
    assert drawn(upper, "mean")[0].get_ydata()[-1] == pytest.approx(np.mean(ACCURACIES))
    _, high = upper.collections[0].get_paths()[0].get_extents().intervaly
    assert high == pytest.approx(np.mean(ACCURACIES) + np.std(ACCURACIES, ddof=1))
    points = [line.get_xydata()[0].tolist() for line in lower.lines if line.get_marker() == "o"]
    assert points == [pytest.approx([7 / 3, np.mean(ACCURACIES)]), pytest.approx([3.0, 0.5])]


def test_settings_beyond_the_looks_are_pale_and_unnamed():
    many = [Setting((str(k),), {"val/acc": [k / 30], "seconds": [1.0]}, [[(1.0, k / 30)]]) for k in range(23)]
    figure = sweep_figure(many, ["lr"], "val/acc")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [str(k) for k in range(len(LOOKS))]
    looks = [(line.get_color(), line.get_linestyle()) for line in drawn(figure.axes[0], "mean")]
    assert len(set(looks)) == len(LOOKS) + 1


def test_bad_first_epochs_do_not_flatten_the_rest():
    curve = [(float(k), 0.1 if k < 3 else 0.95 + k / 1000) for k in range(40)]
    upper = sweep_figure([Setting(("a",), {"val/acc": [0.99]}, [curve])], ["x"], "val/acc").axes[0]
    assert upper.get_ylim()[0] > 0.9
    curve = [(x, 10.0 if y == 0.1 else 1 - y) for x, y in curve]
    upper = sweep_figure([Setting(("a",), {"val/loss": [0.01]}, [curve])], ["x"], "val/loss").axes[0]
    assert upper.get_ylim()[1] < 0.1


def test_what_is_written_and_said(settings, tmp_path, capsys):
    write_sweep(tmp_path, settings, ["schedule", "lr"], "val/acc", [("runs/c", "failed: <no> data")])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["sweep.csv", "sweep.html", "sweep.png"]
    page, said = (tmp_path / "sweep.html").read_text(), capsys.readouterr().out
    assert "0.94 ± 0.036" in page
    assert "failed: &lt;no&gt; data" in page
    assert "http" not in page.replace("data:image/png;base64,", "").split("base64")[0]
    lines = said.splitlines()
    assert lines[0] == "schedule, lr · best val/acc first"
    assert lines[2].split() == ["sgdr", "0.1", "3", "-", "0.94", "±", "0.036", "2.333", "±", "1.5"]
    assert "runs/c" in said
    assert lines[-1] == str(tmp_path / "sweep.html")
