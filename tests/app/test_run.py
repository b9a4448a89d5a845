"""A whole run through the real command line: what it returns, what it leaves, that it repeats and resumes."""

import csv
import json
from importlib.metadata import version

import pytest
import torch
from omegaconf import OmegaConf

SUMMARY = [
    *("test/acc", "val/acc", "epochs", "steps", "seconds", "images_per_second"),
    *("schedule", "seed", "git_commit", "versions"),
]


def weights(folder, name="last.ckpt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)["state_dict"]


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a | b)


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def table(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def files(tmp_path):
    def listed(folder):
        return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())

    return listed


def test_what_a_run_leaves(app, small, files, capsys):
    run = app(*small, "schedule=one_cycle", "epochs=2", "trainer.log_every_n_steps=1", "tags=[a]")
    ours = [file for file in files(run.folder) if not file.startswith("hydra/")]
    assert ours == [
        "checkpoints/best-0.ckpt" if "checkpoints/best-0.ckpt" in ours else "checkpoints/best-1.ckpt",
        "checkpoints/last.ckpt",
        "checkpoints/previous.ckpt",
        "config.yaml",
        "confusion_test.png",
        "evaluate.json",
        "evaluate.md",
        "metrics.csv",
        "most_wrong_test.png",
        "reliability_test.png",
        "report.html",
        "stages/0-all.json",
        "summary.json",
        "timeline.png",
    ]
    left = summary(run.folder)
    assert set(SUMMARY) <= set(left)
    assert run.value == left["val/acc"]
    assert (left["epochs"], left["steps"], left["schedule"], left["seed"]) == (2.0, 10, "one_cycle", 0)
    assert left["images_per_second"] == pytest.approx(80 / left["seconds"])
    assert left["versions"]["torch"] == version("torch")

    config = OmegaConf.load(run.folder / "config.yaml")
    assert config.choices.schedule == "one_cycle"
    assert (config.lr, config.tags, config.model.hidden) == (0.1, ["a"], [8])
    assert "${" not in (run.folder / "config.yaml").read_text()

    rows = table(run.folder)
    rates = [float(row["lr"]) for row in rows if row["lr"]]
    assert len(rates) == 10
    assert (max(rates), rates[-1]) == (0.1, pytest.approx(0.1 / 1e5))
    assert [float(row["momentum"]) for row in rows if row["momentum"]][-1] == 0.95
    assert float(next(row["test/acc"] for row in rows if row["test/acc"])) == left["test/acc"]

    page = (run.folder / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page.split("<body")[1].split("<pre")[0].replace("http://www.w3.org", "")
    assert (run.folder / "timeline.png").read_bytes().startswith(b"\x89PNG")

    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[0] == "one_cycle · synthetic · mlp · sgd · lr 0.1 · seed 0"
    assert lines[1].startswith("2 epochs, 10 steps, about 80 images (40 training, 12 validation, 12 test images)")
    assert next(line for line in lines[2:] if line.startswith("epoch")).startswith("epoch 1/2  train/loss ")
    assert len(lines) < 24


def test_the_same_seed_is_the_same_run_and_zero_is_a_seed(app, small, tmp_path):
    first, again, other = (
        app(*small, "epochs=2", "data.crop=1", "data.flip=true", f"seed={seed}", folder=tmp_path / name)
        for seed, name in ((0, "first"), (0, "again"), (1, "other"))
    )
    assert same(weights(first.folder), weights(again.folder))
    assert not same(weights(first.folder), weights(other.folder))
    figures = [summary(run.folder) for run in (first, again)]
    names = [name for name in figures[0] if "/" in name]
    assert len(names) >= 6
    assert [figures[0][name] for name in names] == [figures[1][name] for name in names]
    assert summary(other.folder)["seed"] == 1


@pytest.mark.slow
def test_a_run_resumed_anywhere_is_the_straight_run(app, small, tmp_path):
    every_step = (
        "+callbacks.steps={_target_:lightning.pytorch.callbacks.ModelCheckpoint,"
        f'dirpath:{tmp_path}/steps,filename:"{{step}}",every_n_train_steps:1,save_top_k:-1}}'
    )
    options = (*small, "schedule.cycles=2", "data.crop=1", "data.erase=0.5", "trainer.log_every_n_steps=1")
    straight = app(*options, every_step, folder=tmp_path / "straight")
    final, figures = weights(straight.folder), summary(straight.folder)
    for step in (2, 5, 9, 15):  # inside, at the end of an epoch, inside again, the end
        ckpt = tmp_path / "steps" / f"step={step}.ckpt"
        torch.load(ckpt, weights_only=True)
        resumed = app(*options, f'resume="{ckpt}"', folder=tmp_path / f"from {step}")
        assert same(weights(resumed.folder), final), step
        theirs = summary(resumed.folder)
        assert (theirs["steps"], theirs["epochs"]) == (15, 3.0)
        assert all(theirs[name] == figures[name] for name in ("test/acc", "test/loss", "val/acc", "val/loss"))


def test_resuming_with_another_plan_is_a_choice(app, small, tmp_path):
    first = app(*small, "schedule=cosine", "epochs=1", folder=tmp_path / "first")
    more = (*small, "schedule=cosine", "epochs=2", f"resume={first.folder}/checkpoints/last.ckpt")
    with pytest.raises(SystemExit, match=r"is at the end of its run, and nothing is left to train; .*on_resume=replan"):
        app(*more, folder=tmp_path / "same")
    (first.folder / "report.html").unlink()  # as if killed in its test
    with pytest.raises(SystemExit, match=r"is at the end of training, and what is left is done in its own folder"):
        app(*more, folder=tmp_path / "same")
    with pytest.raises(SystemExit, match=r"planned as CosineAnnealing.*, epochs=1 .5 steps. .got .*, epochs=2.; "):
        app(*more, folder=first.folder)
    run = app(*more, "on_resume=replan", folder=tmp_path / "replan")
    assert summary(run.folder)["steps"] == 10
    assert summary(run.folder)["images_per_second"] == pytest.approx(80 / summary(run.folder)["seconds"])


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        (["epochs=0.6"], 3),
        (["epochs=1.5"], 8),
        (["trainer.max_steps=7"], 7),
        (["trainer.check_val_every_n_epoch=2"], 15),
    ],
    ids=lambda x: x[0] if isinstance(x, list) else "",
)
def test_a_run_that_ends_between_validations_is_validated_and_saved(overrides, steps, app, small):
    run = app(*small, "schedule=cosine", "epochs=3", *overrides)
    saved = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == summary(run.folder)["steps"] == steps
    validated = [int(row["step"]) for row in table(run.folder) if row["val/acc"]]
    assert validated[-1] == steps
    assert run.value == float(next(row["val/acc"] for row in table(run.folder) if row["step"] == str(steps)))


