import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from lightcycle.data.config import (
    CONFIGS,
    ArraysConfig,
    CIFAR10Config,
    DigitsConfig,
    FashionMNISTConfig,
    ImageFolderConfig,
    SyntheticConfig,
)
from lightcycle.data.count import KNOWN, count, take
from lightcycle.data.module import build

FLAT = {"a": 20, "b": 11, "c": 9}
SPLIT = {"train/a": 12, "train/b": 8, "val/a": 3, "val/b": 2}


def served(config):
    """Count what the loaders yield."""
    data = build(config)
    before = data.counts
    data.setup()
    assert data.counts == before
    train = sum(len(y) for _, y in data.train_dataloader())
    val = sum(len(y) for _, y in data.val_dataloader())
    test = sum(len(y) for _, y in data.test_dataloader()) if data.counts.test else 0
    x, _ = next(iter(data.val_dataloader()))
    return train, val, test, tuple(x.shape[1:])


def check(config):
    config = replace(config, drop_last=False)
    counts = count(config)
    assert served(config) == (counts.train, counts.val, counts.test, (counts.channels, *counts.size))
    return counts


@pytest.mark.parametrize(
    "options", [{}, {"limit": 100}, {"limit": 5000}, {"val_size": 0.2}, {"size": 16}, {"size": [10, 12], "val_size": 1}]
)
def test_digits(options):
    counts = check(DigitsConfig(**options))
    assert counts.test == 360
    assert counts.train + counts.val == 1437 or options.get("limit") == 100


@pytest.mark.parametrize("options", [{}, {"limit": 100, "channels": 1, "size": [6, 9]}, {"n_val": 3, "classes": 7}])
def test_synthetic(options):
    check(SyntheticConfig(**{"n_train": 90, "n_val": 20, "n_test": 11, "size": 6, **options}))


@pytest.mark.parametrize("options", [{}, {"limit": 7}, {"val_size": 4, "size": 9}])
def test_arrays(npz, options):
    counts = check(ArraysConfig(path=str(npz()), **options))
    assert (counts.test, counts.channels, counts.names) == (9, 3, ("0", "1", "2"))


@pytest.mark.parametrize(
    ("contents", "options", "expected"),
    [
        (SPLIT, {}, (20, 5, 0)),
        ({**SPLIT, "test/a": 2}, {}, (20, 5, 2)),
        ({"train/a": 12, "train/b": 8}, {"val_size": 0.25}, (15, 5, 0)),
        (FLAT, {}, (32, 4, 4)),
        (FLAT, {"test_size": 6, "val_size": 0.5, "limit": 8}, (8, 17, 6)),
    ],
)
def test_folders(folder, contents, options, expected):
    config = ImageFolderConfig(root=str(folder(contents)), size=8, num_workers=0, **options)
    counts = check(config)
    assert (counts.train, counts.val, counts.test) == expected


def test_a_stand_in_for_cifar(tmp_path):
    draw = np.random.default_rng(0)
    x = draw.integers(0, 256, (60_000, 32, 32, 3), dtype=np.uint8)
    y = np.arange(60_000) % 10
    np.savez(tmp_path / "cifar10.npz", x_train=x[:50_000], y_train=y[:50_000], x_test=x[50_000:], y_test=y[50_000:])
    counts = check(CIFAR10Config(root=str(tmp_path), batch_size=5000, crop=0, flip=False))
    assert (counts.train, counts.val, counts.test) == (45_000, 5_000, 10_000)


def test_known_sets_need_no_files():
    counts = count(FashionMNISTConfig(root="/nowhere", limit=1000))
    assert (counts.train, counts.val, counts.test, counts.classes) == (1000, 5000, 10_000, 10)
    for name in KNOWN:
        counts = count(CONFIGS[name]())
        assert len(set(counts.names)) == counts.classes == (100 if name == "cifar100" else 10)
        assert counts.train + counts.val in (1437, 50_000, 60_000)


def test_names_are_torchvisions():
    from torchvision import datasets

    assert list(KNOWN["fashion_mnist"].names) == datasets.FashionMNIST.classes
    assert list(KNOWN["kmnist"].names) == datasets.KMNIST.classes
    assert len(KNOWN["cifar100"].names) == 100
    assert list(KNOWN["cifar100"].names) == sorted(KNOWN["cifar100"].names)


def test_nothing_heavy_is_imported():
    code = (
        "import sys; from lightcycle.data.config import CONFIGS; from lightcycle.data.count import count; "
        "[count(CONFIGS[n]()) for n in ('digits', 'mnist', 'cifar10', 'synthetic')]; "
        "heavy = ('torch', 'lightning', 'sklearn', 'numpy', 'PIL', 'hydra', 'omegaconf'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


@pytest.mark.parametrize(("size", "expected"), [(0.1, 10), (0.001, 1), (0.255, 26), (7, 7), (99, 99)])
def test_take(size, expected):
    assert take("val_size", size, 100) == expected


@pytest.mark.parametrize("size", [100, 5000, 0.999])
def test_taking_all_is_refused(size):
    with pytest.raises(
        ValueError, match=rf"^data.val_size must be below the 100 images it is taken from \(got {size}\); 0.1"
    ):
        take("val_size", size, 100)
