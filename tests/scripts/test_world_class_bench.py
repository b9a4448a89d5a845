"""The measurement of the recipes runs the real command, goes on where it stopped, and keeps its test photos apart."""

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"


@pytest.fixture
def photos(tmp_path):
    """Dark cats and bright dogs, which a finder's sweep can learn."""
    draw = np.random.default_rng(0)
    for folder in ("train/cats", "train/dogs", "val/cats", "val/dogs"):
        place = tmp_path / "photos" / folder
        place.mkdir(parents=True)
        for i in range(20):
            pixels = draw.integers(0, 128, (40, 40, 3), dtype=np.uint8) + 127 * folder.endswith("dogs")
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"{i}.jpg")
    return tmp_path / "photos"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    yield importlib.import_module("world_class")
    for name in ("world_class", "features", "common"):
        sys.modules.pop(name, None)


@pytest.fixture
def measure(photos, tmp_path):
    def run():
        options = ["--quick", "--threads", "1", "--photos", photos, "--out", tmp_path]
        return subprocess.run(
            [sys.executable, BENCH / "world_class.py", *options],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")}


def a_run(precomputed=10.0, head=10.0, last=40.0, steps=40, epochs=4.0, sweep_steps=0, processor=True):
    def stage(name, own, steps=10, epochs=1.0):
        since = {"wall": 2 * own, "processor": 2 * own if processor else None}
        return {
            "name": name,
            "seconds": own,
            "steps": steps,
            "epochs": epochs,
            "from the end of the one before": since,
        }

    return {
        "figures": {"test/acc": 0.5, "test/acc_tta": 0.75},
        "seconds": {
            part: {"wall": 50.0, "processor": None} for part in ("first useful model", "training", "evaluation")
        },
        "stages": [stage("precomputed", precomputed), stage("head", head), stage("all", last, steps, epochs)],
        "sweep_steps": sweep_steps,
        "load": 1.0,
    }


def test_held_out_photos_are_a_tenth_of_each_class_and_of_no_other_part(bench, photos, tmp_path):
    bench.lay_out(photos, tmp_path / "links", None)
    train, val, test = (names(tmp_path / "links" / part) for part in ("train", "val", "test"))
    assert train | val == names(photos / "train")
    assert not train & val
    assert test == names(photos / "val")
    assert [len([name for name in val if name.startswith(kind)]) for kind in ("cats", "dogs")] == [2, 2]
    kept = (tmp_path / "links" / "test" / "cats" / "3.jpg").resolve()
    assert kept == (photos / "val" / "cats" / "3.jpg").resolve()
    bench.lay_out(photos, tmp_path / "links", None)
    assert names(tmp_path / "links" / "val") == val


def test_a_few_photos_of_each_class(bench, photos, tmp_path):
    bench.lay_out(photos, tmp_path / "links", 5)
    assert [len(names(tmp_path / "links" / part)) for part in ("train", "val", "test")] == [8, 2, 10]


def test_one_cycle_gets_the_epochs_that_cost_the_seconds_of_all_stages(bench):
    assert bench.epochs_in([a_run()]) == 6  # 60 s, of which an epoch of the last stage takes 10
    assert bench.epochs_in([a_run(), a_run(head=50.0)]) == 8  # 80 s on average
    # a step takes 40 s / (40 + 40); 60 s are 120 steps, 40 of them the finder's: 80 are 8 epochs
    assert bench.epochs_in([a_run(sweep_steps=40)]) == 8
    assert bench.epochs_in([a_run(processor=False)]) == 6


def test_one_cycle_needs_the_seconds_of_the_recipe(bench):
    results = argparse.Namespace(pieces={})
    with pytest.raises(ValueError, match="one_cycle is as long as world_class, which has not run; add it: --arms"):
        bench.options_of(results, "one_cycle")
    results.pieces["world_class, seed 0"] = a_run()
    assert bench.options_of(results, "ulmfit") == ["recipe=ulmfit"]
    assert "epochs: 6, lr: auto" in bench.options_of(results, "one_cycle")[1]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system has no /proc")
def test_processor_seconds_are_those_the_kernel_counts(bench):
    burn = "import time\nwhile time.process_time() < {}: pass\n"
    ended = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', '''{burn.format(0.4)}'''])\n"
    runs = "below = subprocess.Popen([sys.executable, '-c', '''" + burn.format(0.3) + "print(flush=True); input()'''], "
    runs += "stdin=subprocess.PIPE, stdout=subprocess.PIPE)\nbelow.stdout.readline()\n"
    code = ended + runs + "print(flush=True); input(); below.communicate(b'\\n')"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    seen = bench.processor_seconds(process.pid)
    process.stdin.write(b"\n")
    process.stdin.close()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    resolution = 6 / bench.TICKS  # two times of three processes, each in whole ticks
    assert 0.7 - resolution <= seen <= usage.ru_utime + usage.ru_stime + resolution
    assert bench.processor_seconds(process.pid) is None


def test_goals_stand_beside_the_recipe_and_references_below(bench):
    found, header, rows = bench.summarize({"world_class": [a_run(), a_run()], "fine_tune": [a_run()], "one_cycle": []})
    assert found["world_class"]["accuracy with TTA, %"] == {"mean": 75.0, "sd": 0.0, "n": 2}
    assert {len(row) for row in rows} == {len(header)}
    goals = [(row[0], row[1]) for row in rows if row[-1]]
    assert goals == [
        ("world_class", "accuracy, %"),
        ("world_class", "s, first useful model, wall"),
        ("world_class", "s, training, wall"),
    ]
    assert [row[2] for row in rows[-4:]] == [97.55, 91.9, 93.7, 280.0]
    assert not any("processor" in row[1] for row in rows)  # there were none


def test_a_run_that_fails_says_why(bench, photos, tmp_path):
    args = argparse.Namespace(threads=1, size=32, quick=True)
    with pytest.raises(RuntimeError, match=r"(?s)nope, seed 0 failed:.*nope"):
        bench.run(args, tmp_path, "nope", 0, ["recipe=nope"])


@pytest.mark.slow
@pytest.mark.timeout(1800)  # three runs of the command, from its start to its page
def test_every_arm_runs_and_a_stopped_measurement_goes_on(measure, tmp_path):
    first = measure()
    assert first.returncode == 0, first.stderr
    path = tmp_path / "world_class-quick.json"
    whole = json.loads(path.read_text())
    assert list(whole["pieces"]) == ["world_class, seed 0", "fine_tune, seed 0", "one_cycle, seed 0"]
    recipe, fine_tune, one_cycle = whole["pieces"].values()
    assert [stage["name"] for stage in recipe["stages"]] == ["precomputed", "head", "all"]
    assert [stage["name"] for stage in fine_tune["stages"]] == ["frozen", "all"]
    assert [stage["schedule"] for stage in one_cycle["stages"]] == ["OneCycle"]
    assert {"test/acc", "test/acc_tta", "test/acc_ensemble", "test/acc_ensemble_tta"} <= recipe["figures"].keys()
    assert recipe["sweep_steps"] == 50
    spans = recipe["seconds"]
    assert 0 < spans["first useful model"]["wall"] < spans["training"]["wall"]
    assert "| one_cycle | accuracy with TTA, % |" in path.with_suffix(".md").read_text()
    assert not list((tmp_path / "world_class-quick").glob("*/cache"))

    second = measure()
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("done before") == 3
    assert json.loads(path.read_text())["pieces"] == whole["pieces"]