def test_last_is_the_last_even_where_the_best_came_earlier(app, small):
    run = app(*small, "epochs=3", "lr=1e-9", "callbacks.checkpoint.monitor=val/loss", "schedule=constant")
    assert torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 15


def test_the_best_weights_are_tested_when_asked(app, small, monkeypatch):
    from lightning.pytorch import Trainer

    tested = []
    test = Trainer.test
    monkeypatch.setattr(Trainer, "test", lambda self, *a, **k: (tested.append(k["ckpt_path"]), test(self, *a, **k))[1])
    run = app(*small, "epochs=2", "test=best")
    assert str(tested[0]).startswith(str(run.folder / "checkpoints" / "best-"))
    run = app(*small, "epochs=2", "test=none", folder=run.folder.parent / "none")
    assert len(tested) == 1
    assert "test/acc" not in summary(run.folder)


def test_checkpoints_can_be_left_out_and_multiplied(app, small, tmp_path):
    run = app(*small, "epochs=1", "~callbacks.checkpoint", "~callbacks.last", folder=tmp_path / "none")
    assert [file.name for file in (run.folder / "checkpoints").iterdir()] == ["last.ckpt"]
    run = app(*small, "epochs=3", "callbacks.checkpoint.save_top_k=2", folder=tmp_path / "two")
    assert len(list((run.folder / "checkpoints").glob("best-*.ckpt"))) == 2


