"""ProgressiveResizing: every batch has the size of its epoch, and a run resumed anywhere is the straight run."""

import warnings
from collections import namedtuple
from itertools import groupby

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lightcycle.callbacks import LRFinder, ParamScheduler, ProgressiveResizing, StepSeed
from lightcycle.callbacks.batchnorm import refresh_batchnorm
from lightcycle.callbacks.resized_batch import resize_batch
from lightcycle.data.config import ImageFolderConfig, SyntheticConfig
from lightcycle.data.module import build
from lightcycle.schedules import SGDR, OneCycle
from toys import quiet_trainer

PLAN = {"sizes": [4, 6, 8], "at": [0, 1, 3]}
SIDES = [4, 6, 6, 8]  # of the four epochs


class Net(LightningModule):
    """A convolution, BatchNorm, dropout and a head; writes down the shape and the loss of every batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(6, 3)
        self.trace, self.evaluated = [], []

    def forward(self, images):
        return self.head(self.body(images).mean((2, 3)))

    def training_step(self, batch, batch_idx):
        images, labels = batch.values() if isinstance(batch, dict) else batch
        loss = nn.functional.cross_entropy(self(images), labels)
        self.trace.append((self.trainer.current_epoch, tuple(images.shape), loss.item()))
        return loss

    def validation_step(self, batch, batch_idx):
        images, labels = batch.values() if isinstance(batch, dict) else batch
        self.evaluated.append(tuple(images.shape[2:]))
        self.log("val/loss", nn.functional.cross_entropy(self(images), labels))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def memory(**options):
    usual = {"n_train": 26, "n_val": 6, "n_test": 6, "size": 8, "classes": 3, "batch_size": 6, "flip": True}
    return build(SyntheticConfig(**{**usual, **options}), seed=3)


@pytest.fixture
def photos(tmp_path):
    """A function that makes the datamodule of a folder of JPEGs."""
    draw = np.random.default_rng(0)
    for path, count in {"train/a": 9, "train/b": 9, "train/c": 8, "val/a": 2, "val/b": 2, "val/c": 2}.items():
        (tmp_path / "photos" / path).mkdir(parents=True)
        for i in range(count):
            pixels = draw.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / path / f"{i}.jpg")
    config = {"root": str(tmp_path / "photos"), "size": 8, "batch_size": 6}
    return lambda workers: build(ImageFolderConfig(**config, num_workers=workers, check=False), seed=3)


class Foreign(LightningDataModule):
    """Somebody else's images, with a data hook of its own or without, in this or that kind of batch."""

    def __init__(self, pack=list):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.images, self.labels = torch.randn(24, 3, 8, 8, generator=generator), torch.arange(24) % 3
        self.pack = pack

    def train_dataloader(self):
        return DataLoader(Pairs(self.images, self.labels), batch_size=6, collate_fn=self.collate, num_workers=0)

    val_dataloader = train_dataloader

    def collate(self, samples):
        images, labels = (torch.stack(part) for part in zip(*samples, strict=True))
        return self.pack([images, labels])


class Pairs(Dataset):
    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


class Scaled(Foreign):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        assert batch[0].shape[2] == 8  # it sees the images as they are
        return [batch[0] * 2, batch[1]]


def fit(data, *callbacks, resizing=None, module=None, ckpt=None, schedule=None, **options):
    module = module or Net()
    resizing = [ProgressiveResizing(**PLAN)] if resizing is None else resizing
    saves = any(isinstance(c, ModelCheckpoint) for c in callbacks)
    called = [StepSeed(1), *resizing, *callbacks, ParamScheduler(schedule or OneCycle())]
    trainer = quiet_trainer(callbacks=called, enable_checkpointing=saves, **{"max_epochs": 4, **options})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message=".*is not resumable")
        trainer.fit(module, datamodule=data, ckpt_path=ckpt, weights_only=True)
    return module, trainer


