"""What snapshots cost: microseconds of a step without one, the stall of a step with one, the time of an ensemble.

    step        the callback's own time in a step that ends no cycle, called in a running fit
    stall       the step that takes a snapshot of 100 M parameters, beside one copy of them to host memory; and the
                longest step while the file is written, beside the same step without
    inference   M members of a small net, beside M passes of M such nets; arms take turns batch by batch

The time of the thread on its processor decides where torch has one thread, since other programs do not enter it; the
wall clock otherwise.

    python scripts/bench/snapshots_cost.py        # goals: < 2 us; about 1 copy; <= 1.05
"""

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from common import arguments, spread, start
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightcycle.callbacks import ParamScheduler, SnapshotEnsemble
from lightcycle.ensembling import Ensemble, host_copy
from lightcycle.models import ResNet
from lightcycle.schedules import SGDR

CALLS = 2000
GOALS = {"step, us": "< 2", "stall / one copy": "about 1", "ensemble on the device / M passes": "<= 1.05"}


class Heavy(LightningModule):
    """A step of fixed small work beside parameters that are only there to be kept."""

    def __init__(self, millions: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(1000, 1000)) for _ in range(millions))
        self.weights.requires_grad_(False)
        self.number = nn.Parameter(torch.zeros(()))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.number * (batch @ batch).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.number], lr=1e-3)


class Calls(Callback):
    """Calls the hooks of a snapshot callback, and those of an idle one, many times in one step, and times a call."""

    def __init__(self, snapshot: SnapshotEnsemble) -> None:
        self.snapshot, self.us = snapshot, []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == 3:
            for _ in range(9):
                ours, idle = (self._time(one, trainer, pl_module, batch) for one in (self.snapshot, Callback()))
                self.us.append(ours - idle)

    def _time(self, callback: Callback, trainer, pl_module, batch) -> float:
        began = time.thread_time()
        for _ in range(CALLS):
            callback.on_train_batch_start(trainer, pl_module, batch, 0)
            callback.on_train_batch_end(trainer, pl_module, None, batch, 0)
        return 1e6 * (time.thread_time() - began) / CALLS


class Stalls(SnapshotEnsemble):
    """Times each step that takes a snapshot, and each other one with and without a file being written."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder=folder)
        self.taking, self.beside, self.alone = [], [], []
        self.began = 0.0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        self.began = time.perf_counter()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        busy, count = self._writing is not None and not self._writing.done(), len(self.taken)
        (self.beside if busy else self.alone).append(time.perf_counter() - self.began)
        began = now()
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if len(self.taken) > count:
            self.taking.append(now() - began)


def now() -> float:
    """Seconds of this thread on its processor, or by the wall where several threads work."""
    return time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()


def fit(module: LightningModule, steps: int, callbacks: list[Callback]) -> None:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader([torch.ones(400, 400)] * steps, batch_size=None))


def step() -> dict[str, float]:
    """Microseconds of the callback's two hooks, without what Lightning takes to call any hook."""
    with tempfile.TemporaryDirectory() as folder:
        snapshot = SnapshotEnsemble(folder=folder)
        calls = Calls(snapshot)
        fit(Heavy(1), 8, [ParamScheduler(SGDR(cycles=1)), snapshot, calls])
    return {"step, us": statistics.median(calls.us)}


def stall(millions: int, steps: int) -> dict[str, float]:
    """The second of two snapshots in a run: it finds the memory as the first has left it, as most do."""
    module, copies = Heavy(millions), []
    with tempfile.TemporaryDirectory() as folder:
        timed = Stalls(Path(folder))
        fit(module, steps, [ParamScheduler(SGDR(cycles=2, cycle_len=None, cycle_mult=1)), timed])
    for _ in range(2):
        began = now()
        host_copy(module.state_dict())
        copies.append(now() - began)
    usual = statistics.median(timed.alone)
    found = {"stall, s": timed.taking[-1], "one copy, s": copies[-1], "stall / one copy": timed.taking[-1] / copies[-1]}
    if timed.beside:
        found["longest step while writing - usual step, s"] = max(timed.beside) - usual
    return found


def inference(members: int, width: int, batch: int, turns: int) -> dict[str, float]:
    """Medians over the turns of the ratio to M passes in the same turn."""
    nets = [ResNet(1, 10, width=width).eval() for _ in range(members)]
    states, images = [net.state_dict() for net in nets], torch.randn(batch, 1, 28, 28)
    frame = ResNet(1, 10, width=width).eval()
    arms = {
        "M passes": lambda: [net(images) for net in nets],
        "ensemble on the device": partial(Ensemble(frame, states), images),
        "ensemble in host memory": partial(Ensemble(frame, states, hold="host"), images),
        "vmap": partial(Ensemble(frame, states, hold="stacked"), images),
    }
    seconds = {name: [] for name in arms}
    with torch.no_grad():
        for turn in range(turns + 2):
            for name in list(arms)[turn % 4 :] + list(arms)[: turn % 4]:
                began = now()
                arms[name]()
                seconds[name].append(now() - began)
    base = seconds.pop("M passes")[2:]
    return {
        f"{name} / M passes": statistics.median(s / b for s, b in zip(took[2:], base, strict=True))
        for name, took in seconds.items()
    }


def main() -> None:
    parser = arguments("what snapshots cost")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--millions", type=int, default=100, help="parameters of the net that is kept")
    parser.add_argument("--steps", type=int, default=200, help="of the run that takes two snapshots of it")
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--width", type=int, default=8, help="of the small net")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--turns", type=int, default=20)
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.millions, args.steps, args.width, args.batch, args.turns = 2, 1, 8, 4, 8, 2
    names = ("millions", "steps", "members", "width", "batch", "turns")
    results = start(args, "snapshots_cost", {name: getattr(args, name) for name in names})

    def measure() -> dict[str, float]:
        return step() | stall(args.millions, args.steps) | inference(args.members, args.width, args.batch, args.turns)

    rounds = [results.piece(f"round {i}", measure) for i in range(args.rounds)]
    names = dict.fromkeys(name for one in rounds for name in one)
    summary = {name: spread([one[name] for one in rounds if name in one]) for name in names}
    rows = [(name, s["mean"], s["sd"], s["n"], GOALS.get(name)) for name, s in summary.items()]
    results.close(summary, ("figure", "mean", "sd", "n", "goal"), rows)


if __name__ == "__main__":
    main()
