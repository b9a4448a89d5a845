"""A run resumed anywhere is the straight run, bit for bit, through a real Trainer."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn

from lightcycle.data.config import ImageFolderConfig, SyntheticConfig
from lightcycle.data.module import build
from lightcycle.data.order import key
from toys import quiet_trainer

# Python 3.12 on: torch forks its workers beside threads of its own
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Watcher(LightningModule):
    """A linear classifier whose weights and ``seen`` tell exactly which batches it got."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(features, classes))
        self.seen: list[tuple[int, int]] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        self.seen.append((self.global_step, key(*x.flatten().tolist(), *y.tolist())))
        return nn.functional.cross_entropy(self.net(x), y)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val/loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


class SaveAtEnds(Callback):
    """Saves where ModelCheckpoint's step trigger does not: at the end of each epoch and of each validation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.folder / f"epoch-{trainer.global_step}.ckpt", weights_only=False)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            trainer.save_checkpoint(self.folder / f"validation-{trainer.global_step}.ckpt", weights_only=False)


def fit(
    data: LightningDataModule, ckpt: Path | None = None, callbacks: tuple[Callback, ...] = (), **options
) -> Watcher:
    height, width = data.size
    module = Watcher(data.channels * height * width, data.num_classes)
    saves = any(isinstance(c, ModelCheckpoint) for c in callbacks)
    trainer = quiet_trainer(enable_checkpointing=saves, callbacks=list(callbacks), **options)
    trainer.fit(module, datamodule=data, ckpt_path=ckpt, weights_only=True)
    return module


def check_resume(make: Callable[[], LightningDataModule], folder: Path, every: int = 1, **options) -> int:
    """Resume at every step, validation and epoch end; batches and weights must be those of the straight run."""
    saver = ModelCheckpoint(folder, "step-{step}", every_n_train_steps=every, save_top_k=-1)
    straight = fit(make(), callbacks=(saver, SaveAtEnds(folder)), **options)
    checkpoints = sorted(folder.glob("*.ckpt"))
    for ckpt in checkpoints:
        resumed = fit(make(), ckpt, **options)
        step = torch.load(ckpt, weights_only=True)["global_step"]
        assert resumed.seen == straight.seen[step:], ckpt.name
        for a, b in zip(resumed.parameters(), straight.parameters(), strict=True):
            assert torch.equal(a, b), ckpt.name
    assert len({digest for _, digest in straight.seen}) == len(straight.seen)  # else equality would prove little
    return len(checkpoints)


def synthetic(**options):
    config = SyntheticConfig(
        n_train=26, n_val=6, n_test=6, size=6, classes=3, batch_size=6, crop=1, flip=True, erase=0.5, **options
    )
    return lambda: build(config, seed=3)


@pytest.mark.parametrize(
    "options",
    [
        {"max_epochs": 3},
        {"max_epochs": 3, "limit_val_batches": 0},
        {"max_epochs": 2, "val_check_interval": 2},
        {"max_epochs": 3, "check_val_every_n_epoch": 2},
        {"max_epochs": 3, "limit_train_batches": 3},
        {"max_steps": 10},
        {"max_epochs": 2, "num_sanity_val_steps": 1},
    ],
    ids=str,
)
def test_memory(options, tmp_path):
    assert check_resume(synthetic(), tmp_path, **options) >= 8


def test_memory_with_a_smaller_last_batch(tmp_path):
    assert check_resume(synthetic(drop_last=False), tmp_path, max_epochs=2) == 14


@pytest.mark.parametrize(("num_workers", "every"), [(0, 1), (2, 2)])
def test_folder(folder, tmp_path, num_workers, every):
    root = folder({"train/a": 7, "train/b": 7, "val/a": 2, "val/b": 2})
    config = ImageFolderConfig(root=str(root), size=12, batch_size=4, erase=0.5, num_workers=num_workers)
    saved = tmp_path / "checkpoints"
    saved.mkdir()
    assert check_resume(lambda: build(config, seed=3), saved, every, max_epochs=3) >= 6


def test_workers_change_nothing(folder):
    root = folder({"train/a": 7, "train/b": 7, "val/a": 2, "val/b": 2})

    def seen(num_workers):
        config = ImageFolderConfig(root=str(root), size=12, batch_size=4, erase=0.5, num_workers=num_workers)
        return fit(build(config), max_epochs=2).seen

    assert seen(0) == seen(2)


def test_a_second_fit_goes_on_with_the_epochs(tmp_path):
    data = synthetic()()
    straight = fit(synthetic()(), max_epochs=4)
    module = type(straight)(3 * 36, 3)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(module, datamodule=data)
    trainer.fit_loop.max_epochs = 4
    trainer.fit(module, datamodule=data)
    assert module.seen == straight.seen


def test_overfitting_repeats_its_batches_unchanged():
    seen = fit(synthetic()(), max_epochs=3, overfit_batches=2).seen
    digests = [digest for _, digest in seen]
    assert digests == digests[:2] * 3
    assert digests[0] != digests[1]
