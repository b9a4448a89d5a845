"""What a run leaves of its mistakes without being asked: the same as scripts/evaluate.py would."""

import csv
import json

import pytest

from lightcycle.app.evaluate import evaluate


def found(folder):
    return json.loads((folder / "evaluate.json").read_text())


@pytest.mark.parametrize(("test", "part"), [("last", "test"), ("best", "test"), ("none", "val")])
def test_a_run_ends_with_a_look_at_its_mistakes(app, small, test, part):
    run = app(*small, "epochs=1", "schedule=cosine", f"test={test}")
    seen, summary = found(run.folder), json.loads((run.folder / "summary.json").read_text())
    assert list(seen) == [part]
    assert seen[part]["rows"][0]["weights"] == ("best" if test == "best" else "last")
    assert seen[part]["rows"][0]["acc"] == pytest.approx(summary[f"{part}/acc"])
    assert sum(map(sum, seen[part]["confusion"])) == 12
    page = (run.folder / "report.html").read_text()
    for picture in ("confusion", "reliability", "most_wrong"):
        assert (run.folder / f"{picture}_{part}.png").read_bytes()[1:4] == b"PNG"
    assert page.count("data:image/png") >= 3  # with the timeline
    assert page.count("data:image/jpeg") == 1  # the mistakes


def test_it_is_what_evaluate_finds_and_evaluate_renews_the_page(app, small):
    run = app(*small, "epochs=1", "schedule=cosine")
    before, page = found(run.folder), (run.folder / "report.html").read_text()
    app(f"run={run.folder}", "part=val", job=evaluate, config="evaluate")
    app(f"run={run.folder}", "part=test", "tta=null", job=evaluate, config="evaluate")
    after = found(run.folder)
    assert after["test"]["confusion"] == before["test"]["confusion"]
    assert after["test"]["most_wrong"] == before["test"]["most_wrong"]
    assert "12 val" in (run.folder / "report.html").read_text()
    assert "12 val" not in page


def test_the_stage_is_in_the_record_of_a_recipe(app, small):
    stages = "[{name: a, epochs: 1}, {name: b, epochs: 1}]"
    two = app(*small, "schedule=cosine", f"recipe.stages={stages}").folder
    with (two / "metrics.csv").open(newline="") as file:
        rows = [(row["step"], row["stage"]) for row in csv.DictReader(file) if row["stage"]]
    assert rows == [("0", "0.0"), ("5", "1.0")]
