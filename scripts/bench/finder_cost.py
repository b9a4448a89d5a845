"""What a range test costs: time against as many training steps of the same run, memory against weights and state.

Time: one run of the small ResNet on Fashion-MNIST-sized images; blocks of 100 training steps and range tests of 100
steps take turns, ten times each; the ratio is that of the medians. The ramp is kept below the explosion, so that no
test ends early. Memory: in a process of its own, what the highest resident memory grows by during a range test at the
start of a run, over the bytes of weights, buffers and optimizer state (a wide MLP, Adam, states already made).
"""

import json
import resource
import statistics
import subprocess
import sys
import time

import torch
from common import arguments, start
from lightning.pytorch import Callback, LightningModule, Trainer

from lightcycle.callbacks.range_test import range_test
from lightcycle.data.config import SyntheticConfig
from lightcycle.data.module import build
from lightcycle.finder.ramp import Ramp
from lightcycle.models.classifier import Classifier
from lightcycle.models.config import MLPConfig, ResNetConfig
from lightcycle.models.optimizer_config import AdamConfig, SGDConfig


class TakingTurns(Callback):
    """Times blocks of training steps and range tests of the same length, one after the other."""

    def __init__(self, block: int) -> None:
        self.ramp = Ramp(min_lr=1e-6, max_lr=1e-3, steps=block)
        self.block, self.began = block, 0.0
        self.training: list[float] = []
        self.testing: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        if batch_idx % self.block:
            return
        now = time.perf_counter()
        if batch_idx:
            self.training.append(now - self.began)
        losses = range_test(trainer, pl_module, self.ramp, seed=batch_idx)
        assert len(losses) == self.block
        self.began = time.perf_counter()
        self.testing.append(self.began - now)


class Memory(Callback):
    """The growth of the highest resident memory during a range test."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        if batch_idx != 3:  # Adam has its states by now, and training has had its highest memory
            return
        for parameter in pl_module.parameters():
            parameter.grad = None  # as at the start of a run; stale gradients would be kept beside the test's own
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        range_test(trainer, pl_module, Ramp(min_lr=1e-6, max_lr=1e-3, steps=10), seed=0)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        held = [*pl_module.parameters(), *pl_module.buffers()]
        held += [v for s in trainer.optimizers[0].state.values() for v in s.values() if isinstance(v, torch.Tensor)]
        print(json.dumps({"grown": grown, "held": sum(t.numel() * t.element_size() for t in held)}))


def fit(callback: Callback, net, optimizer, batches: int, batch_size: int) -> None:
    config = SyntheticConfig(size=28, channels=1, n_train=batches * batch_size, batch_size=batch_size)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )
    module = Classifier(net.build(channels=1, size=(28, 28), classes=10), optimizer.build)
    trainer.fit(module, datamodule=build(config))


def measure_time(quick: bool) -> dict[str, list[float]]:
    block, rounds = (10, 2) if quick else (100, 10)
    turns = TakingTurns(block)
    fit(turns, ResNetConfig(width=8), SGDConfig(lr=1e-3), block * rounds + 1, 32)
    return {"training": turns.training, "testing": turns.testing[1:]}  # the first warms up


def measure_memory() -> dict[str, int]:
    command = [sys.executable, __file__, "--memory-only"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--memory-only", action="store_true", help="the part that needs a process of its own")
    args = parser.parse_args()
    if args.memory_only:
        torch.set_num_threads(args.threads)
        fit(Memory(), MLPConfig(hidden=[4096, 4096]), AdamConfig(), 5, 32)
        return
    results = start(args, "finder_cost", {"net": "resnet width 8, batch 32, 28 px", "memory": "MLP 4096-4096, Adam"})
    times = results.piece("time", lambda: measure_time(args.quick))
    memory = results.piece("memory", measure_memory)
    ratio = statistics.median(times["testing"]) / statistics.median(times["training"])
    copies = memory["grown"] / memory["held"]
    rows = [
        ["time of a test / as many training steps", f"{ratio:.3f}", "<= 1.15", len(times["training"])],
        ["memory grown / weights and optimizer state", f"{copies:.3f}", "<= 1", 1],
    ]
    results.close({"time_ratio": ratio, "memory_copies": copies}, ["figure", "reached", "goal", "n"], rows)


if __name__ == "__main__":
    main()