def sides(module):
    """The sides of the images of each epoch: one number where all of its batches agree."""
    met = groupby(module.trace, key=lambda step: step[0])
    return [{shape[2:] for _, shape, _ in steps} for _, steps in met]


def same(one, other):
    """Two runs left the same weights, statistics and momenta."""
    for part in (dict(one[0].state_dict()), momenta(one)), (dict(other[0].state_dict()), momenta(other)):
        assert part[0]
    ours, theirs = {**one[0].state_dict(), **momenta(one)}, {**other[0].state_dict(), **momenta(other)}
    assert ours.keys() == theirs.keys()
    assert [name for name, tensor in ours.items() if not torch.equal(tensor, theirs[name])] == []


def momenta(run):
    module, trainer = run
    state = trainer.optimizers[0].state
    return {f"{name} momentum": state[p]["momentum_buffer"] for name, p in module.named_parameters()}


# -- the size of the hour --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [memory, Foreign, Scaled], ids=["memory", "foreign", "foreign with a hook"])
def test_every_batch_of_an_epoch_has_its_size_and_validation_the_full_one(data):
    module, _ = fit(data())
    assert sides(module) == [{(side, side)} for side in SIDES]
    assert set(module.evaluated) == {(8, 8)}


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_files_are_decoded_at_the_size_of_the_hour(photos, workers, capsys):
    module, _ = fit(photos(workers))
    assert sides(module) == [{(side, side)} for side in SIDES]
    assert set(module.evaluated) == {(8, 8)}


Batch = namedtuple("Batch", "images labels")


