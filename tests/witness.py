"""A run that writes down everything it does, so that two of them can be held against each other."""

import random

import numpy
import torch
import torchmetrics
from lightning.pytorch import Callback
from lightning.pytorch.loggers.logger import Logger
from torch import nn

from lightcycle.callbacks import ParamScheduler
from lightcycle.schedules import SGDR
from toys import Toy, quiet_trainer, toy_loader


class Careful(Toy):
    """Everything that a range test could leave dirty: metrics, counters, an unsaved buffer, other randomness."""

    def __init__(self, **options):
        super().__init__(**options)
        self.accuracy = torchmetrics.MeanMetric()
        self.calls = 0
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def training_step(self, batch, batch_idx):
        self.calls += 1
        self.seen += 1
        logits = self(batch[0] + 0.01 * numpy.random.randn() + 0.01 * random.random())
        loss = nn.functional.cross_entropy(logits, batch[1])
        self.accuracy.update((logits.argmax(1) == batch[1]).float())
        self.log("train/acc", self.accuracy, on_step=False, on_epoch=True)
        self.log("train/loss", loss)
        return loss

    def on_before_optimizer_step(self, optimizer):
        pass


class Witness(Callback):
    """Writes down every batch, every random state and every loss."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        randomness = torch.get_rng_state().sum().item(), numpy.random.get_state()[1].sum(), random.getstate()[1][-1]
        self.seen.append((trainer.global_step, batch[0].sum().item(), outputs["loss"].item(), randomness))


class Memory(Logger):
    """A logger that keeps what it is given."""

    def __init__(self):
        super().__init__()
        self.lines = []

    name, version = "memory", 0

    def log_metrics(self, metrics, step=None):
        self.lines.append((step, dict(metrics)))

    def log_hyperparams(self, *args, **kwargs):
        pass


def run(*callbacks, module=None, loader=None, ckpt=None, seed=0, **options):
    """Everything that a run leaves behind, in plain values."""
    torch.manual_seed(seed), numpy.random.seed(seed), random.seed(seed)
    module, witness, memory = module or Careful(groups=2), Witness(), Memory()
    trainer = quiet_trainer(
        callbacks=[*callbacks, ParamScheduler(SGDR(cycles=2)), witness],
        **{"max_epochs": 3, "logger": memory, "log_every_n_steps": 1, **options},
    )
    trainer.fit(module, loader or toy_loader(shuffle=True), toy_loader(), ckpt_path=ckpt, weights_only=True)
    optimizer = trainer.optimizers[0]
    return {
        "weights": [p.tolist() for p in module.parameters()],
        "buffers": {name: b.tolist() for name, b in module.named_buffers()},
        "state": [{k: torch.as_tensor(v).tolist() for k, v in optimizer.state[p].items()} for p in module.parameters()],
        "groups": [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups],
        "scaler": trainer.precision_plugin.state_dict(),
        "seen": witness.seen,
        "metrics": {k: v.item() for k, v in trainer.callback_metrics.items()},
        "log": memory.lines,
        "calls": (module.calls, module.training),
    }


def same(with_test, without):
    for key, value in without.items():
        assert with_test[key] == value, key
