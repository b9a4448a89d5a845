"""``callbacks.progressive_resizing`` on the command line: checked, planned, drawn, and held against the net."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from lightcycle.app import perf
from lightcycle.app.layers import plain
from lightcycle.data.count import Counts, count, pair
from lightcycle.schedules import BoundResizing, Horizon, Resizing
from lightcycle.schedules.sizes import KEY, Size

if TYPE_CHECKING:  # torch takes seconds to import
    from lightning.pytorch import Trainer
    from torch import nn

    from lightcycle.app.settings import Settings


def schedule(config: DictConfig) -> Resizing | None:
    """The plan of ``callbacks.progressive_resizing``, checked; ``None`` where there is no such callback."""
    for entry in config.callbacks.values():
        if entry and str(entry.get("_target_")).endswith(".ProgressiveResizing"):
            given = plain(entry)
            return Resizing(**{f.name: given[f.name] for f in fields(Resizing) if f.name in given})
    return None


def check(config: DictConfig, overfit_batches: float) -> None:
    """Refuses what is out of range or does not go together; raises ValueError."""
    if schedule(config) is not None and overfit_batches:
        raise ValueError(
            f"{KEY} changes the batches, and trainer.overfit_batches={overfit_batches} keeps them; drop one"
        )


def bound(settings: Settings, counts: Counts) -> BoundResizing | None:
    """The sizes over the epochs of the run; ``None`` where they do not change."""
    plan = schedule(settings.config)
    return None if plan is None else plan.bind(math.ceil(settings.epochs), tuple(counts.size))


def batch_sizes(settings: Settings, counts: Counts) -> list[int]:
    """Images in a training batch of each epoch."""
    usual, plan, trainer = settings.data.batch_size, bound(settings, counts), settings.trainer
    epochs = range(math.ceil(settings.epochs))
    if plan is None:
        return [usual for _ in epochs]
    processes = trainer.num_nodes * (trainer.devices if isinstance(trainer.devices, int) and trainer.devices > 0 else 1)
    return [plan.batch_size(epoch, usual, processes) for epoch in epochs]


def horizon(settings: Settings, counts: Counts, steps_in: Callable[[int], int]) -> Horizon:
    """The optimizer steps of the run: a sum over its epochs, since their batches may differ in size.

    Args:
        steps_in: optimizer steps of an epoch in batches of so many images.
    """
    lengths = [steps_in(size) for size in batch_sizes(settings, counts)]
    whole = math.floor(settings.epochs)
    total = round(sum(lengths[:whole]) + (settings.epochs - whole) * lengths[-1]) or 1
    if settings.trainer.max_steps >= 0:
        total = min(total, settings.trainer.max_steps)
    reached = next(n for n in range(1, len(lengths) + 1) if sum(lengths[:n]) >= total)
    return Horizon(total, tuple(lengths[:reached]))


def images(settings: Settings, counts: Counts, run: Horizon, steps: int, first: int = 0) -> int:
    """Training images in the steps from ``first`` to ``steps``; a smaller last batch counts as a whole one."""
    window = settings.trainer.accumulate_grad_batches
    seen = 0
    for size, start, length in zip(batch_sizes(settings, counts), run.starts, run.lengths, strict=False):
        seen += max(min(steps, start + length) - max(first, start), 0) * window * min(size, counts.train)
    return seen


def pixels(settings: Settings, run: Horizon) -> list[tuple[int, float]]:
    """The side of the training images, from which step on; empty where it does not change. Of a rectangle the mean."""
    if schedule(settings.config) is None:
        return []
    plan = bound(settings, count(settings.data))
    reached = [(epoch, size) for epoch, size in plan.points if epoch < len(run.lengths)]
    return [(run.starts[epoch], round(math.sqrt(math.prod(size)), 1)) for epoch, size in reached]


def figures(trainer: Trainer) -> dict[str, Any]:
    """What summary.json says of the sizes; nothing where they did not change."""
    from lightcycle.callbacks import ProgressiveResizing

    for callback in trainer.callbacks:
        if isinstance(callback, ProgressiveResizing):
            sizes = [{"epoch": callback.first_epoch + e, "size": list(size)} for e, size in callback.plan.points]
            return {"sizes": sizes, "resized": callback.where}
    return {}


def check_net(settings: Settings, net: nn.Module, counts: Counts) -> None:
    """Refuses sizes that the net cannot take, and says the smallest that it can; nothing is computed for it.

    Raises:
        ValueError: in a sentence.
    """
    plan, evaluated = bound(settings, counts), pair(settings.data.eval_size)
    asked = [(KEY, size) for size in (plan.sizes if plan else ())]
    asked += [("data.eval_size", evaluated)] if evaluated else []
    if not asked:
        return
    shapes = _shapes_only(net)
    wrong = [(key, size) for key, size in asked if not takes(shapes, counts.channels, size)]
    if not wrong or not takes(shapes, counts.channels, tuple(counts.size)):
        return  # a net that cannot even be asked for the size it was built for is not judged
    key, (height, width) = wrong[0]
    larger = range(max(height, width) + 1, max(counts.size) + 1)
    least = next((side for side in larger if takes(shapes, counts.channels, (side, side))), None)
    said = f"the smallest square it takes is {least}" if least else f"it takes {counts.size[0]}x{counts.size[1]} only"
    fix = "start there" if key == KEY else "null is data.size"
    raise ValueError(
        f"{key} has images of {height}x{width} px, and {type(net).__name__} cannot take them: {said}; {fix}, or take "
        "another net"
    )


def beyond(settings: Settings, counts: Counts) -> list[str]:
    """What to say of sizes larger than those of the images that judge the net."""
    plan, judged = bound(settings, counts), pair(settings.data.eval_size) or tuple(counts.size)
    if plan is None or all(side <= limit for side, limit in zip(plan.sizes[-1], judged, strict=True)):
        return []
    (height, width), (high, wide) = plan.sizes[-1], judged
    return [
        f"{KEY} ends at {height}x{width} px, and the net is validated and tested at {high}x{wide}; end there, or set "
        f"data.eval_size=[{height},{width}]"
    ]


def check_graphs(settings: Settings, counts: Counts) -> None:
    """Refuses to compile for more sizes than torch does, which would go on uncompiled.

    Raises:
        ValueError: in a sentence.
    """
    plan = bound(settings, counts)
    if plan is None or not settings.perf.compile:
        return
    needed = len(plan.sizes) * (1 if settings.data.drop_last else 2) + 1  # a smaller last batch; and one to evaluate
    if needed > perf.most_graphs():
        raise ValueError(
            f"perf.compile=true compiles a graph for each shape of a batch, and {KEY} has {len(plan.sizes)} sizes, "
            f"which take {needed} graphs where torch stops at {perf.most_graphs()}; give fewer, as in "
            "sizes=[64,96,128], or take perf=default"
        )


def takes(net: nn.Module, channels: int, size: Size) -> bool:
    """Whether the net's forward pass goes through for images of a size.

    >>> from torch import nn
    >>> pools = nn.Sequential(nn.MaxPool2d(4), nn.MaxPool2d(4))
    >>> takes(pools, 3, (16, 16)), takes(pools, 3, (15, 16))
    (True, False)
    """
    import torch

    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad():
            net(torch.zeros(2, channels, *size, device=device))
    except (RuntimeError, ValueError, AssertionError):
        return False
    return True


def _shapes_only(net: nn.Module) -> nn.Module:
    """A copy without numbers: running it takes no time and no memory."""
    return copy.deepcopy(net).to("meta").eval()