@pytest.mark.parametrize("pack", [list, tuple, lambda parts: Batch(*parts), lambda p: {"x": p[0], "y": p[1]}])
def test_any_kind_of_batch(pack):
    kinds = []

    class Look(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            kinds.append(type(batch))

    module, _ = fit(Foreign(pack), Look())
    assert sides(module) == [{(side, side)} for side in SIDES]
    assert set(kinds) == {type(pack([torch.zeros(0), torch.zeros(0)]))}


def test_sizes_that_are_not_square():
    module, _ = fit(memory(), resizing=[ProgressiveResizing(sizes=[[4, 6], 8], at=[0, 2])])
    assert sides(module) == [{(4, 6)}, {(4, 6)}, {(8, 8)}, {(8, 8)}]


def test_the_hook_and_the_data_are_as_before():
    data = Foreign()
    module, _ = fit(data)
    assert "on_after_batch_transfer" not in vars(data) | vars(module)
    ours = memory()
    fit(ours, resizing=[ProgressiveResizing(**PLAN, constant_pixels=True)])
    assert ours.batch_sizes is None


def test_the_hook_is_taken_away_when_a_run_fails():
    class Fails(Callback):
        def on_train_batch_end(self, *args):
            raise RuntimeError("the power is out")

    module = Net()
    with pytest.raises(RuntimeError, match="power"):
        fit(Foreign(), Fails(), module=module)
    assert "on_after_batch_transfer" not in vars(module)


@pytest.mark.parametrize("data", [memory, Foreign], ids=["memory", "foreign"])
def test_the_full_size_from_the_start_is_the_run_without_it(data):
    same(fit(data(), resizing=[ProgressiveResizing(sizes=[8])]), fit(data(), resizing=[]))


def test_images_are_interpolated_with_antialiasing():
    images = torch.rand(2, 3, 16, 12)
    small, _ = resize_batch([images, torch.tensor([0, 1])], (8, 6))
    by_pil = [
        [np.asarray(Image.fromarray(c.numpy(), mode=None).resize((6, 8), Image.Resampling.BILINEAR)) for c in image]
        for image in images
    ]
    torch.testing.assert_close(small, torch.tensor(np.array(by_pil)), atol=1e-5, rtol=0)
    half = resize_batch(images.bfloat16(), (8, 6))
    assert half.dtype == torch.bfloat16
    whole = resize_batch((images * 255).to(torch.uint8), (8, 6))
    assert whole.dtype == torch.uint8
    with pytest.raises(ValueError, match=r"finds no images .* a list; let the loader give a tensor"):
        resize_batch([torch.zeros(3), 1], (4, 4))


# -- resume ----------------------------------------------------------------------------------------------------------


def check_resume(make, tmp_path, steps, **plan):
    saver = ModelCheckpoint(tmp_path / "kept", "{step}", every_n_train_steps=1, save_top_k=-1)
    straight = fit(make(), saver, resizing=[ProgressiveResizing(**PLAN, **plan)])
    total = straight[1].global_step
    for step in steps or range(1, total):
        checkpoint = tmp_path / "kept" / f"step={step}.ckpt"
        resumed = fit(make(), resizing=[ProgressiveResizing(**PLAN, **plan)], ckpt=checkpoint)
        assert resumed[1].global_step == total
        assert resumed[0].trace == straight[0].trace[step:], step
        same(resumed, straight)


def test_resume_at_and_inside_every_size_in_memory(tmp_path):
    check_resume(memory, tmp_path, None)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_resume_at_and_inside_every_size_from_files(photos, workers, tmp_path):
    check_resume(lambda: photos(workers), tmp_path, [2, 4, 6, 8, 12, 13])


def test_resume_with_batches_and_strengths_that_change(tmp_path):
    check_resume(lambda: memory(n_train=60, crop=2), tmp_path, None, constant_pixels=True, strength=0.3)


def test_resume_of_anybodys_data_between_epochs(tmp_path):
    check_resume(Foreign, tmp_path, [4, 8, 12])


def test_another_plan_is_refused_or_chosen(tmp_path):
    saver = ModelCheckpoint(tmp_path / "kept", "{step}", every_n_train_steps=4, save_top_k=-1)
    fit(memory(), saver)
    other = {"sizes": [4, 8], "at": [0, 3]}
    schedule, checkpoint = ParamScheduler(OneCycle()), tmp_path / "kept" / "step=4.ckpt"
    with pytest.raises(ValueError, match=r"was planned as Resizing.* other sizes would follow"):
        fit(memory(), resizing=[ProgressiveResizing(**other)], ckpt=checkpoint)
    assert schedule.plan is None
    module, _ = fit(memory(), resizing=[ProgressiveResizing(**other, on_resume="replan")], ckpt=checkpoint)
    assert sides(module) == [{(4, 4)}, {(4, 4)}, {(8, 8)}]


def test_another_length_keeps_the_old_plan_if_asked(tmp_path):
    plan = {"sizes": [4, 6, 8], "fractions": [0, 0.25, 0.75]}
    saver = ModelCheckpoint(tmp_path / "kept", "{step}", every_n_train_steps=4, save_top_k=-1)
    fit(memory(), saver, resizing=[ProgressiveResizing(**plan)])

    def resumed(on_resume):
        callbacks = [ProgressiveResizing(**plan, on_resume=on_resume), ParamScheduler(OneCycle(), on_resume=on_resume)]
        trainer, module = quiet_trainer(callbacks=[StepSeed(1), *callbacks], max_epochs=8), Net()
        trainer.fit(module, datamodule=memory(), ckpt_path=tmp_path / "kept" / "step=4.ckpt", weights_only=True)
        return [side for epoch in sides(module) for side, _ in epoch]

    assert resumed("keep") == [6, 6, 8, 8, 8, 8, 8]
    assert resumed("replan") == [4, 6, 6, 6, 6, 8, 8]
    with pytest.raises(ValueError, match=r"over 4 epochs, and this run is .* over 8"):
        resumed("same")


# -- batches, strength -----------------------------------------------------------------------------------------------


class Plan(Callback):
    """The horizon that the schedule was bound to."""

    def on_train_end(self, trainer, pl_module):
        scheduler = next(c for c in trainer.callbacks if isinstance(c, ParamScheduler))
        pl_module.horizon, pl_module.validations = scheduler.plan.horizon, len(pl_module.evaluated)


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("limit", [1.0, 5])
def test_batches_grow_and_the_horizon_is_the_sum(drop_last, limit):
    data = memory(n_train=100, batch_size=8, drop_last=drop_last)
    plan = ProgressiveResizing(**PLAN, constant_pixels=True)
    module, trainer = fit(data, Plan(), resizing=[plan], limit_train_batches=limit, accumulate_grad_batches=2)
    met = [list(steps) for _, steps in groupby(module.trace, key=lambda step: step[0])]
    assert [steps[0][1][0] for steps in met] == [32, 16, 16, 8]  # 8 * (8 / side) ** 2, in eights
    whole = {True: [3, 6, 6, 12], False: [4, 7, 7, 13]}[drop_last]
    expected = [min(n, limit) if isinstance(limit, int) else n for n in whole]
    assert [len(steps) for steps in met] == expected
    assert module.horizon.lengths == tuple(-(-n // 2) for n in expected)
    assert trainer.global_step == module.horizon.steps
    assert module.validations == 4  # one after every epoch, also where epochs are shorter than others


def test_strength_rises_with_the_size():
    asked = []
    plan = ProgressiveResizing(**PLAN, strength=0.5)

    class Look(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            asked.append(trainer.train_dataloader.strength_at(trainer.current_epoch))

    fit(memory(), Look(), resizing=[plan])
    assert asked == [0.5, 0.75, 0.75, 1.0]


# -- beside it -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [memory, Foreign], ids=["memory", "foreign"])
def test_a_range_test_inside_runs_at_the_size_of_the_hour_and_leaves_no_trace(data, tmp_path):
    met = []

    class Spy(Net):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            if not self.trainer.callbacks:  # a range test has none
                met.append((self.trainer.current_epoch, self.trace.pop()[1][2]))
            return loss

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LR finder.*")
        finder = LRFinder(at=[0, 1, 3], num_steps=10, max_lr=1.0, folder=tmp_path, apply=False)
        tested = fit(data(), finder, module=Spy())
    assert len(finder.found) == 3
    assert set(met) == {(0, 4), (1, 6), (3, 8)}
    plain = fit(data())
    assert tested[0].trace == plain[0].trace
    same(tested, plain)


def test_statistics_are_the_mean_over_the_batches():
    module = Net()
    weights = {name: p.clone() for name, p in module.named_parameters()}
    batches = [torch.randn(5, 3, 8, 8) * (k + 1) for k in range(4)]
    norm = module.body[1]
    assert refresh_batchnorm(module, batches, module) == 1
    inputs = [module.body[0](batch) for batch in batches]
    expected_mean = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
    expected_var = torch.stack([x.var((0, 2, 3)) for x in inputs]).mean(0)
    torch.testing.assert_close(norm.running_mean, expected_mean)
    torch.testing.assert_close(norm.running_var, expected_var)
    assert norm.momentum == 0.1
    assert module.training
    assert all(torch.equal(p, weights[name]) for name, p in module.named_parameters())
    norm.eval()
    assert refresh_batchnorm(module, batches, module) == 0


@pytest.mark.parametrize("data", [memory, Foreign], ids=["memory", "foreign"])
def test_a_refresh_changes_statistics_and_nothing_else(data, capsys):
    plain, refreshed = fit(data()), fit(data(), resizing=[ProgressiveResizing(**PLAN, bn_refresh=3)])
    assert plain[0].trace == refreshed[0].trace
    assert momenta(plain).keys() == momenta(refreshed).keys()
    differ = {n for n, t in plain[0].state_dict().items() if not torch.equal(t, refreshed[0].state_dict()[n])}
    assert differ == {"body.1.running_mean", "body.1.running_var"}
    assert refreshed[1].callback_metrics["val/loss"] != plain[1].callback_metrics["val/loss"]  # the validation saw it


def test_a_run_that_stops_early_says_that_it_was_not_refreshed(caplog):
    class Stops(Callback):
        def on_train_batch_end(self, trainer, *args):
            trainer.should_stop = True

    with caplog.at_level("INFO"):
        fit(memory(), Stops(), resizing=[ProgressiveResizing(**PLAN, bn_refresh=3)])
    assert "bn_refresh was left out: the run stopped before its last step" in caplog.text
    assert "measured over" not in caplog.text


def test_schedules_of_cycles_go_with_it():
    module, _ = fit(memory(), schedule=SGDR(cycles=2, cycle_len=2, cycle_mult=1))
    assert sides(module) == [{(side, side)} for side in SIDES]


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("data", [memory, Foreign], ids=["memory", "foreign"])
def test_half_precision_and_channels_last(data, precision):
    module = Net().to(memory_format=torch.channels_last)
    fit(data(), module=module, precision=precision)
    assert sides(module) == [{(side, side)} for side in SIDES]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_net_has_one_graph_for_each_size():
    graphs = []

    def count(graph, inputs):
        graphs.append(tuple(inputs[-1].shape))
        return graph.forward

    torch.compiler.reset()
    module = Net()
    module.body.compile(dynamic=False, backend=count)
    fit(memory(), module=module, limit_val_batches=0)
    assert sides(module) == [{(side, side)} for side in SIDES]
    assert len(graphs) == 3


def test_cudnn_does_not_search_while_sizes_move():
    seen = []

    class Look(Callback):
        def on_train_batch_start(self, *args):
            seen.append(torch.backends.cudnn.benchmark)

    fit(memory(), Look(), benchmark=True)
    assert not any(seen)
    assert torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bn_refresh": -1}, "bn_refresh must be batches >= 0"),
        ({"on_resume": "never"}, "on_resume must be one of same, keep, replan"),
        ({"sizes": [8, 4]}, "sizes must be pixels that increase"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        ProgressiveResizing(**options)


class Unread(Foreign):
    def train_dataloader(self):
        raise AssertionError("data was touched")


@pytest.mark.parametrize(
    ("plan", "options", "message"),
    [
        ({"sizes": [4, 6, 8]}, {"max_epochs": 2}, "3 sizes beginning at epochs 0, 1, 1 of a run of 2 epochs"),
        ({}, {}, "give finish=224"),
        ({"sizes": [4, 8], "constant_pixels": True}, {}, "constant_pixels=true needs a loader whose batches can grow"),
        ({"sizes": [4, 8]}, {"overfit_batches": 2}, "changes the batches, and trainer.overfit_batches=2 keeps them"),
    ],
)
def test_what_cannot_be_is_refused_before_data_is_touched(plan, options, message):
    with pytest.raises(ValueError, match=message):
        fit(Unread(), resizing=[ProgressiveResizing(**plan)], **options)


def test_statistics_beside_averaged_weights():
    plan = ProgressiveResizing(**PLAN, bn_refresh=2)
    with pytest.raises(ValueError, match="bn_refresh=2 measures statistics of the weights that train"):
        fit(Unread(), EMAWeightAveraging(), resizing=[plan])


def test_a_share_of_batches_that_change():
    plan = ProgressiveResizing(**PLAN, constant_pixels=True)
    with pytest.raises(ValueError, match=r"limit_train_batches=0.5\); give a whole number"):
        fit(memory(), resizing=[plan], limit_train_batches=0.5)


def test_strength_of_anybodys_loader():
    with pytest.raises(ValueError, match=r"strength=0.5 is for this project's loaders, and DataLoader augments"):
        fit(Foreign(), resizing=[ProgressiveResizing(**PLAN, strength=0.5)])
