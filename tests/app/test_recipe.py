"""Recipes on the command line: what a stage may say, what is refused, and the recipes that are shipped."""

import json

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from lightcycle.app import overview, plan, recipe
from lightcycle.app.schema import PROJECT
from lightcycle.schedules import SGDR, OneCycle

RECIPES = sorted(file.stem for file in (PROJECT / "conf" / "recipe").glob("*.yaml"))
TWO = "recipe.stages=[{name: head, epochs: 1, depth: 1, schedule: {name: cosine}}, {name: all, lr: 0.01}]"


def read(config):
    return recipe.read(config)


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def staged(app, small, stages, *more):
    return app(*small, f"recipe.stages={stages}", *more, job=read).value


def test_a_run_without_a_recipe_is_one_stage(app, small):
    (only,) = app(*small, job=read).value
    assert (only.name, only.index, only.count) == ("all", 0, 1)
    assert only.config.recipe.stages == [{"name": "all"}]


def test_a_stage_is_the_top_level_with_what_it_says_otherwise(app, small):
    stages = (
        "[{name: a, epochs: 2, features: cached, lr: auto, schedule: {name: one_cycle, pct_start: 0.5}},"
        "{name: b, depth: 1, lr: same, schedule: {cycles: 2}, data: {crop: 1, batch_size: 4}},"
        "{name: c, lr: [0.001, 0.01], label_smoothing: 0, optimizer: {momentum: 0.8}, until: overfitting,"
        " callbacks: {lr_finder: {sweeps: 1}, checkpoint: null}}]"
    )
    a, b, c = staged(app, small, stages, "seed=5", "schedule.decay=0.5")
    assert (a.features, a.epochs, a.finds_lr, a.carries) == ("cached", 2.0, True, False)
    assert a.schedule == OneCycle(pct_start=0.5)
    assert (b.features, b.lr, b.finds_lr, b.carries) == ("live", 0.1, False, True)
    assert b.schedule == SGDR(cycles=2, decay=0.5)
    assert (b.data.crop, b.data.batch_size, a.data.batch_size) == (1, 4, 8)
    assert b.config.callbacks.gradual_unfreezing.start == 1
    assert (c.lr, c.label_smoothing, c.optimizer.momentum, a.optimizer.momentum) == (0.01, 0.0, 0.8, 0.9)
    assert {"lr_finder", "stop_on_overfitting", "last"} == set(c.config.callbacks)
    assert c.config.callbacks.lr_finder.sweeps == 1
    assert [s.seed for s in (a, b, c)] == [5, 5, 5]
    assert c.carries is False


REFUSED = {
    "[]": "recipe.stages must be a list of stages (got none)",
    "[{epochs: 1}]": "recipe.stages[0] must have a name (got",
    "[{name: a}, {name: a}]": "two of recipe.stages are called a; give each a name of its own",
    "[{name: a, epochs: -1}, {name: b}]": "recipe.stages[0] (a): epochs must be > 0 (got -1)",
    "[{name: a}, {name: b, epoch: 1}]": "recipe.stages[1] (b): epoch is not an option of a stage; did you mean epochs?",
    "[{name: a}, {name: b, seed: 1}]": "recipe.stages[1] (b): seed is of the whole run, and not of a stage",
    "[{name: a}, {name: b, model: {hidden: [3]}}]": "recipe.stages[1] (b): model is of the whole run",
    "[{name: a, schedule: {name: sgd}}, {name: b}]": "schedule.name=sgd is not an option; there are: clr, constant",
    "[{name: a, schedule: {name: sgdr, cyclse: 1}}, {name: b}]": "schedule.cyclse is not an option of SGDR; did you",
    "[{name: a, schedule: 3}, {name: b}]": "schedule must be a set of options (got 3)",
    "[{name: a, schedule: {cycles: 0}}, {name: b}]": "recipe.stages[0] (a): schedule.cycles must be",
    "[{name: a, data: {sise: 3}}, {name: b}]": "recipe.stages[0] (a): data.sise is not an option of Synthetic; did you",
    "[{name: a}, {name: b, data: {n_train: 80}}]": "recipe.stages[1] (b): data.n_train must stay 40 where images are",
    "[{name: a, lr: same}, {name: b}]": "recipe.stages[0] (a): lr: same needs a stage before this one",
    "[{name: a, lr: high}, {name: b}]": "recipe.stages[0] (a): lr must be a number > 0, or auto (got 'high')",
    "[{name: a, depth: 0}, {name: b}]": "recipe.stages[0] (a): depth must be a whole number >= 1 (got 0)",
    "[{name: a, depth: 2, features: cached}, {name: b}]": "depth=2 needs features: live (got cached",
    "[{name: a, until: bored}, {name: b}]": "until must be overfitting (got bored)",
    "[{name: a}, {name: b, schedule: {name: constant}, until: overfitting}]": "judges at the ends of cycles, and Const",
    "[{name: a, callbacks: {lr_findr: {}}}, {name: b}]": "callbacks.lr_findr is not an option; did you mean callbacks",
    "[{name: a, features: cached, data: {flip: true}}, {name: b}]": "data.flip=true changes nothing with features: cac",
    "[{name: a, callbacks: {lr_finder: true}}, {name: b}]": "callbacks.lr_finder must be a set of options (got true)",
    "[{name: a, features: kept}, {name: b}]": "recipe.stages[0] (a): features must be one of live, cached (got kept)",
    "[{name: a, epochs: many}, {name: b}]": "recipe.stages[0] (a): epochs must be a number (got 'many')",
}


