import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torchvision import datasets

from lightcycle.data import sources
from lightcycle.data.config import CIFAR10Config, DigitsConfig, FashionMNISTConfig, MNISTConfig, SyntheticConfig


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def fashion(tmp_path):
    """Files as torchvision stores them, with 30 and 10 images."""
    draw = np.random.default_rng(0)
    stored = {}
    for prefix, part, n in (("train", "train", 30), ("t10k", "test", 10)):
        stored[part] = draw.integers(0, 256, (n, 28, 28)), np.arange(n) % 10
        write_idx(tmp_path / "FashionMNIST/raw" / f"{prefix}-images-idx3-ubyte", stored[part][0])
        write_idx(tmp_path / "FashionMNIST/raw" / f"{prefix}-labels-idx1-ubyte", stored[part][1])
    return tmp_path, stored


def test_digits_are_scikit_learns():
    arrays = sources.load(DigitsConfig())
    assert (len(arrays.x_train), len(arrays.x_test)) == (1437, 360)
    assert arrays.x_train.dtype == torch.uint8
    assert (arrays.x_train.min(), arrays.x_train.max()) == (0, 255)
    ours = {(tuple(x.flatten().tolist()), int(y)) for x, y in zip(arrays.x_train, arrays.y_train, strict=True)}
    theirs = load_digits()
    pixels = (theirs.data * 255 / 16).round().astype(int)
    assert ours <= {(tuple(p), t) for p, t in zip(pixels.tolist(), theirs.target.tolist(), strict=True)}
    per_class = arrays.y_test.bincount()
    assert per_class.min() >= 34
    assert per_class.max() <= 37


def test_the_test_digits_are_the_same_for_every_split():
    assert torch.equal(sources.load(DigitsConfig(split_seed=5)).x_test, sources.load(DigitsConfig()).x_test)


def test_torchvision_files_are_read(fashion):
    root, stored = fashion
    arrays = sources.load(FashionMNISTConfig(root=str(root)))
    assert np.array_equal(arrays.x_train[:, 0], stored["train"][0])
    assert np.array_equal(arrays.y_test, stored["test"][1])
    assert arrays.classes[9] == "Ankle boot"


def test_present_files_are_not_downloaded_again(fashion, monkeypatch):
    monkeypatch.setattr(datasets.FashionMNIST, "download", lambda self: pytest.fail("downloaded"))
    sources.fetch(FashionMNISTConfig(root=str(fashion[0])))


def test_absent_files_are_downloaded(fashion, tmp_path, monkeypatch):
    there = tmp_path / "FashionMNIST"
    away = there.rename(tmp_path / "away")
    monkeypatch.setattr(datasets.FashionMNIST, "download", lambda self: away.rename(there))
    assert len(sources.load(FashionMNISTConfig(root=str(tmp_path))).x_train) == 30


def test_without_a_network_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    def offline(self):
        raise RuntimeError("Error downloading train-images")

    monkeypatch.setattr(datasets.MNIST, "download", offline)
    with pytest.raises(FileNotFoundError) as error:
        sources.fetch(MNISTConfig(root=str(tmp_path)))
    assert str(error.value) == (
        f"mnist is not under {tmp_path} and could not be downloaded (Error downloading train-images); "
        "put torchvision's files there, or set data.root."
    )


def test_downloads_can_be_forbidden(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "download", lambda self: pytest.fail("downloaded"))
    with pytest.raises(FileNotFoundError) as error:
        sources.load(MNISTConfig(root=str(tmp_path), download=False))
    assert str(error.value) == (
        f"mnist is not under {tmp_path} and data.download is false; set data.root, or data.download=true."
    )


def test_an_npz_stands_in_for_cifar(npz, tmp_path):
    npz().rename(tmp_path / "cifar10.npz")
    config = CIFAR10Config(root=str(tmp_path), download=False)
    sources.fetch(config)
    assert sources.load(config).x_train.shape == (30, 3, 6, 5)


def test_synthetic_images_can_be_learned_and_repeat():
    config = SyntheticConfig(n_train=100, n_val=20, n_test=50, size=8, classes=5, channels=1)
    one, two = sources.load(config), sources.load(config)
    assert torch.equal(one.x_train, two.x_train)
    assert one.x_train.shape == (120, 1, 8, 8)
    means = torch.stack([one.x_train[one.y_train == c].float().mean(0) for c in range(5)])
    nearest = (one.x_test.float()[:, None] - means).square().flatten(2).sum(2).argmin(1)
    assert (nearest == one.y_test).float().mean() > 0.9
