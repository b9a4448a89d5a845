"""scripts/plan.py as its user meets it: a picture and three lines, no torch, no pixels."""

import subprocess
import sys

import pytest

from lightcycle.app.schema import PROJECT

PLAN = str(PROJECT / "scripts" / "plan.py")


def plan(*overrides, cwd):
    return subprocess.run(
        [sys.executable, PLAN, *overrides], capture_output=True, text=True, timeout=100, check=False, cwd=cwd
    )


def test_a_plan_is_a_picture_and_the_length_of_the_run(tmp_path):
    done = plan("schedule=sgdr", "data=fashion_mnist", cwd=tmp_path)
    title, length, path = done.stdout.splitlines()
    assert title == "sgdr · fashion_mnist · resnet · sgd · lr 0.1 · seed 0"
    assert length.startswith("7 epochs, 3,003 steps, about 384,384 images")
    assert path == str(tmp_path / "timeline.png")
    assert [file.name for file in tmp_path.iterdir()] == ["timeline.png"]
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")
    assert done.stderr == ""


def test_the_plan_goes_where_it_is_told(tmp_path):
    done = plan("schedule=one_cycle", f"hydra.run.dir={tmp_path}/a/b", cwd=tmp_path)
    assert (tmp_path / "a/b/timeline.png").is_file(), done.stderr


def test_a_plan_that_cannot_be_is_one_sentence(tmp_path):
    done = plan("trainer.max_steps=2", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: schedule.cycles=3 does not fit into a run of 2 steps")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", ["digits", "fashion_mnist", "synthetic"])
def test_a_plan_needs_neither_torch_nor_data(data, tmp_path):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['plan.py', 'data={data}', 'hydra.run.dir={tmp_path}']\n"
        f"runpy.run_path({PLAN!r}, run_name='__main__')\n"
        "print(sorted({'torch', 'lightning', 'torchvision', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.endswith("\n[]\n"), done.stdout + done.stderr
