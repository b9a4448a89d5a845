"""Cached training sees the batches of live training, through a body that ran once."""

import copy
import itertools
import multiprocessing
import os

import pytest
import torch
from torch import nn

from lightcycle.data import features
from lightcycle.data.config import ImageFolderConfig, SyntheticConfig
from lightcycle.data.features import FeatureData
from lightcycle.data.in_turn import ImagesInTurn, InTurn
from lightcycle.data.module import build
from lightcycle.models import Classifier, ResNet, SGDConfig
from lightcycle.transfer.cut import HeadOnly, split_head
from toys import quiet_trainer

# Python 3.12 on: torch forks its workers beside threads of its own
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

HEAD = "head.1"
SMALL = {"n_train": 30, "n_val": 9, "n_test": 7, "size": 6, "classes": 4, "batch_size": 8}


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(features, "rank_zero_info", lines.append)
    return lines


def net(seed=0, **options):
    torch.manual_seed(seed)
    made = ResNet(3, 4, width=4, **options)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.weight.data.uniform_(0.5, 1.5)
    return made


def images(seed=0, **options):
    return build(SyntheticConfig(**{**SMALL, **options}), seed)


def cached(tmp_path, data=None, model=None, **options):
    made = FeatureData(data or images(), model or net(), HEAD, tmp_path / "cache", **options)
    made.setup()
    return made


def photos(folder, **options):
    root = folder({"train/cat": 7, "train/dog": 6, "val/cat": 2, "val/dog": 3})
    options = {"batch_size": 4, "size": 16, "num_workers": 1, **options}
    return ImageFolderConfig(root=str(root), **options)


def epoch(loader, number=0):
    if hasattr(loader.sampler, "set_epoch"):
        loader.sampler.set_epoch(number)
    return [(x, y.tolist()) for x, y in loader]


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_the_batches_are_those_of_the_images(part, tmp_path):
    plain, model = images(seed=3), net()
    plain.setup()
    data = cached(tmp_path, images(seed=3), model)
    body, _ = split_head(model, HEAD)
    loaders = [d.train_loader() if part == "train" else d.eval_loader(part) for d in (plain, data)]
    for number in range(2):
        live, kept = (epoch(loader, number) for loader in loaders)
        assert [labels for _, labels in kept] == [labels for _, labels in live]
        for (pixels, _), (given, _) in zip(live, kept, strict=True):
            torch.testing.assert_close(given, body(plain.normalize(pixels)), rtol=0, atol=1e-5)


def test_files_too_and_they_are_not_augmented(tmp_path, folder):
    config, model = photos(folder, drop_last=False), net()
    plain = build(ImageFolderConfig(**{**vars(config), "num_workers": 0}))
    plain.setup()
    data = cached(tmp_path, build(config), model)
    body, _ = split_head(model, HEAD)
    middles = body(torch.cat(list(ImagesInTurn(plain, "train")())))
    order = torch.cat([batch.indices for batch in data.train_loader().batches.epoch(0)])
    kept = epoch(data.train_dataloader())
    torch.testing.assert_close(torch.cat([x for x, _ in kept]), middles[order], rtol=0, atol=1e-5)
    assert [label for _, labels in kept for label in labels] == [plain.files["train"][i][1] for i in order]
    assert set(data.parts) == {"train", "val"}


class LiveFrozen(Classifier):
    """The whole net on images, the body in evaluation mode and without gradients."""

    def on_train_epoch_start(self):
        for name, module in self.net.named_children():
            module.train(name == "head").requires_grad_(name == "head")


def trained(module, data, **options):
    torch.manual_seed(1)
    trainer = quiet_trainer(max_epochs=3, log_every_n_steps=1, **options)
    trainer.fit(module, datamodule=data)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_cached_training_is_live_training_of_the_head(tmp_path):
    model = net(dropout=0.3)
    live, kept = copy.deepcopy(model), copy.deepcopy(model)
    seen = trained(LiveFrozen(live, SGDConfig(lr=0.002).build), images())
    same = trained(
        Classifier(HeadOnly(kept, HEAD), SGDConfig(lr=0.002).build), FeatureData(images(), kept, HEAD, tmp_path)
    )
    assert seen == pytest.approx(same, rel=1e-5)
    for name, tensor in kept.state_dict().items():
        torch.testing.assert_close(tensor, live.state_dict()[name], rtol=0, atol=1e-5)
        assert torch.equal(tensor, model.state_dict()[name]) == (name not in ("head.1.weight", "head.1.bias"))