@pytest.mark.parametrize("stages", REFUSED)
def test_what_a_stage_cannot_be_is_one_sentence(stages, app, small):
    with pytest.raises(SystemExit) as error:
        staged(app, small, stages)
    assert str(error.value).startswith("error: ")
    assert REFUSED[stages] in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["trainer.check_val_every_n_epoch=2"], "after every epoch (got trainer.check_val_every_n_epoch=2); leave one"),
        (["trainer.limit_val_batches=0", "monitor=train/acc"], "after every epoch (got trainer.limit_val_batches=0)"),
        (
            ["schedule.cycle_len=null", "epochs=3"],
            "a cycle of stage all ends inside an epoch, after 2 steps; ",
        ),
    ],
)
def test_over_fitting_that_nobody_could_see_is_refused_before_the_run(options, words, app, small):
    stages = "recipe.stages=[{name: head, epochs: 1, schedule: {name: cosine}}, {name: all, until: overfitting}]"
    with pytest.raises(SystemExit) as error:
        app(*small, stages, *options)
    assert words in str(error.value)


def test_a_length_that_no_stage_takes_is_refused(app, small):
    with pytest.raises(SystemExit) as error:
        staged(app, small, "[{name: a, epochs: 1}, {name: b, epochs: 2}]", "epochs=5")
    assert str(error.value) == (
        "error: epochs=5 changes nothing here, since each stage of this recipe has a length of its own (a 1, b 2); set "
        "that of a stage, counted from 0: recipe.stages.1.epochs=5"
    )


def test_the_length_of_one_stage_can_be_typed(app):
    stages = app("recipe=fine_tune", "data=synthetic", "recipe.stages.1.epochs=5", job=read).value
    assert [s.epochs for s in stages] == [1, 5]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_what_it_is_and_can_be_planned(name, app, tmp_path):
    text = (PROJECT / "conf" / "recipe" / f"{name}.yaml").read_text()
    assert "\n# What: " in text
    assert "\n# Source: " in text
    assert "\n# Reached: " in text

    def planned(config):
        stages = recipe.read(config)
        counts = overview.counted(stages)
        plans = [plan.bound(s, plan.horizon(s, c)) for s, c in zip(stages, counts, strict=True)]
        choices = plan.chosen(HydraConfig.get().runtime.choices)
        title = overview.headline(stages, choices)
        return stages, overview.planned(stages, plans, title, [{} for _ in stages]), title

    data = ["data=synthetic", "data.flip=true"] if "image_folder" in text else []
    stages, picture, title = app(f"recipe={name}", *data, job=planned).value
    assert picture.steps == picture.epoch_edges[-1] > 0
    assert title.startswith(name if len(stages) > 1 else "")
    assert [s[0] for s in picture.stages] == ([s.name for s in stages] if len(stages) > 1 else [])


