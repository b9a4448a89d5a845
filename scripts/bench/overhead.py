"""Microseconds that a callback adds to an optimizer step, beside torch's OneCycleLR stepped by Lightning.

The net is a handful of numbers, so that a step is nearly all Lightning. The arms take turns of a few steps, each in a
thread of its own, so that whatever else the machine does meets all of them alike; a step's cost is its difference to
the bare loop's in the same turn. Medians over the steps of a round are reported as a median over rounds. The time of
the thread on its processor decides, since other programs do not enter it; the wall clock is beside it.

    python scripts/bench/overhead.py      # goals: ParamScheduler / OneCycleLR <= 1, ParamScheduler <= 15 us
"""

import random
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Semaphore

import torch
from common import arguments, start
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader

from lightcycle.callbacks import ParamScheduler, Recorder, StepSeed
from lightcycle.schedules import OneCycle

TURN = 10  # steps that an arm takes before the next one's turn
SKIP = 50  # batches before the clock starts
GROUPS = (1, 10)
ARMS = ("bare", "OneCycleLR", "ParamScheduler", "StepSeed", "Recorder", "idle callback")
CLOCKS = ("processor", "wall")
RATIO = "ParamScheduler / OneCycleLR"
GOALS = {f"{RATIO}, 1": "<= 1", f"{RATIO}, 10": "<= 1", "ParamScheduler, 1": "<= 15"}
CALLBACKS = {
    "ParamScheduler": lambda: ParamScheduler(OneCycle()),
    "StepSeed": StepSeed,
    "Recorder": Recorder,
    "idle callback": Callback,  # what Lightning asks for any callback, whatever it does
}


class Numbers(LightningModule):
    """Ten numbers in one or ten parameter groups; OneCycleLR on top if asked for."""

    def __init__(self, groups: int, total_steps: int | None) -> None:
        super().__init__()
        self.numbers = nn.ParameterList(nn.Parameter(torch.zeros(1)) for _ in range(max(GROUPS)))
        self.groups, self.total_steps = groups, total_steps

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (torch.cat(list(self.numbers)) * batch).sum()

    def configure_optimizers(self):
        numbers = list(self.numbers)
        groups = [{"params": numbers[i :: self.groups]} for i in range(self.groups)]
        optimizer = torch.optim.SGD(groups, lr=1e-3, momentum=0.9)
        if self.total_steps is None:
            return optimizer
        scheduler = OneCycleLR(optimizer, max_lr=1e-3, total_steps=self.total_steps, final_div_factor=4e3)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Turns(Callback):
    """Lets the arms of a ring step one after the other, and notes the microseconds of each step.

    A step lasts from one ``on_train_batch_start`` to the next; while the others have their turn, no clock runs.
    """

    def __init__(self, ring: list["Turns"]) -> None:
        ring.append(self)
        self.ring, self.place = ring, len(ring)
        self.mine, self.ready = Semaphore(0), Semaphore(0)
        self.steps: list[list[float]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if batch_idx == 0:
            self.ready.release()
        else:
            self.steps.append([1e6 * (end - begin) for begin, end in zip(self.began, clocks(), strict=True)])
        if batch_idx % TURN == 0:
            if batch_idx > 0:
                self._pass_on()
            if not self.mine.acquire(timeout=60):
                raise RuntimeError("another arm has stopped; its error is above")
        self.began = clocks()

    def on_train_end(self, trainer, pl_module) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        self.ring[self.place % len(self.ring)].mine.release()


def clocks() -> tuple[float, float]:
    """Seconds of this thread on its processor, and by the wall."""
    return time.thread_time(), time.perf_counter()


def fit(arm: str, groups: int, batches: DataLoader, turns: Turns) -> None:
    """Trains one arm for an epoch."""
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[turns, *([CALLBACKS[arm]()] if arm in CALLBACKS else [])],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Numbers(groups, len(batches) if arm == "OneCycleLR" else None), batches)


def take_turns(arms: Sequence[str], groups: int, steps: int) -> dict[str, dict[str, float]]:
    """What each arm adds to a step of the bare loop; of the bare loop, all of it. Medians over the steps."""
    batches = DataLoader([torch.ones(1)] * (SKIP + steps + 1), batch_size=None)
    ring: list[Turns] = []
    with ThreadPoolExecutor(len(arms)) as pool:
        jobs = []
        for arm in arms:
            jobs.append(pool.submit(fit, arm, groups, batches, Turns(ring)))
            ring[-1].ready.acquire(timeout=60)
        ring[0].mine.release()
        for job in jobs:
            job.result()
    times = {arm: torch.tensor(turns.steps[SKIP:]) for arm, turns in zip(arms, ring, strict=True)}
    extra = {arm: us if arm == "bare" else us - times["bare"] for arm, us in times.items()}
    return {
        f"{arm}, {groups}": dict(zip(CLOCKS, us.median(0).values.tolist(), strict=True)) for arm, us in extra.items()
    }


def play_round(number: int, steps: int) -> dict[str, dict[str, float]]:
    """Every arm once, in an order of the round's own: who comes before whom leaves traces in the caches."""
    order = random.Random(number).sample(ARMS, len(ARMS))
    return {key: us for groups in GROUPS for key, us in take_turns(order, groups, steps).items()}


def summarize(rounds: list[dict]) -> tuple[dict, tuple, list[tuple]]:
    """The summary for the JSON, and the head and the rows of the table."""
    found = {}
    for groups in GROUPS:
        costs = {arm: cost(rounds, f"{arm}, {groups}") for arm in ARMS}
        ratio = {clock: costs["ParamScheduler"][clock] / costs["OneCycleLR"][clock] for clock in CLOCKS}
        found |= {f"{arm}, {groups}": us for arm, us in {**costs, RATIO: ratio}.items()}
    names = [f"{clock}{sd}" for clock in CLOCKS for sd in ("", " sd")]
    rows = [(key, *(us.get(name) for name in names), len(rounds), GOALS.get(key)) for key, us in found.items()]
    return found, ("us per step, groups", *names, "n", "goal"), rows


def cost(rounds: list[dict], key: str) -> dict[str, float]:
    """Median over the rounds and its spread, by each clock."""
    found = {}
    for clock in CLOCKS:
        us = [one[key][clock] for one in rounds]
        found |= {clock: statistics.median(us), f"{clock} sd": statistics.stdev(us)}
    return found


def main() -> None:
    parser = arguments("microseconds per optimizer step")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=500, help="timed in each arm of a round")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.steps = 2, 20
    results = start(args, "overhead", {"steps": args.steps})
    rounds = [results.piece(f"round {i}", partial(play_round, i, args.steps)) for i in range(args.rounds)]
    results.close(*summarize(rounds))


if __name__ == "__main__":
    main()