def test_half_precision_arrives_as_float32(tmp_path):
    whole, half = (cached(tmp_path, dtype=dtype) for dtype in ("fp32", "fp16"))
    assert half.parts["train"][0].dtype == torch.float16
    (x, y), (a, b) = (data.on_after_batch_transfer(next(iter(data.eval_loader("val"))), 0) for data in (whole, half))
    assert a.dtype == torch.float32
    assert torch.equal(a, x.half().float())
    assert torch.equal(b, y)


def test_it_says_what_it_computes_and_why(tmp_path, said):
    cached(tmp_path)
    assert said[0] == "features: 30 train images through the body (not computed before)"
    assert said[1].startswith("features: 0.0 MB in ")
    assert len(said) == 6
    cached(tmp_path)
    assert len(said) == 6


CHANGES = {
    "weights": ({}, {"model": 1}, r"weights changed: \w{8} -> \w{8}"),
    "size": ({"size": 8}, {}, "size changed: 6 x 6 -> 8 x 8, samples changed"),
    "samples": ({"limit": 20}, {}, "samples changed"),
    "dtype": ({}, {"dtype": "fp16"}, "^features: 30 train images through the body .dtype changed: fp32 -> fp16.$"),
    "copies": (
        {"crop": 1},
        {"copies": 2},
        r"60 train images through the body .copies changed: 1 -> 2 .crop 1, seed 0..",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_said_and_computed(what, tmp_path, said):
    import re

    cached(tmp_path, images(), net(0))
    said.clear()
    config, options, text = CHANGES[what]
    options = dict(options)
    cached(tmp_path, images(**config), net(options.pop("model", 0)), **options)
    assert re.search(text, said[0])


def test_statistics_of_the_weights_are_in_the_key(tmp_path, said):
    config = SyntheticConfig(**SMALL)
    cached(tmp_path, build(config))
    said.clear()
    cached(tmp_path, build(config, stats=((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))))
    assert said[0].endswith("-> minus (0.5, 0.5, 0.5), over (0.25, 0.25, 0.25))")


def test_a_touched_file_is_another_sample(tmp_path, folder, said):
    config, model = photos(folder), net()
    data = cached(tmp_path, build(config), model)
    said.clear()
    cached(tmp_path, build(config), model)
    assert said == []
    path = data.images.files["val"][0][0]
    os.utime(path, (0, 0))
    cached(tmp_path, build(config), model)
    assert len(said) == 2
    assert "5 val images through the body (samples changed" in said[0]


def test_copies_are_augmented_but_for_the_first(tmp_path):
    config = {"crop": 2, "flip": True}
    data, plain = cached(tmp_path, images(**config), copies=3), cached(tmp_path)
    rows = data.parts["train"][0].view(3, 30, -1)
    torch.testing.assert_close(rows[0], plain.parts["train"][0], rtol=0, atol=1e-5)
    for a, b in itertools.combinations(rows, 2):
        assert ((a - b).abs().max(1).values > 1e-3).float().mean() > 0.8  # the same draw is rare
    assert len(data.parts["val"][0]) == 9
    again = FeatureData(images(**config), net(), HEAD, tmp_path / "other", copies=3)
    again.setup()
    assert torch.equal(again.parts["train"][0], data.parts["train"][0])


def test_so_many_epochs_show_every_copy_once(tmp_path):
    data = cached(tmp_path, images(crop=2, drop_last=False, batch_size=7), copies=3)
    rows = {tuple(row.tolist()): i for i, row in enumerate(data.parts["train"][0])}
    shown, loader = [], data.train_loader()
    for number in range(3):
        batches = epoch(loader, number)
        shown += [[rows[tuple(row.tolist())] for x, _ in batches for row in x]]
        order = torch.cat([batch.indices for batch in loader.batches.epoch(number)]).tolist()
        assert [row % 30 for row in shown[-1]] == order
    assert len({row for each in shown for row in each}) == len(rows)
    assert {row // 30 for row in shown[0]} == {0, 1, 2}


def test_copies_of_photos_are_random_crops(tmp_path, folder):
    data = cached(tmp_path, build(photos(folder)), copies=2)
    first, second = data.parts["train"][0].view(2, 13, -1)
    assert ((first - second).abs().max(1).values > 1e-3).all()


def test_a_pass_goes_on_from_any_image():
    data = images(crop=1)
    data.setup()
    part = ImagesInTurn(data, "train", copies=2)
    whole = torch.cat(list(part()))
    assert len(whole) == len(part) == 60
    assert torch.equal(torch.cat(list(part(13))), whole[13:])
    assert torch.equal(torch.cat(list(part(30))), whole[30:])
    assert list(part(60)) == []
    assert torch.equal(part.few(), whole[:2])


def test_no_worker_outlives_a_pass(folder):
    data = build(photos(folder))
    data.setup()
    part = ImagesInTurn(data, "train")
    part.few()  # of many: the workers have read ahead
    assert multiprocessing.active_children() == []
    whole = part()
    next(whole)
    assert len(multiprocessing.active_children()) == 1
    whole.close()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(("n", "size", "first"), [(5, 2, 0), (5, 2, 3), (4, 4, 0), (1, 8, 0), (6, 2, 6)])
def test_in_turn_is_in_turn(n, size, first):
    batches = InTurn(n=n, batch_size=size, first=first)
    listed = [batch.indices.tolist() for batch in batches.epoch(0)]
    assert len(batches) == len(listed)
    assert [index for batch in listed for index in batch] == list(range(first, n))
    assert [batch.indices.tolist() for batch in batches.epoch(0, start=1)] == listed[1:]


def test_a_finder_gets_a_loader_of_its_own(tmp_path):
    plain, data = images(), cached(tmp_path)
    plain.setup()
    fresh, live = data.train_loader().fresh(7), plain.train_loader(seed=7)
    assert [y.tolist() for _, y in fresh] == [y.tolist() for _, y in live]


def test_a_body_that_has_moved_is_refused(tmp_path):
    model = net()
    data = cached(tmp_path, model=model)
    with torch.no_grad():
        model.head[1].weight.zero_()
    data.train_loader()  # the head may move
    with torch.no_grad():
        model.stem[0].weight.mul_(1.1)
    with pytest.raises(ValueError, match=r"belong to a body with other weights \(\w{8}, now \w{8}\), as after resume"):
        data.train_loader()


def test_over_fitting_repeats_unchanged_features(tmp_path):
    model = net()
    data = FeatureData(images(crop=2), model, HEAD, tmp_path, copies=2)
    trainer = quiet_trainer(max_epochs=2, overfit_batches=1, log_every_n_steps=1)
    trainer.fit(Classifier(HeadOnly(model, HEAD), SGDConfig().build), datamodule=data)
    assert len(data.parts["train"][0]) == 30
    loader = data.train_loader()
    assert torch.equal(epoch(loader, 0)[0][0], epoch(loader, 1)[0][0])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"dtype": "fp8"}, r"features_dtype must be fp32 or fp16 \(got fp8\); fp32 is exact"),
        ({"copies": 0}, r"features_copies must be >= 1 \(got 0\); 1 is usual"),
        (
            {"copies": 4},
            r"must be 1 where no augmentation tells copies apart \(got 4\); switch some on, such as data.flip",
        ),
    ],
)
def test_options_out_of_range_are_refused(options, text, tmp_path):
    with pytest.raises(ValueError, match=text):
        FeatureData(images(), net(), HEAD, tmp_path, **options)