SYNTHETIC = ("data=synthetic", "data.n_train=24", "data.n_val=8", "data.n_test=8", "data.size=32", "data.flip=true")
SYNTHETIC = (*SYNTHETIC, "data.batch_size=8", "trainer.accelerator=cpu", "trainer.progress=false")
ENDS = {"world_class": "test/acc_ensemble_tta", "snapshot": "test/acc_ensemble"}
"""What the last figure of a recipe is called, where it is not the accuracy of its net."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:LR finder")  # on so few images it sometimes has no suggestion
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_to_its_end(name, app, tmp_path):
    text = (PROJECT / "conf" / "recipe" / f"{name}.yaml").read_text()
    untrained = ["model.weights=null"] if "\n  weights:" in text else []
    run = app(f"recipe={name}", *SYNTHETIC, *untrained, f"features_cache={tmp_path}/cache")
    left, config = summary(run.folder), OmegaConf.load(run.folder / "config.yaml")
    assert left["interrupted"] is False
    assert [stage["name"] for stage in left["stages"]] == [stage.name for stage in config.recipe.stages]
    for stage, asked in zip(left["stages"], config.recipe.stages, strict=True):
        assert 0 < stage["steps"] <= stage["planned_steps"]
        assert stage["steps"] == stage["planned_steps"] or asked.until == "overfitting"
    assert left["steps"] == sum(stage["steps"] for stage in left["stages"])
    assert {"val/acc", "test/acc", ENDS.get(name, "test/acc")} <= left.keys()
    assert (left["features_seconds"] is not None) == ("features: cached" in text)
    assert left["features_seconds"] is None or left["features_seconds"] > 0
    page = (run.folder / "report.html").read_text()
    assert len(left["stages"]) == 1 or all(f"<td>{stage['name']}</td>" in page for stage in left["stages"])


def test_the_plan_of_a_recipe_is_shown_stage_by_stage(app, tmp_path, capsys):
    app("recipe=world_class", *SYNTHETIC, job=overview.show, folder=tmp_path, config="plan")
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said if line[:1].isdigit()] == ["1. precomputed", "2. head", "3. all"]
    assert (tmp_path / "timeline.png").stat().st_size > 10_000


def test_the_command_line_wins_over_a_recipe(app):
    options = ("data=synthetic", "data.flip=true", "model=torchvision", "model.name=resnet18")
    chosen = app("recipe=world_class", *options, job=read).value
    assert chosen[0].model.name == "resnet18"
    assert chosen[0].data.name == "synthetic"


def test_fine_tune_is_fast_ais(app):
    """fit_one_cycle and fine_tune of fastai 2.8.12, by hand."""
    frozen, full = app("recipe=fine_tune", "data=synthetic", job=read).value
    assert (frozen.epochs, frozen.config.lr, full.epochs, full.config.lr) == (1, [2e-4, 2e-3], 3, [1e-5, 1e-3])
    assert (frozen.schedule.pct_start, frozen.schedule.div, full.schedule.pct_start, full.schedule.div) == (
        0.99,
        25,
        0.3,
        5,
    )
    assert (full.schedule(0.0), full.schedule(0.3), full.schedule(1.0)) == (
        pytest.approx(0.2),
        1.0,
        pytest.approx(1e-5),
    )
    assert frozen.schedule.momentum == full.schedule.momentum == [0.95, 0.85, 0.95]
    assert (full.optimizer.beta2, full.optimizer.eps, full.optimizer.weight_decay) == (0.99, 1e-5, 0.01)
    assert frozen.config.callbacks.gradual_unfreezing.batchnorm == "train"


def test_ulmfit_is_a_slanted_triangle(app):
    (only,) = app("recipe=ulmfit", "data=synthetic", job=read).value
    values = [only.schedule(t, epochs=6) for t in (0.0, 0.1, 0.55, 1.0)]
    assert values == pytest.approx([1 / 32, 1.0, (1 + 1 / 32) / 2, 1 / 32])


def test_two_stages_are_one_run_with_one_record(app, small, tmp_path, capsys):
    run = app(*small, TWO, "schedule.cycles=2", "trainer.log_every_n_steps=1")
    left = summary(run.folder)
    assert (left["steps"], left["epochs"], left["interrupted"]) == (20, 4.0, False)
    assert [(s["name"], s["steps"], s["epochs"], s["lr"]) for s in left["stages"]] == [
        ("head", 5, 1.0, 0.1),
        ("all", 15, 3.0, 0.01),
    ]
    assert run.value == left["val/acc"] == left["stages"][1]["val/acc"]
    head = torch.load(run.folder / "stages" / "0-head.ckpt", weights_only=True)["state_dict"]
    last = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert list(head) == list(last)
    steps = [int(line.split(",")[0]) for line in (run.folder / "metrics.csv").read_text().splitlines()[1:]]
    assert steps == sorted(set(steps))
    assert set(range(20)) <= set(steps)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "2 stages · synthetic · mlp · sgd · seed 0"
    assert said[1] == "1. head: CosineAnnealing, lr 0.1, depth 1; 1 epoch, 5 steps, about 40 images"
    assert any(line.startswith("stage head") for line in said)
    assert "<td>head</td>" in (run.folder / "report.html").read_text()


def test_a_cached_stage_gives_its_head_to_the_next(app, small, tmp_path):
    stages = (
        "[{name: a, epochs: 1, features: cached, schedule: {name: cosine}},"
        "{name: b, epochs: 1, schedule: {name: cosine}}]"
    )
    run = app(*small, f"recipe.stages={stages}", f"features_cache={tmp_path}/cache", "test=best")
    alone = app(
        *(*small, "epochs=1", "schedule=cosine", "features=cached", f"features_cache={tmp_path}/cache"),
        folder=tmp_path / "alone",
    )
    border = torch.load(run.folder / "stages" / "0-a.ckpt", weights_only=True)["state_dict"]
    there = torch.load(alone.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(border[name], there[name]) for name in there)
    after = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert not any(torch.equal(border[name], after[name]) for name in border if name.endswith("weight"))


@pytest.mark.filterwarnings("ignore:LR finder")  # on so few images it sometimes has no suggestion
def test_a_stage_begins_with_the_rate_that_the_one_before_found(app, small):
    stages = (
        "[{name: a, epochs: 1, lr: auto, callbacks: {lr_finder: {sweeps: 1, num_steps: 20, rule: minimum_over_10}}},"
        "{name: b, epochs: 1, lr: same, schedule: {name: constant}}]"
    )
    left = summary(app(*small, "schedule=constant", f"recipe.stages={stages}", "optimizer=adamw").folder)
    found = left["lr_find"][0]
    assert (found["stage"], found["step"]) == ("a", 0)
    first, second = left["stages"]
    assert second["lr"] == pytest.approx(first["lr"])
    assert first["lr"] == found["applied"] or found["applied"] is None


def test_sizes_by_stage_share_what_was_read(app, small):
    stages = "[{name: small, epochs: 1, data: {size: 4}}, {name: large, epochs: 1, data: {size: 6, flip: true}}]"
    run = app(
        *small[:6],
        "model=resnet",
        "model.width=4",
        "trainer.accelerator=cpu",
        "schedule=cosine",
        f"recipe.stages={stages}",
    )
    assert summary(run.folder)["steps"] == 10


def test_half_an_epoch_is_a_stage_too(app, small):
    stages = "[{name: a, epochs: 0.6}, {name: b, epochs: 1.4}, {name: c, epochs: 1}]"
    left = summary(app(*small, "schedule=cosine", f"recipe.stages={stages}").folder)
    assert [s["steps"] for s in left["stages"]] == [3, 7, 5]
    assert left["steps"] == 15


def test_a_new_run_does_not_overwrite_another_one(app, small, tmp_path):
    run = app(*small, "epochs=1", "schedule=cosine")
    held = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file() and "hydra" not in path.parts}
    with pytest.raises(SystemExit, match=f"hydra.run.dir must be a folder without a run .*; resume={run.folder} goes"):
        app(*small, "epochs=1", "schedule=cosine", "seed=1")
    (run.folder / "summary.json").unlink()  # cut off before its end: the checkpoint is worth as much
    with pytest.raises(SystemExit, match="which holds one"):
        app(*small, "epochs=1", "schedule=cosine", "seed=1", f"resume={tmp_path}")
    assert all(path.read_bytes() == data for path, data in held.items() if path.name != "summary.json")


def test_a_run_that_left_nothing_to_go_on_from_is_forgotten(app, small):
    run = app(*small, TWO, "schedule.cycles=2")
    for kept in ("summary.json", "checkpoints/last.ckpt"):
        (run.folder / kept).unlink()
    again = app(*small, "schedule=cosine", "epochs=1")
    assert sorted(path.name for path in (again.folder / "stages").iterdir()) == ["0-all.json"]
    assert not (again.folder / "checkpoints" / "previous.ckpt").exists()
