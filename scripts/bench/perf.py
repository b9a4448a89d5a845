"""What memory order, bfloat16, kept memory and compilation bring on this machine: seconds of training steps.

A step is a forward and a backward pass and the optimizer's update on one batch in memory. The arms of a case take
turns, in a new order each time, so that whatever else runs on the machine meets all of them alike; on a CPU the seconds
are those of the process, behind a step that warms up. Medians of the turns; the ratio is to the first arm.

    python scripts/bench/perf.py --threads 1
    python scripts/bench/perf.py --threads 1 --compile     # minutes of compilation on a CPU
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from common import arguments, start
from torch import nn
from torch.nn.functional import cross_entropy

from lightcycle.app.memory import keep_freed
from lightcycle.models import ResNetConfig, SGDConfig, TorchvisionConfig
from lightcycle.models.depthwise import keep_single_precision

CASES = {
    "digits, resnet": (1, 8, 32, ResNetConfig()),
    "Fashion-MNIST, resnet": (1, 28, 128, ResNetConfig()),
    "photos 64 px, resnet of width 8": (3, 64, 32, ResNetConfig(width=8)),
    "photos 128 px, resnet of width 8": (3, 128, 32, ResNetConfig(width=8)),
    "photos 160 px, mobilenet_v2": (3, 160, 16, TorchvisionConfig(name="mobilenet_v2")),
    "photos 160 px, mobilenet_v2, batch 64": (3, 160, 64, TorchvisionConfig(name="mobilenet_v2")),
}
"""Channels, pixels, images in a batch, net."""


@dataclass(frozen=True)
class Arm:
    """What is done for speed; see ``lightcycle.app.perf``."""

    channels_last: bool = False
    bf16: bool = False
    depthwise: bool = False
    keep_memory: bool = False
    compiled: bool = False


ARMS = {
    "as torch has it": Arm(),
    "channels_last": Arm(channels_last=True),
    "bf16": Arm(bf16=True),
    "channels_last, bf16": (both := Arm(channels_last=True, bf16=True)),
    "channels_last, bf16, depthwise": (more := replace(both, depthwise=True)),
    "channels_last, bf16, depthwise, kept memory": replace(more, keep_memory=True),
    "channels_last, compiled": Arm(channels_last=True, compiled=True),
}


def step(case: tuple, arm: Arm, device: torch.device) -> Callable[[], None]:
    """A training step of one case in one arm, ready to be repeated."""
    channels, side, batch, config = case
    torch.manual_seed(0)
    net = config.build(channels=channels, size=(side, side), classes=10).to(device)
    if arm.channels_last:
        net.to(memory_format=torch.channels_last)
    if arm.depthwise:
        keep_single_precision(net)
    if arm.compiled:
        net.compile(dynamic=False)
    images, labels = torch.randn(batch, channels, side, side, device=device), torch.arange(batch, device=device) % 10
    optimizer = SGDConfig(lr=1e-4).build(net.parameters())
    return partial(_step, net, optimizer, images, labels, arm.bf16)


def _step(
    net: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor, bf16: bool
) -> None:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        loss = cross_entropy(net(images).float(), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def measure(args: argparse.Namespace, name: str) -> dict[str, float]:
    """Median seconds of a step in each arm."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    arms = {arm: step(CASES[name], how, device) for arm, how in ARMS.items() if args.compile or not how.compiled}
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    order, shuffle = list(arms), random.Random(0).shuffle
    for turn in range(args.turns + 1):
        shuffle(order)
        for arm in order:
            keep_freed(ARMS[arm].keep_memory)
            arms[arm]()  # so that each arm has the memory that it would have in a run
            spent = _seconds(arms[arm], device, args.steps)
            if turn:  # the first warms up
                seconds[arm].append(spent)
    return {arm: statistics.median(values) for arm, values in seconds.items()}


def _seconds(run: Callable[[], None], device: torch.device, steps: int) -> float:
    """Seconds of one of so many steps: of the process on a CPU, of the clock on a GPU."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    began = clock()
    for _ in range(steps):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (clock() - began) / steps


def main() -> None:
    parser = arguments("what memory order, bfloat16, kept memory and compilation bring")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="in a turn")
    parser.add_argument("--compile", action="store_true", help="the compiled arm too")
    args = parser.parse_args()
    cases = list(CASES)
    if args.quick:
        args.turns, args.steps, cases = 1, 1, cases[:1]
    results = start(args, "perf", {name: getattr(args, name) for name in ("turns", "steps", "compile")})
    found = {name: results.piece(name, partial(measure, args, name)) for name in cases}
    rows = [
        (name, arm, 1000 * seconds, CASES[name][2] / seconds, seconds / arms["as torch has it"])
        for name, arms in found.items()
        for arm, seconds in arms.items()
    ]
    summary = {name: {arm: s / arms["as torch has it"] for arm, s in arms.items()} for name, arms in found.items()}
    results.close(summary, ("case", "arm", "ms a step", "images/s", "time, ratio"), rows)


if __name__ == "__main__":
    main()