def test_a_body_in_half_precision_is_refused_before_anything_is_computed(tmp_path):
    model = net()
    text = "trainer.precision=bf16-true keeps the body in another precision than the float32 that features=cached are"
    with pytest.raises(ValueError, match=text):
        trained(
            Classifier(HeadOnly(model, HEAD), SGDConfig().build),
            FeatureData(images(), model, HEAD, tmp_path),
            precision="bf16-true",
        )
    assert not any(tmp_path.iterdir())


def test_mixed_precision_trains_on_float32_features(tmp_path):
    model = net()
    module = Classifier(HeadOnly(model, HEAD), SGDConfig(lr=1e-3).build)
    figures = trained(module, FeatureData(images(), model, HEAD, tmp_path), precision="bf16-mixed")
    assert figures["train/loss_epoch"] > 0


def test_each_stage_computes_what_it_needs(tmp_path):
    model = net()
    data, module = FeatureData(images(), model, HEAD, tmp_path), Classifier(HeadOnly(model, HEAD), SGDConfig().build)
    assert trained(module, data, limit_val_batches=0).keys() == {"train/loss", "train/loss_epoch", "train/acc"}
    assert set(data.parts) == {"train"}
    quiet_trainer().validate(module, datamodule=data, verbose=False)
    assert set(data.parts) == {"train", "val"}
    (cached,) = quiet_trainer().test(module, datamodule=data, verbose=False)
    assert set(data.parts) == {"train", "val", "test"}
    (live,) = quiet_trainer().test(Classifier(model, SGDConfig().build), datamodule=images(), verbose=False)
    assert cached == pytest.approx(live, rel=1e-5)


def test_a_full_disk_ends_the_workers_and_leaves_no_cache(tmp_path, folder, monkeypatch):
    data = FeatureData(build(photos(folder)), net(), HEAD, tmp_path / "cache")
    monkeypatch.setattr(features.FeatureCache, "fill", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        data.setup()
    assert all(loader._workers is None for loader in data.images._loaders)
    assert data.parts == {}
