"""Layer groups on the command line: several rates, decay per group, unfreezing, and what is refused."""

import csv
import json

import pytest
import torch
from omegaconf import OmegaConf

from lightcycle.app import layers, plan
from lightcycle.app.settings import read
from lightcycle.data.count import count

DEEP = "model.hidden=[8,8]"  # with the head three layers: layers.0, layers.1, head
UNFREEZE = "+callbacks=gradual_unfreezing"


def rates(folder):
    """Rates of the layer groups, a row for each step."""
    with open(folder / "metrics.csv") as file:
        rows = [{k: float(v) for k, v in row.items() if k.startswith("lr/") and v} for row in csv.DictReader(file)]
    return [list(dict.fromkeys(row.values())) for row in rows if row]


def depths(folder):
    with open(folder / "metrics.csv") as file:
        return [(int(row["step"]), float(row["depth"])) for row in csv.DictReader(file) if row.get("depth")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"groups": 1}, None),
        ({"groups": 3}, 3),
        ({"groups": "stages"}, "stages"),
        ({"groups": {"a": "x", "b": "y"}}, {"a": "x", "b": "y"}),
        ({"lr": [1, 2, 3]}, 3),
        ({"lr": [1]}, None),
        ({"lr": [1, 2, 3], "groups": "stages"}, "stages"),
        ({"lr": {"first": 1, "last": 2}}, "stages"),
        ({"lr": "auto", "lr_decay_per_group": 3}, "stages"),
        ({"callbacks": {"any": {"_target_": "lightcycle.callbacks.GradualUnfreezing"}}}, "stages"),
    ],
    ids=str,
)
def test_how_the_net_is_split(given, expected):
    usual = {"lr": 0.1, "groups": None, "lr_decay_per_group": 1.0, "callbacks": {}, "features": "live"}
    config = OmegaConf.create(usual | given)
    layers.check(config)
    assert layers.how(config) == expected


@pytest.mark.parametrize(
    ("overrides", "bases"),
    [
        (["lr=[0.001,0.01,0.1]"], [0.001, 0.01, 0.1]),
        (["lr=[0.1,0.2]"], [0.1, 0.2]),
        (["lr={first: 0.001, last: 0.1}"], [0.001, 0.01, 0.1]),
        (["lr=0.09", "lr_decay_per_group=3"], [0.01, 0.03, 0.09]),
        (["lr=0.09", "lr_decay_per_group=3", "groups={low: 'layers', top: 'head'}"], [0.03, 0.09]),
    ],
    ids=lambda x: " ".join(map(str, x)),
)
@pytest.mark.parametrize("schedule", ["sgdr", "one_cycle"])
def test_every_group_follows_the_schedule_from_its_own_rate(app, small, overrides, bases, schedule):
    run = app(*small, DEEP, f"schedule={schedule}", "epochs=2", "trainer.log_every_n_steps=1", *overrides)
    seen = rates(run.folder)
    assert len(seen) >= 8  # the last step of a cycle of sgdr is at 0: there the rates are equal
    for row in seen:
        factor = row[-1] / bases[-1]
        assert row == pytest.approx([base * factor for base in bases] if factor else [0.0])
    assert json.loads((run.folder / "summary.json").read_text())["lr"] == bases[-1]


def test_the_table_is_printed(app, small, capsys):
    app(*small, DEEP, "epochs=1", "lr=[0.1,0.2,0.4]", UNFREEZE, "callbacks.gradual_unfreezing.at=[0.5]")
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("layer groups")
    assert [line.split() for line in lines[start + 1 : start + 5]] == [
        ["group", "parameters", "lr", "trainable", "weight", "decay"],
        ["body.1", "872", "0.1", "no", "0.0005,", "0.0"],
        ["body.2", "72", "0.2", "no", "0.0005,", "0.0"],
        ["head", "90", "0.4", "yes", "0.0005,", "0.0"],
    ]


def test_one_group_prints_no_table(app, small, capsys):
    app(*small, "epochs=1", "groups=1")
    assert "layer groups" not in capsys.readouterr().out


def test_the_finder_keeps_the_ratios(app):
    digits = ("data=digits", "data.limit=320", "model=mlp", DEEP, "schedule=constant", "epochs=1")
    run = app(*digits, "lr=auto", "lr_decay_per_group=3", "trainer.accelerator=cpu", "trainer.log_every_n_steps=1")
    (found,) = json.loads((run.folder / "summary.json").read_text())["lr_find"]
    assert found["applied"] not in (None, 0.1)  # 0.1 is the optimizer's usual one
    for row in rates(run.folder):
        assert row == pytest.approx([found["applied"] / 9, found["applied"] / 3, found["applied"]])


@pytest.mark.slow
def test_unfreezing_and_its_resume(app, small, tmp_path):
    """Before, at and behind an unfreeze in the middle of an epoch and one at its border."""
    options = (*small, DEEP, "epochs=3", "schedule=one_cycle", "data.flip=true", "trainer.log_every_n_steps=1")
    plan = (UNFREEZE, "callbacks.gradual_unfreezing.at=[0.4,2]", "lr={first: 0.01, last: 0.1}")
    saves = (
        "+callbacks.steps={_target_:lightning.pytorch.callbacks.ModelCheckpoint,auto_insert_metric_name:false,"
        f'dirpath:{tmp_path}/straight/checkpoints,filename:"step-{{step}}",every_n_train_steps:1,save_top_k:-1}}',
    )
    straight = app(*options, *plan, *saves, folder=tmp_path / "straight")
    assert depths(straight.folder) == [(2, 2.0), (10, 3.0)]
    final = weights(straight.folder / "checkpoints" / "last.ckpt")
    for step in (1, 2, 9, 10):
        ckpt = straight.folder / "checkpoints" / f"step-{step}.ckpt"
        resumed = app(*options, *plan, f"resume='{ckpt}'", folder=tmp_path / f"resumed-{step}")
        again = weights(resumed.folder / "checkpoints" / "last.ckpt")
        assert all(torch.equal(again[name], tensor) for name, tensor in final.items()), step


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


