"""Runs are read from their folders, grouped by what differs, and what has no figures is named."""

import csv
import json
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from lightcycle.app.compare import compare, differing, grouped, main, rank
from lightcycle.app.runs import find, flat, read
from lightcycle.app.schema import PROJECT
from lightcycle.report.sweep import Setting

LR = {"sgdr": 0.1, "one_cycle": 0.4}


def leave(folder, schedule="sgdr", seed=0, acc=0.9, typed=("schedule", "seed"), **more):
    """A run's folder as train.py leaves it, in small."""
    (folder / "hydra").mkdir(parents=True)
    config = {
        "seed": seed,
        "lr": LR.get(schedule, 0.1),
        "schedule": {"cycles": 3} if schedule == "sgdr" else {"pct_start": 0.25},
        "callbacks": {"checkpoint": {"dirpath": str(folder / "checkpoints")}},
        "logger": {"csv": {"folder": str(folder)}},
        "choices": {"schedule": schedule, "data": "digits"},
    }
    OmegaConf.save(OmegaConf.create(OmegaConf.to_container(OmegaConf.merge(config, more))), folder / "config.yaml")
    OmegaConf.save(OmegaConf.create([f"{key}=x" for key in typed]), folder / "hydra" / "overrides.yaml")
    summary = {"monitor": "val/acc", "val/acc": acc, "train/loss": 9.0, "epochs": 2.0, "steps": 10, "seconds": 3.0}
    (folder / "summary.json").write_text(json.dumps(summary | {"seed": seed, "lr_find": []}))
    (folder / "metrics.csv").write_text(f"step,train/loss,val/acc\n0,2.0,\n4,1.0,{acc / 2}\n9,,{acc}\n")
    return folder


@pytest.fixture
def sweep(tmp_path):
    for schedule, base in (("sgdr", 0.9), ("one_cycle", 0.95)):
        for seed in (0, 1):
            leave(tmp_path / f"schedule={schedule},seed={seed}", schedule, seed, base + 0.01 * seed)
    return tmp_path


def rows(file):
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_one_row_per_setting_the_best_first(sweep, capsys):
    assert compare([sweep], sweep) == []
    one_cycle, sgdr = rows(sweep / "sweep.csv")
    assert (one_cycle["schedule"], one_cycle["n"], sgdr["schedule"], sgdr["n"]) == ("one_cycle", "2", "sgdr", "2")
    assert float(sgdr["val/acc_mean"]) == pytest.approx(0.905)
    assert float(sgdr["val/acc_sd"]) == pytest.approx(0.01 / 2**0.5)
    assert "train/loss_mean" not in sgdr  # of one batch
    assert "lr" not in sgdr  # the schedule settles it here
    assert list(sgdr)[:2] == ["schedule", "n"]


def test_curves_are_over_epochs(sweep):
    run = read(sweep / "schedule=sgdr,seed=0")
    assert run.curve("val/acc") == [(1.0, 0.45), (2.0, 0.9)]
    assert run.curve("never/logged") == []


def test_what_was_typed_is_shown_even_where_another_key_settles_it(tmp_path):
    for schedule in LR:
        leave(tmp_path / schedule, schedule, typed=("schedule", "lr"))
    assert differing(find([tmp_path])) == ["schedule", "lr"]


def test_keys_that_nobody_typed_are_found_too(tmp_path):
    for width in (8, 16):
        leave(tmp_path / f"w{width}", model={"width": width}, typed=())
    leave(tmp_path / "w8b", model={"width": 8}, callbacks={"ema": {"decay": 0.9}}, typed=())
    assert differing(find([tmp_path])) == ["callbacks", "model.width"]


def test_paths_into_the_runs_own_folder_tell_nothing_apart(tmp_path):
    for name in ("a", "b"):
        folder = tmp_path / "sweep" / name
        leave(folder, typed=("data.root",), data={"root": f"/photos/{name}"}, profile=str(folder / "trace"))
    assert differing(find([tmp_path])) == ["data.root"]


def test_seeds_alone_are_one_setting(tmp_path):
    for seed in (0, 1, 2):
        leave(tmp_path / str(seed), seed=seed)
    runs = find([tmp_path])
    assert differing(runs) == []
    (setting,) = grouped(runs, [], "val/acc")
    assert setting.n == 3


def test_by_chooses_the_columns(sweep, capsys):
    compare([sweep], sweep, by=["seed"])
    assert [(row["seed"], row["n"]) for row in rows(sweep / "sweep.csv")] == [("1", "2"), ("0", "2")]
    with pytest.raises(ValueError, match=r"^by=sede is in no run's config; what differs is: schedule$"):
        compare([sweep], sweep, by=["sede"])


def test_a_row_that_is_one_run_names_it(sweep, capsys):
    other = leave(sweep.parent / f"{sweep.name} beside" / "plain", lr=0.7, typed=("lr",), acc=0.5)
    compare([sweep, other], sweep)
    assert [row["run"] for row in rows(sweep / "sweep.csv")] == ["", "", f"{sweep.name} beside/plain"]
    said = capsys.readouterr().out.splitlines()
    assert said[1].split()[-1] == "run"
    assert [line.rpartition("  ")[2] for line in said[2:5]] == ["-", "-", f"{sweep.name} beside/plain"]
    compare([sweep], sweep, by=["schedule"])
    assert capsys.readouterr().out.splitlines()[1].split() == ["schedule", "n", "val/acc", "seconds"]


