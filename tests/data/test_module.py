import random
import re

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule

from lightcycle.data.config import DigitsConfig, ImageFolderConfig, SyntheticConfig
from lightcycle.data.module import FolderData, MemoryData, build, statistics
from toys import quiet_trainer

# Python 3.12 on: torch forks its workers beside threads of its own
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

SMALL = {"n_train": 60, "n_val": 20, "n_test": 13, "size": 6, "classes": 4, "batch_size": 16}


def small(seed=0, **options):
    data = build(SyntheticConfig(**{**SMALL, **options}), seed)
    data.setup()
    return data


class Probe(LightningModule):
    """Remembers what arrives at each step."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.got = {"train": [], "val": [], "test": [], "predict": []}

    def training_step(self, batch, batch_idx):
        self.got["train"].append(batch)
        return self.weight * batch[0].mean()

    def validation_step(self, batch, batch_idx):
        self.got["val"].append(batch)

    def test_step(self, batch, batch_idx):
        self.got["test"].append(batch)

    def predict_step(self, batch, batch_idx):
        self.got["predict"].append(batch)
        return batch[1]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def test_facts_are_known_before_any_pixel():
    data = build(DigitsConfig())
    assert isinstance(data, MemoryData)
    assert (data.num_classes, data.channels, data.size) == (10, 1, (8, 8))
    assert data.classes == tuple("0123456789")
    assert (data.counts.train, data.counts.val, data.counts.test) == (1257, 180, 360)
    assert (data.mean, data.std) == (None, None)


def test_statistics_agree_with_numpy():
    x = torch.randint(0, 256, (50, 3, 7, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    mean, std = statistics(x)
    values = x.numpy().astype(np.float64) / 255
    assert mean == pytest.approx(values.mean((0, 2, 3)), rel=1e-12)
    assert std == pytest.approx(values.std((0, 2, 3)), rel=1e-12)
    assert statistics(torch.zeros(4, 1, 2, 2, dtype=torch.uint8)) == ((0.0,), (1 / 255,))


def test_statistics_are_of_the_training_images_alone():
    data = small(limit=10)
    assert (data.mean, data.std) == statistics(data.parts["train"][0])
    assert len(data.parts["train"][0]) == 10


def test_normalized_images_have_mean_0_and_deviation_1():
    data = small()
    images, labels = data.parts["train"]
    x, y = data.on_after_batch_transfer((images, labels), 0)
    assert x.dtype == torch.float32
    assert y is labels
    assert x.mean((0, 2, 3)).abs().max() < 1e-5
    assert x.std((0, 2, 3)) == pytest.approx(1, abs=1e-3)
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (data.mean, data.std))
    torch.testing.assert_close(x, (images / 255 - mean) / std)
    assert images.dtype == torch.uint8  # the stored images stay
    already = torch.rand(2, 3, 6, 6)
    assert data.on_after_batch_transfer((already, labels), 0)[0] is already


@pytest.mark.parametrize("precision", ["32-true", "bf16-true", "64-true"])
def test_a_trainer_gets_every_part(precision):
    probe, data = Probe(), build(SyntheticConfig(**SMALL))
    trainer = quiet_trainer(max_epochs=2, precision=precision)
    trainer.fit(probe, datamodule=data)
    trainer.test(probe, datamodule=data, verbose=False)
    trainer.predict(probe, datamodule=data, return_predictions=False)
    sizes = {part: [len(y) for _, y in batches] for part, batches in probe.got.items()}
    assert sizes == {"train": [16] * 6, "val": [20] * 2, "test": [13], "predict": [13]}
    dtype = {"32-true": torch.float32, "bf16-true": torch.bfloat16, "64-true": torch.float64}[precision]
    assert {x.dtype for batches in probe.got.values() for x, _ in batches} == {dtype}
    assert all(
        isinstance(batch, list) for batches in probe.got.values() for batch in batches
    )  # callbacks may change it


def test_parts_are_disjoint_and_stratified():
    data = build(DigitsConfig())
    data.setup()
    parts = {name: {tuple(x.flatten().tolist()) for x in images} for name, (images, _) in data.parts.items()}
    assert not parts["train"] & parts["test"]
    assert not parts["train"] & parts["val"]
    assert not parts["val"] & parts["test"]
    for _, labels in data.parts.values():
        assert (labels.bincount() / len(labels) - 0.1).abs().max() < 0.01


def test_the_runs_seed_moves_the_order_and_not_the_split():
    one, two = small(seed=0), small(seed=1)
    assert all(torch.equal(one.parts[p][0], two.parts[p][0]) for p in one.parts)
    assert not torch.equal(next(iter(one.train_dataloader()))[1], next(iter(two.train_dataloader()))[1])
    digits = []
    for seed in (0, 0, 1):
        digits.append(build(DigitsConfig(split_seed=seed)))
        digits[-1].setup()
    assert torch.equal(digits[0].parts["val"][0], digits[1].parts["val"][0])
    assert not torch.equal(digits[0].parts["val"][0], digits[2].parts["val"][0])


def test_setup_happens_once():
    data = small()
    train = data.parts["train"][0]
    data.setup("fit")
    data.setup("test")
    assert data.parts["train"][0] is train


def test_another_train_loader_disturbs_nothing():
    expected = list(small().train_dataloader())
    data = small()
    running = data.train_dataloader()
    iterator = iter(running)
    begun = [next(iterator)]
    for other in (data.train_loader(seed=7), running.fresh(seed=7)):
        batches = list(other)
        assert len(batches) == len(expected)
        assert not torch.equal(batches[0][0], expected[0][0])
    assert all(torch.equal(a[0], b[0]) for a, b in zip([*begun, *iterator], expected, strict=True))
    assert running.state_dict() == {"epoch": 0, "batch": 3, "clock": 0}


def test_switches_reach_the_images():
    plain = small(crop=0, flip=False, erase=0.0)
    still = next(iter(plain.train_dataloader()))[0]
    for switch in ({"crop": 2}, {"flip": True}, {"erase": 1.0}):
        moved = next(iter(small(**switch).train_dataloader()))[0]
        assert not torch.equal(moved, still), switch
        assert torch.equal(next(iter(small(**switch).val_dataloader()))[0], next(iter(plain.val_dataloader()))[0])


def test_evaluation_batches():
    data = small(n_val=100)
    assert [len(y) for _, y in data.val_dataloader()] == [25, 25, 25, 25]  # at most twice the training batch
    data = small(n_val=100, eval_batch_size=60)
    assert [len(y) for _, y in data.val_dataloader()] == [50, 50]


def test_crop_must_fit_the_image():
    with pytest.raises(ValueError, match=r"^data.crop must be below the 8 pixels of a side \(got 8\); 1 is usual.$"):
        build(DigitsConfig(crop=8))


def test_a_folder_without_a_test_set_says_so(folder):
    root = folder({"train/a": 4, "train/b": 4, "val/a": 2})
    data = build(ImageFolderConfig(root=str(root), size=8, num_workers=0))
    assert isinstance(data, FolderData)
    data.setup()
    assert data.counts.test == 0
    with pytest.raises(
        ValueError, match=r"^image_folder has no test images: data.root has train/ and val/ only; add a test"
    ):
        data.test_dataloader()


def test_a_folder_through_a_trainer(folder):
    root = folder({"a": 12, "b": 8})
    data = build(
        ImageFolderConfig(root=str(root), size=10, batch_size=4, num_workers=2, mean=[0.5] * 3, std=[0.25] * 3)
    )
    probe, trainer = Probe(), quiet_trainer(max_epochs=1)
    trainer.fit(probe, datamodule=data)
    trainer.test(probe, datamodule=data, verbose=False)
    assert (data.mean, data.std) == ((0.5,) * 3, (0.25,) * 3)
    sizes = {part: [len(y) for _, y in batches] for part, batches in probe.got.items()}
    assert sizes == {"train": [4] * 4, "val": [2], "test": [2], "predict": []}
    x = probe.got["val"][0][0]
    assert (x.shape, x.dtype) == ((2, 3, 10, 10), torch.float32)
    assert -2 <= x.min() < 0 < x.max() <= 2
    raw = next(iter(data.val_dataloader()))[0]
    torch.testing.assert_close(x, (raw / 255 - 0.5) / 0.25)
    data.teardown()


def test_global_generators_are_left_alone():
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    data = build(DigitsConfig(limit=100, crop=1, flip=True, erase=0.5))
    data.prepare_data()
    data.setup()
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for batch in loader:
            data.on_after_batch_transfer(batch, 0)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_statistics_do_not_depend_on_the_size():
    data, small = build(DigitsConfig()), build(DigitsConfig(size=4))
    for one in (data, small):
        one.setup()
    assert (small.mean, small.std) == (data.mean, data.std)
    assert small.parts["test"][0].shape == (360, 1, 4, 4)


@pytest.mark.parametrize("first", ["own", "other"])
def test_another_way_of_serving_shares_what_was_read(first):
    own = build(DigitsConfig(crop=1, batch_size=32), seed=5)
    own.sizes = lambda epoch: (2, 2)
    other = own.with_config(DigitsConfig(crop=0, size=[4, 6], eval_size=10, batch_size=16))
    for data in (own, other) if first == "own" else (other, own):
        data.setup()
    assert own.parts["train"][0].data_ptr() == other.stored["train"][0].data_ptr()
    assert (own.size, other.size, other.size_of("val")) == ((8, 8), (4, 6), (10, 10))
    assert {part: tuple(x.shape) for part, (x, _) in other.parts.items()} == {
        "train": (1257, 1, 4, 6),
        "val": (180, 1, 10, 10),
        "test": (360, 1, 10, 10),
    }
    assert (other.mean, other.std, other.seed) == (own.mean, own.std, 5)
    assert torch.equal(other.labels("val"), own.labels("val"))
    assert (other.sizes, len(other.train_loader()), len(own.train_loader())) == (None, 78, 39)
    assert other.with_config(DigitsConfig()).size == (8, 8)


def test_whichever_reads_first_reads_the_same():
    first, second = (build(SyntheticConfig(**SMALL)) for _ in range(2))
    small = second.with_config(SyntheticConfig(**{**SMALL, "size": 4}))
    first.setup()
    small.setup()
    second.setup()
    assert small.size == (4, 4)
    assert second.fingerprint("train") == first.fingerprint("train")
    assert second.mean == first.mean


def test_files_are_listed_and_checked_once(folder, monkeypatch):
    root = folder({"train/a": 4, "train/b": 4, "val/a": 2, "val/b": 2})
    (root / "train" / "a" / "bad.jpg").write_bytes(b"")
    options = {"root": str(root), "on_bad": "skip", "num_workers": 0, "batch_size": 2}
    own = build(ImageFolderConfig(size=16, **options))
    early = own.with_config(ImageFolderConfig(size=8, **options))
    with pytest.warns(UserWarning, match="unreadable"):
        own.setup()
    monkeypatch.setattr("lightcycle.data.module.find_files", None)  # whoever calls it fails
    late = own.with_config(ImageFolderConfig(size=12, scale=[0.5, 1.0], **options))
    for other, side in ((early, 8), (late, 12)):
        other.setup()
        assert (other.counts.train, other.counts.size, len(other.skipped)) == (8, (side, side), 1)
        assert next(iter(other.train_loader()))[0].shape == (2, 3, side, side)
    assert next(iter(own.train_loader()))[0].shape == (2, 3, 16, 16)


def test_other_images_are_refused():
    data = build(DigitsConfig())
    sentence = "data.split_seed must stay 0 where images are shared (got 1); give it a set of its own."
    with pytest.raises(ValueError, match=re.escape(sentence)):
        data.with_config(DigitsConfig(split_seed=1))
    sentence = "data must be the same set (got synthetic, beside digits); give it a set of its own."
    with pytest.raises(ValueError, match=re.escape(sentence)):
        data.with_config(SyntheticConfig(**SMALL))
    with pytest.raises(ValueError, match=r"data.crop must be below the 4 pixels"):
        data.with_config(DigitsConfig(size=4, crop=4))
