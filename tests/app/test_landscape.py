"""scripts/landscape.py on a real run: own losses exact, resumable, one sentence for what cannot be."""

import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from lightcycle.app import landscape as module_under_test
from lightcycle.app.landscape import landscape
from lightcycle.app.reload import reload
from lightcycle.app.schema import PROJECT
from lightcycle.ensembling.members import snapshots

RUN = ("data=synthetic", "data.size=6", "data.n_train=40", "data.n_val=12", "data.n_test=12", "data.batch_size=8",
       "data.classes=3", "model=resnet", "model.width=4", "trainer.accelerator=cpu", "schedule=snapshot", "epochs=4",
       "schedule.cycles=4", "+callbacks=snapshot_ensemble", "trainer.progress=false")  # fmt: skip
SMALL = ("line=4", "resolution=3", "device=cpu")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    done = subprocess.run(
        [sys.executable, PROJECT / "train.py", *RUN, f"hydra.run.dir={folder}"], capture_output=True, text=True
    )
    assert len(snapshots(folder / "snapshots")) == 4, done.stderr
    return folder


@pytest.fixture
def look(app, run_folder, tmp_path):
    """Runs the command on a copy of the run, and gives what landscape.json says."""

    def call(*options, name="landscape.json"):
        here = tmp_path / "copy"
        if not here.exists():
            here.mkdir()
            (here / "config.yaml").write_bytes((run_folder / "config.yaml").read_bytes())
            (here / "snapshots").symlink_to(run_folder / "snapshots")
        app(f"run={here}", *SMALL, *options, job=landscape, config="landscape", folder=tmp_path / "hydra")
        return json.loads((here / name).read_text())

    return call


def test_the_ends_of_the_lines_are_the_snapshots_own_losses(look, run_folder, capsys):
    found = look()
    _, data, module = reload(run_folder)
    data.setup("fit")
    (batch,) = data.val_dataloader()
    images, labels = data.normalize(batch[0]), batch[1]
    own = []
    for snapshot in snapshots(run_folder / "snapshots"):
        module.load_state_dict(snapshot.load())
        with torch.no_grad():
            losses = cross_entropy(module.eval()(images), labels, reduction="none")
        own.append(losses.numpy().mean(dtype=np.float64))
    assert [each["loss"] for each in found["snapshots"]] == own
    assert [(line["losses"][0], line["losses"][-1]) for line in found["lines"]] == list(pairwise(own))
    assert [line["ends"] for line in found["lines"]] == [list(pair) for pair in pairwise(own)]
    said = capsys.readouterr().out
    assert found["verdict"] in said
    assert "12 validation images at 19 points, BatchNorm's statistics measured anew" in found["note"]


def test_a_stopped_look_goes_on_to_the_same_numbers(look, tmp_path, monkeypatch):
    calls = []
    real = module_under_test.measure

    def counted(*args):
        calls.append(args)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(module_under_test, "measure", counted)
    with pytest.raises(KeyboardInterrupt):
        look()
    look()
    assert len(calls) == 8 + 12
    with np.load(tmp_path / "copy" / "landscape.npz") as stopped:
        losses = stopped["losses"]
    assert json.loads((tmp_path / "copy" / "landscape.json").read_text()) == look()
    assert len(calls) == 20
    (tmp_path / "copy" / "landscape.npz").unlink()
    look()
    with np.load(tmp_path / "copy" / "landscape.npz") as straight:
        assert np.array_equal(straight["losses"], losses)


def test_mixed_statistics_are_another_measurement(look):
    refreshed, mixed = look("plane=none"), look("plane=none", "batchnorm=mixed")
    assert [each["loss"] for each in refreshed["snapshots"]] == [each["loss"] for each in mixed["snapshots"]]
    assert refreshed["lines"][0]["losses"][1] != mixed["lines"][0]["losses"][1]
    assert mixed["plane"] is None


def test_random_directions_around_the_last(look):
    found = look("plane=random", "resolution=3", name="landscape_random.json")
    assert found["plane"]["places"] == {"4": [0.0, 0.0]}
    assert found["plane"]["losses"][1][1] == found["snapshots"][-1]["loss"]
    other = look("plane=random", "seed=1", name="landscape_random.json")
    assert other["plane"]["losses"][0] != found["plane"]["losses"][0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["plane=x"], "plane must be snapshots, random or none (got x); none is quick"),
        (["members=[1,2,9]"], "members must be between 1 and 4, the run's snapshots (got 9)"),
        (["members=[1,1,2]"], "members must be three different snapshots, counted from 1, or null (got [1, 1, 2])"),
        (["members=3"], "members must be three different snapshots, counted from 1, or null (got 3)"),
        (["images=1"], "images must be >= 2 validation images (got 1); 1000 is usual"),
        (["line=2"], "line must be >= 3 points, ends included (got 2); 13 is usual"),
        (["resolution=1"], "resolution must be >= 2 points of a side (got 1); 15 is usual"),
        (["+foo=1"], "foo is not an option"),
        (["run=/nowhere"], "run must be the folder of a finished run (got /nowhere, which is absent)"),
    ],
)
def test_refusals(look, options, sentence):
    with pytest.raises(SystemExit) as refused:
        look(*options)
    assert sentence in str(refused.value)
    assert str(refused.value).count("\n") == 0


@pytest.mark.parametrize(
    ("kept", "options", "sentence"),
    [
        (
            0,
            [],
            "whose snapshots/ holds none); train with +callbacks=snapshot_ensemble and a schedule of several cycles",
        ),
        (2, [], "plane=snapshots needs three of them (got 2 in"),
        (1, ["plane=none"], "plane=none leaves nothing to draw of 1 snapshot"),
    ],
)
def test_too_few_snapshots(look, run_folder, tmp_path, kept, options, sentence):
    few(run_folder, tmp_path, kept)
    with pytest.raises(SystemExit) as refused:
        look(*options)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(("kept", "options"), [(1, ["plane=random"]), (2, ["plane=none"]), (2, ["plane=random"])])
def test_few_are_enough_for_less(look, run_folder, tmp_path, kept, options):
    few(run_folder, tmp_path, kept)
    name = "landscape_random.json" if "plane=random" in options else "landscape.json"
    assert len(look(*options, name=name)["lines"]) == kept - 1


def few(run_folder, tmp_path, kept):
    here = tmp_path / "copy"
    (here / "snapshots").mkdir(parents=True)
    (here / "config.yaml").write_bytes((run_folder / "config.yaml").read_bytes())
    for snapshot in snapshots(run_folder / "snapshots")[:kept]:
        for suffix in (".safetensors", ".json"):
            path = snapshot.path.with_suffix(suffix)
            (here / "snapshots" / path.name).write_bytes(path.read_bytes())


def test_help_is_answered_at_once():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", PROJECT / "scripts" / "landscape.py", "--help"],
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("# Are a run's snapshots different minima?")
    assert " torch\n" not in done.stderr