def test_each_comparison_of_several_has_a_folder_of_its_own(sweep, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    folders = [str(folder) for folder in sorted(sweep.iterdir())]
    for _ in range(2):
        main([*folders, "by=seed"])
    pages = sorted((tmp_path / "outputs" / "compare").glob("*/sweep.html"))
    assert len(pages) == 2
    assert [line for line in capsys.readouterr().out.splitlines() if line.endswith("sweep.html")] == [
        str(page.relative_to(tmp_path)) for page in pages
    ]
    main([*folders, "out=mine"])
    assert (tmp_path / "mine" / "sweep.html").exists()


def test_a_lower_loss_is_better():
    settings = [Setting((str(k),), {"val/loss": [k]}) for k in (2.0, 1.0, 3.0)] + [Setting(("none",))]
    assert [each.values[0] for each in rank(settings, "val/loss")] == ["1.0", "2.0", "3.0", "none"]
    settings = [Setting((str(k),), {"val/acc": [k]}) for k in (2.0, 1.0, 3.0)] + [Setting(("none",))]
    assert [each.values[0] for each in rank(settings, "val/acc")] == ["3.0", "2.0", "1.0", "none"]


def test_runs_without_figures_are_named(sweep, capsys):
    (leave(sweep / "cut") / "summary.json").unlink()
    (leave(sweep / "torn") / "summary.json").write_text('{"val/')
    stopped = leave(sweep / "stopped") / "summary.json"
    stopped.write_text(json.dumps(json.loads(stopped.read_text()) | {"interrupted": True}))
    (sweep / "early" / "hydra").mkdir(parents=True)  # it failed before it had a config
    (sweep / "early" / "hydra" / "overrides.yaml").write_text("- lr=-1\n")
    (sweep / "early" / "failed.json").write_text('{"error": "lr must be > 0"}')
    others = compare([sweep], sweep)
    assert {run.folder.name: run.problem for run in others} == {
        "cut": "unfinished: no summary.json",
        "torn": "unfinished: no summary.json",
        "stopped": "interrupted",
        "early": "failed: lr must be > 0",
    }
    said = capsys.readouterr().out
    assert all(f"{sweep / name}" in said for name in ("cut", "torn", "stopped", "early"))
    assert sum(int(row["n"]) for row in rows(sweep / "sweep.csv")) == 4


def test_a_failure_after_a_success_is_a_failure(sweep):
    (sweep / "schedule=sgdr,seed=0" / "failed.json").write_text('{"error": "out of memory"}')
    assert read(sweep / "schedule=sgdr,seed=0").problem == "failed: out of memory"


def test_a_run_named_twice_counts_once_and_its_inside_is_not_searched(sweep):
    run = sweep / "schedule=sgdr,seed=0"
    leave(run / "stages" / "inner")
    assert [each.folder for each in find([run, sweep, run])].count(run) == 1
    assert len(find([sweep])) == 4


def test_figures_that_not_every_seed_has_are_left_out(sweep, capsys):
    path = sweep / "schedule=sgdr,seed=0" / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test/acc": 0.5, "val/acc": 0.5}))
    compare([sweep], sweep)
    assert "test/acc_mean" not in rows(sweep / "sweep.csv")[0]


def test_flat_keys_have_the_choices_in_front():
    config = {"seed": 1, "empty": {}, "model": {"deep": {"width": [1]}}, "choices": {"model": "mlp", "a/b": "c"}}
    config |= {"callbacks": {"a": None, "b": {"x": 1}}, "found": {"lr": 1}}
    assert list(flat(config).items()) == [
        ("model", "mlp"),
        ("callbacks", "a+b"),
        ("seed", 1),
        ("empty", {}),
        ("callbacks.a", None),
        ("model.deep.width", [1]),
        ("callbacks.b.x", 1),
    ]


def test_mistakes_are_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match=r"^error: empty has no run in it; give a folder that train.py has written"):
        main(["empty"])
    main(["--help"])
    assert capsys.readouterr().out.startswith("usage: python scripts/compare.py FOLDER")
    with pytest.raises(SystemExit, match=r"^usage: python scripts/compare.py FOLDER"):
        main([])
    (leave(tmp_path / "cut") / "summary.json").unlink()
    with pytest.raises(SystemExit, match=r"^error: none of the 1 runs has finished: cut \(unfinished: no summary"):
        main(["cut"])


def test_by_hand_without_torch(sweep):
    folders = [str(folder) for folder in sorted(sweep.iterdir())]
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['compare.py', *{folders!r}, 'by=schedule']\n"
        f"runpy.run_path({str(PROJECT / 'scripts' / 'compare.py')!r}, run_name='__main__')\n"
        "print(sorted({'torch', 'lightning'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=sweep)
    assert done.stdout.endswith("\n[]\n"), done.stdout + done.stderr
    (out,) = (sweep / "outputs" / "compare").iterdir()
    assert sorted(file.name for file in out.iterdir()) == ["sweep.csv", "sweep.html", "sweep.png"]
    assert f"{out.relative_to(sweep)}/sweep.html\n" in done.stdout
