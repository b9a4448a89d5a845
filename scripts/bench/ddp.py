"""What a second process brings on CPUs: images per second of two processes with a thread each, beside one with two.

Each measurement is a program of its own: the small ResNet on made-up images in memory, through Lightning's Trainer, one
process or DDP over gloo, with the same global batch; the clock runs from the end of a warm-up to the last step. The two
take turns. The median over the rounds of the ratio decides.

    python scripts/bench/ddp.py      # goal: at least 0.9
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from common import arguments, spread, start
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything

from lightcycle.app import quiet
from lightcycle.data.config import SyntheticConfig
from lightcycle.data.module import build
from lightcycle.models import ResNetConfig, SGDConfig
from lightcycle.models.classifier import Classifier

ARMS = {"1 process, 2 threads": (1, 2), "2 processes, 1 thread": (2, 1)}
RATIO = "2 processes / 1 process"
SKIP = 5  # steps before the clock starts


class Clock(Callback):
    """Seconds from the end of the warm-up to the end of the fit."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs, batch, batch_idx) -> None:
        self.ended = time.perf_counter()
        if trainer.global_step == SKIP:
            self.began = self.ended


def fit(devices: int, steps: int, batch: int, size: int, path: Path) -> None:
    """One arm, in this process and those that Lightning starts; the first writes images per second."""
    quiet.silence()
    seed_everything(0, verbose=False)
    config = SyntheticConfig(size=size, batch_size=batch, n_train=batch * (steps + SKIP), n_val=2, n_test=2)
    module = Classifier(ResNetConfig().build(channels=3, size=(size, size), classes=10), SGDConfig(lr=0.01).build)
    clock = Clock()
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_epochs=1,
        limit_val_batches=0,
        callbacks=[clock],
        logger=False,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=build(config, 0, None))
    if trainer.is_global_zero:
        path.write_text(json.dumps(steps * batch / (clock.ended - clock.began)))


def measure(arm: str, args: argparse.Namespace) -> float:
    """Images per second of one arm, as a program of its own."""
    threads = ARMS[arm][1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images"
        options = ["--arm", arm, "--steps", args.steps, "--batch", args.batch, "--size", args.size, "--to", path]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        subprocess.run([sys.executable, __file__, *map(str, options)], env=environment, check=True)
        return json.loads(path.read_text())


def play(number: int, args: argparse.Namespace) -> dict[str, float]:
    order = list(ARMS) if number % 2 else list(ARMS)[::-1]
    return {arm: measure(arm, args) for arm in order}


def main() -> None:
    parser = arguments("images per second of two processes and of one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=128, help="global")
    parser.add_argument("--size", type=int, default=16, help="pixels of a side")
    parser.add_argument("--arm", choices=list(ARMS), help="only this one, in this process")
    parser.add_argument("--to", type=Path, help="where an arm writes its images per second")
    args = parser.parse_args()
    if args.arm:
        fit(ARMS[args.arm][0], args.steps, args.batch, args.size, args.to)
        return
    if args.quick:
        args.rounds, args.steps, args.batch, args.size = 2, 2, 8, 8
    results = start(args, "ddp", {name: getattr(args, name) for name in ("rounds", "steps", "batch", "size")})
    rounds = [results.piece(f"round {i}", partial(play, i, args)) for i in range(args.rounds)]
    one, two = ARMS
    columns = {**{arm: [each[arm] for each in rounds] for arm in ARMS}, RATIO: [r[two] / r[one] for r in rounds]}
    summary = {name: {**spread(values), "median": statistics.median(values)} for name, values in columns.items()}
    rows = [
        (name if name == RATIO else f"{name}, images/s", s["median"], s["mean"], s["sd"], s["n"], goal)
        for (name, s), goal in zip(summary.items(), ("", "", ">= 0.9"), strict=True)
    ]
    results.close(summary, ("figure", "median", "mean", "sd", "n", "goal"), rows)


if __name__ == "__main__":
    main()
