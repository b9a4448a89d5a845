"""The randomness of a step depends on the time alone: not on what happened before it."""

import random

import numpy
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from lightcycle.callbacks import ParamScheduler, StepSeed
from lightcycle.callbacks.randomness import step_key
from lightcycle.data.config import SyntheticConfig
from lightcycle.data.module import build
from lightcycle.models import AdamWConfig, MLPConfig
from lightcycle.models.classifier import Classifier
from lightcycle.schedules import SGDR
from toys import Toy, quiet_trainer, toy_loader


class Draws(Callback):
    """Writes down what each generator gives at every step, after drawing a lot in between."""

    def __init__(self, noise: int = 0) -> None:
        self.seen: list[tuple[float, float, float]] = []
        self.noise = noise

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append((torch.rand(1).item(), float(numpy.random.rand()), random.random()))
        torch.rand(self.noise)


def draws(seed, noise=0, **options):
    watcher = Draws(noise)
    quiet_trainer(max_epochs=2, callbacks=[StepSeed(seed), watcher], **options).fit(Toy(), toy_loader())
    return watcher.seen


def test_every_step_has_its_own_numbers_and_they_come_back():
    seen = draws(0)
    assert len(seen) == 10
    assert all(len(set(column)) == 10 for column in zip(*seen, strict=True))
    assert draws(0, noise=7) == seen  # what else was drawn does not matter
    assert draws(1) != seen


def test_accumulated_batches_differ():
    assert len(set(draws(0, accumulate_grad_batches=5))) == 10


def test_keys_are_32_bits_and_spread():
    keys = {step_key(seed, epoch, batch, 0) for seed in range(10) for epoch in range(10) for batch in range(10)}
    assert len(keys) == 1000
    assert all(0 <= key < 2**32 for key in keys)
    assert step_key(1, 23) != step_key(12, 3)


def fit(folder=None, ckpt=None, seeded=True):
    """A net with dropout, on data that is augmented at random."""
    config = SyntheticConfig(n_train=26, n_val=6, n_test=6, size=6, batch_size=6, crop=1, flip=True, erase=0.5)
    torch.manual_seed(0 if ckpt is None else 99)
    net = MLPConfig(hidden=[16], dropout=0.5).build(channels=3, size=(6, 6), classes=10)
    module = Classifier(net, AdamWConfig().build)
    saver = [ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)] if folder else []
    callbacks = [*([StepSeed(3)] if seeded else []), ParamScheduler(SGDR(cycles=2)), *saver]
    trainer = quiet_trainer(max_epochs=3, callbacks=callbacks, enable_checkpointing=bool(saver))
    trainer.fit(module, datamodule=build(config, seed=3), ckpt_path=ckpt, weights_only=True)
    return module.state_dict()


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_with_dropout_resumed_mid_epoch_is_the_straight_run(tmp_path):
    straight = fit(tmp_path)
    for step in range(1, 12):
        assert equal(fit(ckpt=tmp_path / f"step={step}.ckpt"), straight), f"resumed at {step}"


def test_without_it_the_masks_would_differ(tmp_path):
    straight = fit(tmp_path, seeded=False)
    assert not equal(fit(ckpt=tmp_path / "step=6.ckpt", seeded=False), straight)
