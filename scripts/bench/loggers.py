"""What the loggers cost: the time of steps of some 20 ms with metrics.csv and W&B (offline), beside those with neither.

Two trainers take turns, an epoch each, in a new order every round, so that whatever else the machine does meets both.
Both train the same, with the callbacks of the main job that have something to log; a step does as much arithmetic as
takes a processor 20 ms at the start. The median over the rounds of the ratio of their seconds decides: by the wall on a
quiet machine; the processor's, of this program with all its threads, are beside it, which other programs do not enter,
and W&B's own service does not either. What a run pays once, for W&B's start and end, is there too.

    python scripts/bench/loggers.py --threads 1      # goal: at most 0.03 more time
"""

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import arguments, spread, start
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightcycle.app import track
from lightcycle.app.csv_log import CSVLog
from lightcycle.callbacks import ParamScheduler, Recorder, StepSeed
from lightcycle.schedules import OneCycle

SIDE = 192  # of the matrices that a step multiplies
ARMS = ("no logger", "csv", "csv and W&B")


class Busy(LightningModule):
    """A net of one number, and so many products of matrices in each step."""

    def __init__(self, products: int) -> None:
        super().__init__()
        self.number, self.products = nn.Parameter(torch.zeros(1)), products

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        work(self.products)
        loss = (self.number - batch).square().sum()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def work(products: int) -> None:
    matrix = torch.eye(SIDE)
    for _ in range(products):
        matrix = matrix @ matrix


def products(seconds: float) -> int:
    """How many products take that long."""
    work(100)
    times = []
    for _ in range(10):
        began = time.process_time()
        work(100)
        times.append(time.process_time() - began)
    return max(1, round(100 * seconds / statistics.median(times)))


def clocks() -> dict[str, float]:
    """Seconds by the wall, and of this program on its processors."""
    return {"wall": time.perf_counter(), "processor": time.process_time()}


def timed(job: Callable[[], Any]) -> float:
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


class Epoch(Callback):
    """Seconds of each epoch, from its start to the end of all that is logged after it."""

    def __init__(self) -> None:
        self.seconds: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began = clocks()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for logger in trainer.loggers:
            logger.save()
        self.seconds.append({clock: end - self.began[clock] for clock, end in clocks().items()})


class Arm:
    """A trainer that goes on for an epoch at a time."""

    def __init__(self, name: str, folder: Path, steps: int, products: int) -> None:
        csv = [CSVLog(str(folder / name))] if "csv" in name else []
        self.module, self.batches = Busy(products), DataLoader([torch.ones(1)] * steps, batch_size=None)
        self.clock = Epoch()
        self.trainer = Trainer(
            accelerator="cpu",
            max_epochs=0,
            logger=[*csv, *([wandb(folder)] if "W&B" in name else [])],
            callbacks=[StepSeed(), ParamScheduler(OneCycle()), Recorder(), self.clock],
            log_every_n_steps=10,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    def go_on(self) -> dict[str, float]:
        self.trainer.fit_loop.max_epochs = self.trainer.current_epoch + 1
        self.trainer.fit(self.module, self.batches)
        return self.clock.seconds[-1]


def wandb(folder: Path) -> track.Tracker:
    return track.wandb_logger(str(folder), "bench", None, "bench", [], offline=True)


def once() -> float:
    """Seconds that a run pays for W&B whatever its length: from the import to the end of its run."""
    with tempfile.TemporaryDirectory() as folder:
        return timed(partial(_begin_and_end, Path(folder)))


def _begin_and_end(folder: Path) -> None:
    with track.closing():
        track.begin([wandb(folder)], {}, {})


def play(rounds: int, steps: int, milliseconds: float) -> list[dict[str, dict[str, float]]]:
    """Seconds of an epoch of each arm, for every round; the first round warms up and is not among them."""
    many, found = products(milliseconds / 1000), []
    with tempfile.TemporaryDirectory() as folder, track.closing():
        arms = {name: Arm(name, Path(folder), steps, many) for name in ARMS}
        for number in range(rounds + 1):
            order = random.Random(number).sample(ARMS, len(ARMS))
            found.append({name: arms[name].go_on() for name in order})
            print(f"  round {number} of {rounds}: {found[-1]}", flush=True)
    return found[1:]


def main() -> None:
    parser = arguments("what the loggers cost beside steps of 20 ms")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=500, help="of an epoch")
    parser.add_argument("--milliseconds", type=float, default=20.0, help="of a step")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.steps, args.milliseconds = 2, 20, 1.0
    os.environ.setdefault("WANDB_SILENT", "true")
    results = start(args, "loggers", {name: getattr(args, name) for name in ("rounds", "steps", "milliseconds")})
    paid = results.piece("W&B, once", once)
    rounds = results.piece("rounds", partial(play, args.rounds, args.steps, args.milliseconds))
    extra = {
        f"{name}, {clock}": [one[name][clock] / one["no logger"][clock] - 1 for one in rounds]
        for name in ARMS[1:]
        for clock in ("wall", "processor")
    }
    summary = {name: {**spread(values), "median": statistics.median(values)} for name, values in extra.items()}
    step = 1000 * statistics.median(one["no logger"]["processor"] for one in rounds) / args.steps
    goal = {"csv and W&B, wall": "<= 0.03"}
    rows = [
        (f"more time: {name}", s["median"], s["mean"], s["sd"], s["n"], goal.get(name)) for name, s in summary.items()
    ]
    rows += [("a step without, ms", step, None, None, len(rounds), ""), ("W&B, once, s", paid, None, None, 1, "")]
    results.close({**summary, "step_ms": step, "once": paid}, ("figure", "median", "mean", "sd", "n", "goal"), rows)


if __name__ == "__main__":
    main()