def test_stopping_early_and_averaging(app, small, tmp_path):
    early = ("+callbacks=early_stopping", "callbacks.early_stopping.patience=0", "lr=1e-9", "epochs=5")
    run = app(*small, *early, "schedule=constant", folder=tmp_path / "early")
    assert (summary(run.folder)["steps"], summary(run.folder)["epochs"]) == (10, 2.0)
    run = app(*small, "+callbacks=ema", "epochs=1", folder=tmp_path / "ema")
    assert 0.0 <= run.value <= 1.0


def test_metrics_csv_is_written_whatever_else_logs(app, small, files, tmp_path):
    run = app(*small, "epochs=1", "logger=tensorboard")
    names = files(run.folder)
    assert "metrics.csv" in names
    assert any("events.out.tfevents" in name for name in names)
    assert not any("checkpoints" in name and "tensorboard" in name for name in names)


DEBUG = {
    "one_batch": ([], 7),
    "overfit": (["schedule=constant", "model.hidden=[64]", "model.dropout=0"], 200),
    "profile": (["schedule=clr"], 5),
}


@pytest.mark.parametrize("debug", DEBUG)
def test_debugging(debug, app, small):
    overrides, steps = DEBUG[debug]
    left = summary(app(*small, f"debug={debug}", "trainer.progress=false", *overrides).folder)
    assert left["steps"] == steps
    if debug == "overfit":
        assert left["train/loss_epoch"] < 0.01


def test_a_watched_loss_is_returned(app, small):
    run = app(*small, "epochs=1", "monitor=val/loss")
    assert run.value == summary(run.folder)["val/loss"]


def test_a_sweep_leaves_a_folder_for_each_run(app, small, tmp_path):
    runs = app(
        *("-m", *small, "schedule=sgdr,one_cycle", "epochs=1", "test=none", f"hydra.sweep.dir={tmp_path}/sweep"),
    )
    folders = [file.parent for file in sorted((tmp_path / "sweep").rglob("summary.json"))]
    assert len(folders) == 2
    assert {summary(folder)["schedule"] for folder in folders} == {"sgdr", "one_cycle"}
    assert sorted(runs.values) == sorted(summary(folder)["val/acc"] for folder in folders)


def test_a_missing_set_without_a_network_is_one_sentence(app, tmp_path):
    with pytest.raises(SystemExit, match=r"error: mnist is not under .* and data.download is false; set data.root"):
        app("data=mnist", f"data.root={tmp_path}", "data.download=false", "model=mlp")


def test_a_refused_resume_leaves_a_finished_run_as_it_is(app, small):
    run = (*small, "epochs=1", "schedule=cosine")
    folder = app(*run).folder
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(SystemExit, match="is at the end of its run, and nothing is left to train"):
        app(*run, f"resume={folder}")
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_range_test_alone_sees_the_net_that_a_run_trains(app, small, monkeypatch):
    from torch.nn import BatchNorm2d

    from lightcycle.app.find import find
    from lightcycle.callbacks import LRFinder

    seen, range_test = [], LRFinder.find

    def watched(self, trainer, pl_module):
        seen.append({part.training for part in pl_module.modules() if isinstance(part, BatchNorm2d)})
        return range_test(self, trainer, pl_module)

    monkeypatch.setattr(LRFinder, "find", watched)
    net = [item for item in small if not item.startswith("model")] + ["data.size=16", "model=resnet", "model.width=4"]
    quick = ("callbacks.lr_finder.num_steps=10", "callbacks.lr_finder.sweeps=1", "epochs=3")
    app(*net, *quick, job=find, config="lr_find")
    app(*net, *quick, "callbacks=[lr_finder,still_batchnorm]", job=find, config="lr_find")
    assert seen == [{True}, {False}]
