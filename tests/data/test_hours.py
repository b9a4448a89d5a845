"""Size, strength and batch size are functions of the epoch: in every loader, with workers, after a resume."""

import re
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import nn

from lightcycle.data.augment import Augment
from lightcycle.data.batches import EvalBatches, TrainBatches, batches_in
from lightcycle.data.config import ImageFolderConfig, SyntheticConfig
from lightcycle.data.folder import ImageFiles
from lightcycle.data.folder_loader import FolderLoader
from lightcycle.data.listing import list_images
from lightcycle.data.memory import MemoryLoader
from lightcycle.data.module import build
from lightcycle.data.order import key
from toys import quiet_trainer

# Python 3.12 on: torch forks its workers beside threads of its own
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

SIZES = [(6, 8), (6, 8), (12, 10), (16, 16)]
BATCH_SIZES = [12, 8, 4, 4]


def size_of(epoch):
    return SIZES[min(epoch, 3)]


def batch_size_of(epoch):
    return BATCH_SIZES[min(epoch, 3)]


def memory(num_workers=0, **options):
    images = torch.randint(0, 256, (30, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    batches = TrainBatches(**{"n": 30, "batch_size": 4, "seed": 1, **options})
    return MemoryLoader(images, torch.arange(30), batches, Augment(crop=2, flip=True, erase=0.5))


@pytest.fixture
def make(folder, request):
    """Make loaders of one kind; those with workers are closed."""
    kind, made = request.param, []
    if kind != "memory":
        root = folder({"a": 15, "b": 15})
        files = [(path, i) for i, (path, _) in enumerate(list_images(root).train)]
        config = ImageFolderConfig(size=16, erase=0.5)

    def loader(**options):
        if kind == "memory":
            return memory(**options)
        batches = TrainBatches(**{"n": 30, "batch_size": 4, "seed": 1, **options})
        made.append(FolderLoader(ImageFiles(files, config, seed=1), batches, kind))
        return made[-1]

    yield loader
    for one in made:
        one.close()


ALL = pytest.mark.parametrize("make", ["memory", 0, 2], indirect=True, ids=["memory", "0 workers", "2 workers"])


def epoch(loader, number):
    loader.sampler.set_epoch(number)
    return list(loader)


def same(a, b):
    return len(a) == len(b) and all(
        torch.equal(p, q) for x, y in zip(a, b, strict=True) for p, q in zip(x, y, strict=True)
    )


@ALL
def test_every_batch_of_an_epoch_has_its_size_from_the_first_on(make):
    loader = make()
    loader.sizes = size_of
    for number in (0, 1, 2, 3, 0):
        batches = epoch(loader, number)
        assert [tuple(x.shape[2:]) for x, _ in batches] == [SIZES[number]] * 7
        assert all(x.dtype == torch.uint8 for x, _ in batches)
        assert loader.size_at(loader.hour) == SIZES[number]


@ALL
def test_the_set_s_own_size_is_as_without(make):
    loader = make()
    loader.sizes, loader.strengths = (lambda epoch: (16, 16)), (lambda epoch: 1.0)
    assert same(epoch(loader, 1), epoch(make(), 1))
    assert make().size_at(3) == (16, 16)


@ALL
def test_goes_on_in_the_size_and_the_batches_of_the_hour(make):
    straight = make()
    straight.sizes, straight.batch_sizes = size_of, batch_size_of
    epochs = [epoch(straight, number) for number in range(4)]
    assert [len(batches) for batches in epochs] == [2, 3, 7, 7]
    for number, start in ((0, 1), (1, 2), (2, 3)):
        resumed = make()
        resumed.sizes, resumed.batch_sizes = size_of, batch_size_of
        resumed.load_state_dict({"epoch": number, "batch": start, "clock": number})
        iterator = iter(resumed)
        assert (resumed.hour, len(resumed)) == (number, len(epochs[number]))  # before Lightning sets the epoch
        resumed.sampler.set_epoch(number)
        assert same(list(iterator), epochs[number][start:])
        assert same(epoch(resumed, number + 1), epochs[number + 1])


def test_at_the_end_of_an_epoch_the_hour_is_the_next():
    loader = memory()
    loader.sizes, loader.batch_sizes = size_of, batch_size_of
    loader.load_state_dict({"epoch": 1, "batch": 3, "clock": 1})
    iter(loader)
    assert (loader.hour, len(loader)) == (2, 7)
    loader.sampler.set_epoch(3)  # Lightning counts one epoch twice when it resumes with max_steps
    assert {tuple(x.shape[2:]) for x, _ in loader} == {SIZES[2]}


@ALL
def test_a_fresh_loader_stays_at_the_hour_of_the_running_one(make):
    loader = make()
    loader.sizes, loader.batch_sizes, loader.strengths = size_of, batch_size_of, (lambda epoch: epoch / 4)
    epoch(loader, 1)
    fresh = loader.fresh(seed=9)
    assert {tuple(x.shape) for number in (0, 5) for x, _ in epoch(fresh, number)} == {(8, 3, 6, 8)}
    assert (len(fresh), fresh.strength_at(7)) == (3, 0.25)
    if hasattr(fresh, "close"):
        fresh.close()
    resumed = make()
    resumed.sizes = size_of
    resumed.load_state_dict({"epoch": 2, "batch": 3, "clock": 2})
    assert resumed.fresh(seed=9).size_at(0) == SIZES[2]  # the trainer has set no epoch yet


@pytest.mark.parametrize("batch_sizes", [None, batch_size_of])
def test_ranks_together_get_exactly_what_one_process_gets(batch_sizes):
    loaders = [memory(), memory(rank=0, world_size=2), memory(rank=1, world_size=2)]
    for loader in loaders:
        loader.sizes, loader.batch_sizes = size_of, batch_sizes
    for number in range(3):
        for (x, y), left, right in zip(*(epoch(loader, number) for loader in loaders), strict=True):
            assert torch.equal(torch.cat([left[0], right[0]]), x)
            assert torch.equal(torch.cat([left[1], right[1]]), y)


def test_lengths_are_of_the_hour():
    loader = memory()
    loader.batch_sizes = batch_size_of
    assert [loader.length_at(number) for number in range(4)] == [batches_in(30, n) for n in BATCH_SIZES]
    for number in range(4):
        loader.sampler.set_epoch(number)
        assert len(loader) == len(list(loader)) == loader.length_at(number)


def test_strength_scales_crop_and_erase_and_leaves_the_mirror():
    x, _ = epoch(memory(), 0)[0]
    none, full, half = memory(), memory(), memory()
    none.strengths, full.strengths, half.strengths = (lambda epoch, s=s: s for s in (0.0, 1.0, 0.5))
    stored = none.images
    for images, labels in epoch(none, 0):
        for image, label in zip(images, labels, strict=True):
            assert any(torch.equal(image, other) for other in (stored[label], stored[label].flip(-1)))
    assert torch.equal(epoch(full, 0)[0][0], x)
    half.augment, weaker = Augment(crop=2, flip=True, erase=0.5), memory()
    weaker.augment = Augment(crop=1, flip=True, erase=0.25)
    assert same(epoch(half, 0), epoch(weaker, 0))


def test_strength_of_files_widens_the_crop(image, tmp_path):
    path = str(image(tmp_path / "x.png", size=(24, 24)))
    config = ImageFolderConfig(size=24, scale=[0.1, 1.0], ratio=[1.0, 1.0], flip=False, erase=1.0)
    files = ImageFiles([(path, 0)], config, seed=0)
    plain = ImageFolderConfig(size=24, scale=[1.0, 1.0], ratio=[1.0, 1.0], flip=False)
    whole = ImageFiles([(path, 0)], plain, seed=0)[(0, 0)][0]
    distance = [
        sum((files[(e, 0, None, strength)][0].float() - whole.float()).abs().mean() for e in range(30))
        for strength in (0.0, 0.3, 1.0)
    ]
    assert distance[0] == 0
    assert 0 < distance[1] < distance[2]


def test_evaluation_has_its_own_size():
    config = SyntheticConfig(n_train=20, n_val=6, n_test=5, size=8, eval_size=[12, 10], classes=3, batch_size=4)
    data = build(config)
    data.setup()
    assert {part: tuple(data.parts[part][0].shape[2:]) for part in data.parts} == {
        "train": (8, 8),
        "val": (12, 10),
        "test": (12, 10),
    }
    assert (data.size, data.size_of("train"), data.size_of("val")) == ((8, 8), (8, 8), (12, 10))


def test_evaluation_of_files_has_its_own_size(folder):
    root = folder({"train/a": 4, "train/b": 4, "val/a": 2, "val/b": 2})
    config = ImageFolderConfig(root=str(root), size=8, eval_size=16, batch_size=4, num_workers=0)
    data = build(config)
    data.setup()
    assert next(iter(data.eval_loader("val")))[0].shape == (4, 3, 16, 16)
    assert next(iter(data.train_loader()))[0].shape == (4, 3, 8, 8)


def test_evaluation_batches_know_no_hours():
    loader = MemoryLoader(torch.zeros(9, 1, 4, 4, dtype=torch.uint8), torch.arange(9), EvalBatches(n=9, batch_size=4))
    assert (len(loader), loader.hour, loader.size_at(5)) == (3, 0, (4, 4))


class Net(LightningModule):
    """Takes any size, and remembers which batches it got."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
        self.seen, self.validated = [], []

    def training_step(self, batch, batch_idx):
        x, y = batch
        digest = key(*x.flatten().tolist(), *y.tolist())
        self.seen.append((self.current_epoch, self.global_step, tuple(x.shape), digest))
        return nn.functional.cross_entropy(self.net(x), y)

    def validation_step(self, batch, batch_idx):
        self.validated.append((self.global_step, tuple(batch[0].shape[2:])))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


class Hours(Callback):
    """What a callback has to do where the number of batches changes, and no more."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        trainer.datamodule.sizes, trainer.datamodule.batch_sizes = size_of, batch_size_of

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.tell(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.tell(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch, batch_idx: int) -> None:
        self.tell(trainer)  # after a resume no epoch may start, or `reached` has just changed

    def tell(self, trainer: Trainer) -> None:
        loader, limit = trainer.train_dataloader, trainer.limit_train_batches
        length = loader.length_at(loader.reached)
        trainer.fit_loop.max_batches = min(length, limit) if isinstance(limit, int) else length
        trainer.val_check_batch = trainer.fit_loop.max_batches


class SaveAtEnds(Callback):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.folder / f"epoch-{trainer.global_step}.ckpt", weights_only=False)


def fit(ckpt=None, callbacks=(), **options):
    config = SyntheticConfig(n_train=30, n_val=6, n_test=6, size=16, classes=3, batch_size=4, crop=1, flip=True)
    module = Net()
    saves = any(isinstance(c, ModelCheckpoint) for c in callbacks)
    trainer = quiet_trainer(enable_checkpointing=saves, callbacks=[Hours(), *callbacks], **options)
    trainer.fit(module, datamodule=build(config, seed=3), ckpt_path=ckpt, weights_only=True)
    return module


@pytest.mark.parametrize("accumulate", [1, 2])
def test_lightning_trains_and_validates_epochs_of_every_length_and_resumes_in_them(tmp_path, accumulate):
    options = {"max_epochs": 4, "accumulate_grad_batches": accumulate}
    saver = ModelCheckpoint(tmp_path, "step-{step}", every_n_train_steps=1, save_top_k=-1)
    straight = fit(callbacks=(saver, SaveAtEnds(tmp_path)), **options)
    shapes = [shape for _, _, shape, _ in straight.seen]
    lengths = [2, 3, 7, 7]
    assert shapes == [(BATCH_SIZES[e], 3, *SIZES[e]) for e in range(4) for _ in range(lengths[e])]
    ends = [sum(-(-n // accumulate) for n in lengths[: e + 1]) for e in range(4)]
    assert straight.validated == [(step, (16, 16)) for step in ends]
    checkpoints = sorted(tmp_path.glob("*.ckpt"))
    assert len(checkpoints) == ends[-1] + 4
    for ckpt in checkpoints:
        resumed = fit(ckpt, **options)
        step = torch.load(ckpt, weights_only=True)["global_step"]
        assert resumed.seen == [one for one in straight.seen if one[1] >= step], ckpt.name
        for a, b in zip(resumed.parameters(), straight.parameters(), strict=True):
            assert torch.equal(a, b), ckpt.name


def test_a_limit_in_batches_holds_in_every_epoch():
    seen = fit(max_epochs=4, limit_train_batches=3).seen
    assert [sum(one[0] == e for one in seen) for e in range(4)] == [2, 3, 3, 3]


def test_a_limit_as_a_share_is_refused_where_lengths_change():
    sentence = (
        "trainer.limit_train_batches must be a whole number or 1.0 where the batch size changes (got 0.5); "
        "data.limit uses fewer images"
    )
    with pytest.raises(ValueError, match=re.escape(sentence)):
        fit(max_epochs=2, limit_train_batches=0.5)
