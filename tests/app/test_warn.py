"""What is seldom meant is said before the first step, in the plan and in the run."""

import pytest
import torch

from lightcycle.app import overview, recipe

PLAIN = ("data=synthetic", "data.size=16", "data.n_train=40", "data.n_val=50", "data.n_test=12", "data.batch_size=8")


@pytest.fixture
def said(app):
    """The lines behind the lengths of the stages, and the picture's title."""

    def planned(config):
        stages = recipe.read(config)
        counts = overview.counted(stages)
        plans = [overview.bound(s, overview.horizon(s, c)) for s, c in zip(stages, counts, strict=True)]
        picture = overview.planned(stages, plans, "a run", [{} for _ in stages])
        return overview.described(stages, plans, counts)[len(stages) :], picture.title

    return lambda *options: app(*PLAIN, "model=mlp", *options, job=planned).value


def test_a_usual_run_is_not_warned_of(said):
    assert said() == ([], "a run")


def test_few_validation_images_decide_by_chance(said):
    (line,), _ = said("data.n_val=49")
    assert line == (
        "warning: 49 validation images decide the best checkpoint, and each is 2.0 points of accuracy: that is chance; "
        "have 50 or more"
    )
    stages = "[{name: a}, {name: b, until: overfitting, callbacks: {snapshot_ensemble: {}}}]"
    (line,), _ = said("data.n_val=12", f"recipe.stages={stages}")
    assert "decide the best checkpoint, which snapshots vote, when to stop, and each is 8.3 points" in line
    (line,), _ = said("data.n_val=12", "schedule=plateau", "~callbacks.checkpoint")
    assert "12 validation images decide the learning rate, and" in line
    assert said("data.n_val=12", "monitor=train/acc") == ([], "a run")


def test_features_of_a_body_that_nobody_has_trained(said, tmp_path):
    (line,), _ = said("features=cached")
    assert line == (
        "warning: features=cached freezes a body that has learned nothing, since the model has no trained weights: the "
        "head learns from random features; set model.weights=DEFAULT, with model=torchvision or timm, or a file"
    )
    assert said("recipe.stages=[{name: a}, {name: b, features: cached}]") == ([], "a run")
    assert said("features=cached", "model=torchvision", "model.weights=DEFAULT") == ([], "a run")


def test_a_length_that_some_stages_take(said):
    stages = "recipe.stages=[{name: a, epochs: 1}, {name: b}, {name: c}]"
    (line,), _ = said(stages, "epochs=4")
    assert line == "warning: epochs=4 is the length of the stages b, c; those with a length of their own keep it: a"
    assert said(stages) == ([], "a run")


def test_sizes_beyond_those_that_judge_the_net(said):
    sizes = ("model=resnet", "+callbacks=progressive_resizing", "callbacks.progressive_resizing.sizes=[8,24]")
    (line,), _ = said(*sizes)
    assert line == (
        "warning: callbacks.progressive_resizing ends at 24x24 px, and the net is validated and tested at 16x16; end "
        "there, or set data.eval_size=[24,24]"
    )
    assert said(*sizes, "data.eval_size=[24,24]") == ([], "a run")


def test_a_rate_that_nobody_knows_yet_is_drawn_and_said_to_be(said):
    assert said("lr=auto") == (["lr auto is drawn at lr 0.1 until it is found"], "a run · drawn at lr 0.1")
    trained = ("lr=auto", "model=torchvision", "model.weights=DEFAULT")
    assert said(*trained) == (["lr auto is drawn at lr 0.01 until it is found"], "a run · drawn at lr 0.01")
    assert said(*trained, "optimizer=adamw")[1] == "a run · drawn at lr 0.0001"


def test_trained_weights_keep_a_tenth_of_the_usual_rate_where_none_is_found(app, tmp_path):
    from lightcycle.models import TorchvisionConfig

    path = tmp_path / "weights.pth"
    torch.save(TorchvisionConfig(name="mnasnet0_5").build(channels=3, size=(32, 32), classes=3).state_dict(), path)
    net = ("data.size=32", "model=torchvision", "model.name=mnasnet0_5", f"model.weights={path}")
    flat = ("num_steps=10", "sweeps=1", "min_lr=1e-9", "max_lr=1e-8")
    finder = ("+callbacks=lr_finder", *(f"callbacks.lr_finder.{option}" for option in flat))
    with pytest.warns(UserWarning, match=r"no suggestion, lr stays 0\.01: "):
        app(*PLAIN, *net, *finder, "lr=auto", "epochs=1", "schedule=constant", "trainer.accelerator=cpu", "test=none")