def test_the_plan_shows_rates_and_depth(app, small):
    def job(config):
        settings = read(config)
        counts = count(settings.data)
        bound = plan.bound(settings, plan.horizon(settings, counts))
        return plan.timeline(settings, bound, "", layers.planned(settings, counts)), plan.title(settings, {})

    unfreeze = (UNFREEZE, "callbacks.gradual_unfreezing.fractions=[0.25,0.5]")
    picture, title = app(*small, DEEP, "epochs=4", "lr=0.1", "lr_decay_per_group=10", *unfreeze, job=job).value
    assert [(name, max(line)) for name, line in picture.lr.items()] == [
        ("layers.0", pytest.approx(0.001)),
        ("layers.1", pytest.approx(0.01)),
        ("head", 0.1),
    ]
    assert picture.tracks["groups that train"] == [(0, 1), (5, 2), (10, 3)]
    assert "lr 0.1, 10 times lower per group" in title
    picture, title = app(*small, DEEP, "epochs=4", "lr={first: 1e-3, last: 1e-1}", job=job).value
    assert not any(picture.tracks.values())
    assert "lr 0.001 to 0.1 " in title
    picture, title = app(*small, "epochs=4", job=job).value
    assert list(picture.lr) == ["all"]


REFUSED = [
    (["groups=0"], "groups must be a number >= 1, stages, or patterns of parameter names (got 0); groups=stages are"),
    (["groups=satges"], "groups must be a number >= 1, stages, or patterns of parameter names (got satges)"),
    (["groups=[a]"], "groups must be a number >= 1, stages, or patterns of parameter names (got [a])"),
    (["groups=9"], "groups must be between 2 and 3, the layers of this MLP (got 9)"),
    (["groups={a: head, b: head}"], "groups leaves out layers.0.0.weight, layers.0.0.bias, layers.1.0.weight and"),
    (["lr=[0.1,x]"], "lr must be a number > 0, one for each layer group, or a first and a last one (got [0.1, 'x'])"),
    (["lr={first: 0.1}"], "lr must be a number > 0, one for each layer group, or a first and a last one (got {'first'"),
    (["lr=[0.1,0.2]", "groups=1"], "lr=[0.1,0.2] needs several layer groups (got groups=1); leave groups out, or set"),
    (
        ["lr=[0.1,0.2]", "groups=3"],
        "lr has 2 rates and the net 3 layer groups; give one rate for each group\n"
        "the layer groups, from the input to the head:\n  1  body.1",
    ),
    (
        ["lr=[0.1,0.2,0.3]", "groups={low: layers, top: head}"],
        "lr has 3 rates and the net 2 layer groups; give one rate for each group\n"
        "the layer groups, from the input to the head:\n  1  low",
    ),
    (
        ["lr=[0.1,0.2]", "groups=stages"],
        "lr has 2 rates and the net 3 layer groups; give one rate for each group\n"
        "the layer groups, from the input to the head:\n  1  layers.0",
    ),
    (["lr=[0.1,0.2]", "lr_decay_per_group=3"], "lr_decay_per_group=3 needs lr to be one number, the head's (got lr="),
    (["lr_decay_per_group=0.3"], "lr_decay_per_group must be >= 1 (got 0.3); 3 is usual, 1 is off"),
    (["lr_decay_per_group=3", "groups=1"], "lr_decay_per_group=3 needs several layer groups (got groups=1); leave"),
    (["lr_decay_per_group=3", "features=cached"], "lr_decay_per_group=3 is about layer groups, and with features"),
    (["groups=2", "features=cached"], "groups=2 is about layer groups, and with features=cached only the head trains;"),
    ([UNFREEZE, "groups=1"], "callbacks.gradual_unfreezing needs several layer groups (got groups=1); leave"),
    (
        [UNFREEZE, "callbacks.gradual_unfreezing.every=x"],
        "callbacks.gradual_unfreezing.every must be epochs > 0 (got 'x'); 1 is a group after every epoch",
    ),
    (
        [UNFREEZE, "callbacks.gradual_unfreezing.at=[1]", "callbacks.gradual_unfreezing.all_at=2"],
        "callbacks.gradual_unfreezing takes one of every, at, fractions, all_at (got at and all_at); drop one",
    ),
    ([UNFREEZE, "epochs=2"], "1 of the 2 unfreezes of callbacks.gradual_unfreezing would come at or after the end"),
    (
        [UNFREEZE, "callbacks.gradual_unfreezing.batchnorm=off"],
        "callbacks.gradual_unfreezing cannot be built: batchnorm must be one of frozen, stats, train (got 'off')",
    ),
]


@pytest.mark.parametrize(("overrides", "text"), REFUSED, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_what_does_not_go_together_is_refused_before_data_is_read(app, small, overrides, text, monkeypatch):
    from lightcycle.data.module import MemoryData

    monkeypatch.setattr(MemoryData, "setup", lambda *_: pytest.fail("the data was read before the mistake was met"))
    with pytest.raises(SystemExit) as error:
        app(*small, DEEP, *overrides)
    assert str(error.value).startswith(f"error: {text}")
