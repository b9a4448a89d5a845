"""Recipes without Hydra, on somebody else's module: stages count on, and a stopped run ends like a straight one."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule

from lightcycle.callbacks import ParamScheduler, stage_of
from lightcycle.data.config import SyntheticConfig
from lightcycle.data.features import FeatureData
from lightcycle.data.module import build
from lightcycle.models import Classifier, ResNet, SGDConfig
from lightcycle.recipes import Recipe, Stage, find
from lightcycle.recipes.record import read
from lightcycle.recipes.timeline import lines
from lightcycle.schedules import SGDR, Constant, CosineAnnealing
from lightcycle.transfer.cut import HeadOnly
from toys import Toy, learnable_loader, toy_loader

QUIET = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False}
QUIET |= {"enable_model_summary": False}


class Data(LightningDataModule):
    def train_dataloader(self):
        return toy_loader()

    def val_dataloader(self):
        return toy_loader()


class Seen(Callback):
    """What the stage says of itself at every batch."""

    places = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.places.append(stage_of(trainer))


class Stops(Exception):
    pass


class Kill(Callback):
    """Ends the process, as it were, before a step of the run."""

    def __init__(self, at):
        self.at = at

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.at:
            raise Stops


def toy(**options):
    torch.manual_seed(0)
    return Toy(groups=2, **options)


def recipe():
    return Recipe(
        [
            Stage(name="head", epochs=1, schedule=CosineAnnealing(), lr=0.05, depth=1, groups=2),
            Stage(name="all", schedule=SGDR(cycles=2), lr=[0.001, 0.01], callbacks=[Seen()]),
        ]
    )


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a | b)


def test_two_stages_are_one_run(tmp_path):
    Seen.places.clear()
    module = toy()
    before = weights(module)
    first, second = recipe().fit(module, Data(), folder=tmp_path, **QUIET)
    assert (first.first_step, first.steps, first.epochs) == (0, 5, 1.0)
    assert (second.first_step, second.steps, second.first_epoch, second.epochs) == (5, 15, 1, 3.0)
    assert (second.last_step, second.cycle_ends) == (20, [5, 15])
    assert [(p.name, p.index, p.count, p.epoch, p.step) for p in Seen.places[::5]] == [
        ("all", 1, 2, epoch, 5 * epoch) for epoch in range(3)
    ]
    cosine, sgdr = CosineAnnealing(), SGDR(cycles=2)
    plans = [p.bind(h) for p, h in ((cosine, _run(5)), (sgdr, _run(5, 5, 5)))]
    assert module.trace[:5] == [pytest.approx((0.05 * f, 0.005 * f)) for f in map(plans[0].factor, range(5))]
    assert module.trace[5:] == [pytest.approx((0.001 * f, 0.01 * f)) for f in map(plans[1].factor, range(15))]
    after = torch.load(tmp_path / "stages" / "0-head.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(after["body.0.weight"], before["body.0.weight"])
    assert not torch.equal(after["head.weight"], before["head.weight"])
    assert not torch.equal(module.body[0].weight, before["body.0.weight"])
    assert all(parameter.requires_grad for parameter in module.parameters())


def _run(*lengths):
    from lightcycle.schedules import Horizon

    return Horizon.of_epochs(lengths)


def test_what_a_recipe_leaves(tmp_path):
    run = recipe()
    records = run.fit(toy(), Data(), folder=tmp_path, watch="val/loss", **QUIET)
    names = sorted(str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*") if f.is_file())
    assert names == [
        "checkpoints/last.ckpt",
        "checkpoints/previous.ckpt",
        "stages/0-head.ckpt",
        "stages/0-head.json",
        "stages/1-all.json",
        "timeline.png",
    ]
    written = json.loads((tmp_path / "stages" / "1-all.json").read_text())
    assert written["validations"] == [list(pair) for pair in records[1].validations]
    assert [step for step, _ in written["validations"]] == [10, 15, 20]
    assert written["figures"]["val/loss"] == records[1].validations[-1][1]
    picture = run.timeline(records)
    assert picture.stages == [("head", 0, 5), ("all", 5, 20)]
    assert picture.cycle_ends == [5, 10, 20]
    assert [step for step, _ in picture.loss] == list(range(20))
    name = "group 1"
    assert [rate for _, rate in picture.applied_lr[name]] == pytest.approx(picture.lr[name])


def test_the_validation_loss_is_in_the_record_and_older_records_have_none(tmp_path):
    run = recipe()
    records = run.fit(toy(), Data(), folder=tmp_path, **QUIET)
    picture = run.timeline(records)
    assert [step for step, _ in picture.val_loss] == [step for step, _ in picture.val] == [5, 10, 15, 20]
    assert picture.val_loss[-1][1] == records[1].figures["val/loss"] != picture.val[-1][1]
    path = records[1].path(tmp_path)
    assert read(path).val_losses == records[1].val_losses
    old = {name: value for name, value in json.loads(path.read_text()).items() if name != "val_losses"}
    path.write_text(json.dumps(old))
    assert (read(path).val_losses, read(path).validations) == ([], records[1].validations)


def test_the_decay_of_weights_has_no_line_of_its_own():
    assert lines(["decay", "no_decay"], [1.0, 1.0]) == lines(["decay"], [1.0]) == {"all": 0}
    assert lines(["decay", "no_decay"], [1.0, 0.5]) == {"decay": 0, "no_decay": 1}
    assert lines(["group 0", "group 1"], [1.0, 1.0]) == {"group 0": 0, "group 1": 1}


@pytest.mark.parametrize("at", [3, 5, 7, 10, 19])
@pytest.mark.parametrize("precision", ["32-true"])
def test_a_run_that_was_cut_off_ends_like_the_straight_one(at, precision, tmp_path):
    straight, cut, resumed = toy(optimizer="adam"), toy(optimizer="adam"), toy(optimizer="adam")
    options = {**QUIET, "precision": precision, "seed": 3}
    records = recipe().fit(straight, Data(), folder=tmp_path / "straight", **options)
    with pytest.raises(Stops):
        recipe().fit(cut, Data(), folder=tmp_path / "cut", callbacks=[Kill(at)], **options)
    again = recipe().fit(resumed, Data(), folder=tmp_path / "cut", resume=tmp_path / "cut", **options)
    assert same(weights(resumed), weights(straight))
    for now, then in zip(again, records, strict=True):
        assert (now.points, now.validations, now.figures) == (then.points, then.validations, then.figures)


def test_a_torn_checkpoint_is_passed_over_for_the_one_before_it(tmp_path, capsys):
    straight, resumed = toy(), toy()
    recipe().fit(straight, Data(), folder=tmp_path / "straight", **QUIET)
    with pytest.raises(Stops):
        recipe().fit(toy(), Data(), folder=tmp_path / "cut", callbacks=[Kill(16)], **QUIET)
    last = tmp_path / "cut" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-2000])
    recipe().fit(resumed, Data(), folder=tmp_path / "cut", resume=tmp_path / "cut", **QUIET)
    assert same(weights(resumed), weights(straight))
    assert "last.ckpt is torn, and passed over; going on from previous.ckpt at step 10" in capsys.readouterr().out
    for path in last.parent.iterdir():
        path.write_bytes(b"")
    place = find(tmp_path / "cut", ["head", "all"])
    assert (place.index, place.path, place.state) == (0, None, None)
    assert place.said.endswith("the run starts anew")
    with pytest.raises(ValueError, match=r"is no whole checkpoint; resume the run's folder"):
        find(last, ["head", "all"])


def test_a_torn_checkpoint_does_not_take_the_place_of_a_whole_one(tmp_path):
    with pytest.raises(Stops):
        recipe().fit(toy(), Data(), folder=tmp_path, callbacks=[Kill(16)], **QUIET)
    last, previous = (tmp_path / "checkpoints" / name for name in ("last.ckpt", "previous.ckpt"))
    last.write_bytes(last.read_bytes()[:-2000])
    with pytest.raises(Stops):  # behind the first checkpoint of the run that goes on
        recipe().fit(toy(), Data(), folder=tmp_path, resume=tmp_path, callbacks=[Kill(16)], **QUIET)
    steps = [torch.load(path, weights_only=True)["global_step"] for path in (last, previous)]
    assert steps == [15, 10]


class Ends(Callback):
    """Ends the fit early, as a callback that has seen enough does."""

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.global_step == 10:
            trainer.should_stop = True


def test_a_last_stage_that_ended_early_is_not_trained_on(tmp_path):
    straight, resumed = toy(), toy()
    records = recipe().fit(straight, Data(), folder=tmp_path, callbacks=[Ends()], **QUIET)
    assert [record.steps for record in records] == [5, 5]
    again = recipe().fit(resumed, Data(), folder=tmp_path, resume=tmp_path, callbacks=[Ends()], **QUIET)
    assert [(r.points, r.validations, r.figures) for r in again] == [
        (r.points, r.validations, r.figures) for r in records
    ]
    assert same(weights(resumed), weights(straight))
    with pytest.raises(ValueError, match=r"is at the end of training, and what is left is done in its own folder"):
        recipe().fit(toy(), Data(), folder=tmp_path / "other", resume=tmp_path, **QUIET)
    (tmp_path / "stages" / "1-all.json").unlink()
    with pytest.raises(ValueError, match=r"is at the end of its run, and nothing is left to train"):
        recipe().fit(toy(), Data(), folder=tmp_path, resume=tmp_path, **QUIET)


class Late(Toy):
    """Makes its last layer where Lightning asks for it."""

    def __init__(self):
        super().__init__(groups=1, lrs=(0.1,))
        self.head = None

    def configure_model(self):
        if self.head is None:
            torch.manual_seed(1)
            self.head = torch.nn.Linear(8, 3)


def test_a_module_that_makes_its_layers_late_goes_on_too(tmp_path):
    def fit(module, folder, **options):
        torch.manual_seed(0)
        module.body[0].reset_parameters()
        Recipe([Stage(name="all", epochs=3)]).fit(module, Data(), folder=tmp_path / folder, **options, **QUIET)
        return weights(module)

    straight = fit(Late(), "straight")
    with pytest.raises(Stops):
        fit(Late(), "cut", callbacks=[Kill(7)])
    assert same(fit(Late(), "cut", resume=tmp_path / "cut"), straight)


def test_a_recipe_does_not_begin_in_the_folder_of_another_run(tmp_path):
    recipe().fit(toy(), Data(), folder=tmp_path, **QUIET)
    with pytest.raises(
        ValueError, match=f"folder must be one without a run .got {tmp_path}, which holds one.; resume="
    ):
        recipe().fit(toy(), Data(), folder=tmp_path, **QUIET)
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(b"torn")
    with pytest.raises(Stops):  # anew, and what the run before left is gone
        recipe().fit(toy(), Data(), folder=tmp_path, resume=tmp_path, callbacks=[Kill(2)], **QUIET)
    assert not list((tmp_path / "checkpoints").iterdir())
    assert not list((tmp_path / "stages").glob("*.*"))


def test_records_of_the_stages_behind_are_forgotten(tmp_path):
    early = tmp_path / "checkpoints" / "early.ckpt"

    def two():
        return Recipe([Stage(name="a", epochs=2), Stage(name="b", epochs=1)])

    with pytest.raises(Stops):
        two().fit(toy(), Data(), folder=tmp_path, callbacks=[Kill(7)], **QUIET)
    early.write_bytes((tmp_path / "checkpoints" / "last.ckpt").read_bytes())
    two().fit(toy(), Data(), folder=tmp_path, resume=tmp_path, **QUIET)
    assert (tmp_path / "stages" / "1-b.json").exists()
    with pytest.raises(Stops):
        two().fit(toy(), Data(), folder=tmp_path, resume=early, callbacks=[Kill(8)], **QUIET)
    assert not list((tmp_path / "stages").glob("*.*"))


def test_a_whole_checkpoint_of_objects_is_not_taken_for_a_torn_one(tmp_path):
    class Keeps(Callback):
        def state_dict(self):
            return {"where": Path("a")}

    recipe().fit(toy(), Data(), folder=tmp_path, callbacks=[Keeps()], **QUIET)
    with pytest.raises(ValueError, match=r"last.ckpt must hold tensors and plain data \(got pathlib.*Path\), since"):
        find(tmp_path, ["head", "all"])


def test_the_place_in_a_stage_is_right_from_the_first_hook_on(tmp_path):
    class Asks(Callback):
        def on_fit_start(self, trainer, pl_module):
            seen.append(stage_of(trainer))

    seen: list = []
    recipe().fit(toy(), Data(), folder=tmp_path, callbacks=[Asks()], **QUIET)
    assert [(place.name, place.epoch, place.step) for place in seen] == [("head", 0, 0), ("all", 0, 0)]


def test_the_recipe_of_another_run_is_refused(tmp_path):
    recipe().fit(toy(), Data(), folder=tmp_path, **QUIET)
    with pytest.raises(ValueError, match=r"saved in stage 1 \(all\), and this recipe's stages are all, more"):
        find(tmp_path, ["all", "more"])
    (tmp_path / "report.html").write_text("")
    (tmp_path / "summary.json").write_text("{}")  # what a run of the app leaves last
    with pytest.raises(ValueError, match="is at the end of its run, and nothing is left to train"):
        recipe().fit(toy(), Data(), folder=tmp_path, resume=tmp_path, **QUIET)


def test_a_finder_in_a_later_stage_writes_beside_the_stage(tmp_path):
    class Learnable(Data):
        def train_dataloader(self):
            return learnable_loader()

    stages = [Stage(name="a", epochs=1), Stage(name="b", epochs=1, schedule=CosineAnnealing(), lr="auto")]
    records = Recipe(stages).fit(toy(), Learnable(), folder=tmp_path, **QUIET)
    assert (tmp_path / "stages" / "1-b" / "lr_find.json").exists()
    found = records[1].lr_find[0]
    assert found["step"] == 16
    assert records[1].rates[-1] == (16, found["applied"])
    assert max(lrs[0] for _, lrs, *_ in records[1].points) == pytest.approx(found["applied"])


def test_a_stage_with_a_module_of_its_own_shares_the_net(tmp_path):
    class OnlyHead(Toy):
        def __init__(self, other):
            super().__init__(groups=1, lrs=(0.1,))
            self.body, self.head = other.body.requires_grad_(False), other.head

    module = toy()
    body, head = module.body[0].weight.clone(), module.head.weight.clone()
    seen = []

    class After(Callback):
        def on_train_end(self, trainer, pl_module):
            seen.append((torch.equal(module.body[0].weight, body), torch.equal(module.head.weight, head)))

    stages = [Stage(name="head", epochs=1, module=OnlyHead), Stage(name="all", epochs=1)]
    Recipe(stages).fit(module, Data(), folder=tmp_path, callbacks=[After()], **QUIET)
    assert seen == [(True, False), (False, False)]
    after = torch.load(tmp_path / "stages" / "0-head.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(after["body.0.weight"], body)
    assert not torch.equal(after["head.weight"], head)


def test_a_stage_with_data_of_its_own(tmp_path):
    class Larger(Data):
        def train_dataloader(self):
            return learnable_loader()  # 16 batches

    stages = [Stage(name="few", epochs=1), Stage(name="many", epochs=2, data=Larger()), Stage(name="again", epochs=1)]
    records = Recipe(stages).fit(toy(), Data(), folder=tmp_path, **QUIET)
    assert [record.steps for record in records] == [5, 32, 5]


class Looks(Callback):
    """What is shown, and the weights at the end of each stage."""

    def __init__(self):
        self.shown, self.held = [], {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.shown.append((*batch[0].shape[1:], trainer.datamodule.config.flip))

    def on_train_end(self, trainer, pl_module):
        self.held[stage_of(trainer).name] = weights(pl_module)

    def __deepcopy__(self, memo):  # one for all stages
        return self


def images_in_three_ways(folder, *callbacks, cache, resume=None):
    """Small, as cached features, whole: 3 + 6 + 3 steps."""
    torch.manual_seed(0)
    net, optimizer = ResNet(3, 4, width=4), SGDConfig(lr=0.1)
    images = build(SyntheticConfig(n_train=30, n_val=9, n_test=7, size=8, classes=4, batch_size=10))
    small = Stage(name="small", epochs=1, data=lambda data: data.with_config(replace(data.config, size=4, flip=True)))
    cached = Stage(
        name="cached",
        epochs=2,
        data=lambda data: FeatureData(data, net, "head.1", cache),
        module=lambda module: Classifier(HeadOnly(net, "head.1"), optimizer.build),
    )
    module = Classifier(net, optimizer.build)
    run = Recipe([small, cached, Stage(name="large", epochs=1)])
    run.fit(module, images, folder=folder, callbacks=list(callbacks), resume=resume, **QUIET)
    return weights(module)


def test_sizes_and_cached_features_without_the_app(tmp_path):
    looks = Looks()
    images_in_three_ways(tmp_path / "run", looks, cache=tmp_path / "cache")
    assert looks.shown == [(3, 4, 4, True)] * 3 + [(64, False)] * 6 + [(3, 8, 8, False)] * 3
    small, cached, large = looks.held.values()
    moved = {name for name in small if not torch.equal(small[name], cached[name])}
    assert moved == {"net.head.1.weight", "net.head.1.bias"}
    assert not torch.equal(cached["net.head.1.weight"], large["net.head.1.weight"])


@pytest.mark.parametrize("at", [4, 7, 9, 10])
def test_a_cached_stage_behind_others_goes_on_from_its_middle(at, tmp_path):
    straight = images_in_three_ways(tmp_path / "straight", cache=tmp_path / "a")
    with pytest.raises(Stops):
        images_in_three_ways(tmp_path / "cut", Kill(at), cache=tmp_path / "b")
    assert same(images_in_three_ways(tmp_path / "cut", cache=tmp_path / "b", resume=tmp_path / "cut"), straight)


REFUSED = [
    ({"name": ""}, "a stage needs a name"),
    ({"name": "a"}, "stage a does not say how long it is, nor does Constant; give it epochs=1, say"),
    ({"name": "a", "epochs": 0}, "stage a would be 0 epochs long"),
    ({"name": "a", "epochs": 1.5}, "stage a would be 1.5 epochs long; a stage is a whole number of epochs >= 1"),
    ({"name": "a", "epochs": 1, "lr": -1}, "lr must be a number > 0"),
    ({"name": "a", "epochs": 1, "depth": 0}, "depth must be a whole number >= 1 (got 0); 1 is the head, None is all"),
    ({"name": "a", "epochs": 1, "until": "bored"}, "until must be overfitting or None (got 'bored')"),
]


@pytest.mark.parametrize(("options", "text"), REFUSED, ids=lambda x: str(x)[:30])
def test_a_stage_that_cannot_be_is_refused(options, text):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        Stage(**options)
    assert text in str(error.value)


def test_a_recipe_has_stages_of_different_names():
    with pytest.raises(ValueError, match="at least one stage"):
        Recipe([])
    with pytest.raises(ValueError, match="two stages of a recipe are called a"):
        Recipe([Stage(name="a", epochs=1), Stage(name="a", epochs=1)])
    with pytest.raises(ValueError, match="max_epochs comes from the stages"):
        Recipe([Stage(name="a", epochs=1)]).fit(toy(), folder="x", max_epochs=3)


def test_a_plain_run_is_one_stage_called_all():
    from toys import quiet_trainer

    assert stage_of(quiet_trainer(callbacks=[ParamScheduler(Constant())])).name == "all"
    assert math.isclose(Stage(name="a", epochs=10, schedule=SGDR(cycles=3)).length, 10)
    assert Stage(name="a", epochs=10, schedule=SGDR(cycles=3)).stretches
