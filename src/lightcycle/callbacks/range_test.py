"""The LR range test: a few training steps at rates that rise, inside the fit, as if they had never been.

Smith, Cyclical learning rates for training neural networks, arXiv:1506.01186, section 3.3.
"""

import math
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature

from lightcycle.callbacks.fresh_batches import fresh_batches, sequential, to_device
from lightcycle.callbacks.no_trace import no_trace
from lightcycle.callbacks.param_scheduler import base_lrs, set_lr
from lightcycle.finder.ramp import Explosion, Ramp


def range_test(trainer: Trainer, pl_module: LightningModule, ramp: Ramp, seed: int, sweep: int = 0) -> list[float]:
    """The mean loss met at each rate of the ramp, over all processes and all batches of an accumulation window.

    The rate is that of the fastest parameter group; the others keep their ratios to it. The list is shorter than the
    ramp where the loss exploded; its last value may be infinite or not a number. May be called from
    ``on_train_start``, ``on_train_epoch_start`` or ``on_train_batch_start``.

    Raises:
        ValueError: in a sentence, for set-ups that cannot be restored exactly, or data that cannot be doubled.
    """
    refuse(trainer, pl_module)
    losses, exploded = [], Explosion()
    skip = sweep * ramp.steps * trainer.accumulate_grad_batches
    with no_trace(trainer, pl_module), closing(fresh_batches(trainer, seed, skip)) as batches:
        for _, loss in _climb(trainer, pl_module, ramp.rates(), batches):
            losses.append(loss)
            if exploded(loss):
                break
    return losses


def accuracy_test(
    trainer: Trainer, pl_module: LightningModule, ramp: Ramp, seed: int, points: int = 50, batches: int = 16
) -> tuple[list[float], list[float]]:
    """Rates and validation accuracies along one triangular oscillation: Smith's own range test.

    Needs a module whose ``forward`` maps images to logits, batches of ``(images, labels)`` and validation data.
    """
    refuse(trainer, pl_module)
    rates = ramp.rates()
    every = max(len(rates) // points, 1)
    seen: list[tuple[float, float]] = []
    with no_trace(trainer, pl_module), closing(fresh_batches(trainer, seed)) as training:
        held_out = _held_out(trainer, batches)
        seen.append((rates[0], _accuracy(trainer, pl_module, held_out)))
        for index, (rate, loss) in enumerate(_climb(trainer, pl_module, rates, training)):
            if not math.isfinite(loss):
                break
            if index % every == every - 1:
                seen.append((rate, _accuracy(trainer, pl_module, held_out)))
    return [rate for rate, _ in seen], [accuracy for _, accuracy in seen]


def _climb(
    trainer: Trainer, pl_module: LightningModule, rates: list[float], batches: Iterator[Any]
) -> Iterator[tuple[float, float]]:
    """One optimizer step at each rate, the groups in their ratios; the rate and the loss met at it."""
    optimizer = trainer.optimizers[0]
    ratios = lr_ratios(optimizer)
    for index, rate in enumerate(rates):
        for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
            set_lr(group, rate * ratio)
        yield rate, _step(trainer, pl_module, batches, index)


def lr_ratios(optimizer: torch.optim.Optimizer) -> list[float]:
    """Each group's base rate over the largest: what a common rate is multiplied with."""
    bases = base_lrs(optimizer)
    return [base / max(bases) if max(bases) > 0 else 1.0 for base in bases]


def refuse(trainer: Trainer, pl_module: LightningModule) -> None:
    """Raises a sentence where a range test could not leave the run as it was."""
    name = type(pl_module).__name__
    if not pl_module.automatic_optimization:
        raise ValueError(
            f"the range test steps the optimizer itself, and {name} does so too (automatic_optimization=False); "
            "choose lr by hand for manual optimization"
        )
    strategy = trainer.strategy
    if not (isinstance(strategy, SingleDeviceStrategy) or type(strategy) is DDPStrategy):
        raise ValueError(
            f"the range test copies whole weights, and {type(strategy).__name__} may hold only a share of them; find "
            "the rate on one device or with strategy='ddp', then set lr"
        )
    if is_overridden("optimizer_step", pl_module):
        raise ValueError(
            f"{name} has an optimizer_step of its own, which the range test would pass over; schedule the rate with a "
            "ParamScheduler instead, or find the rate with a module that leaves the step to Lightning"
        )
    if is_param_in_hook_signature(pl_module.training_step, "dataloader_iter", explicit=True):
        raise ValueError(f"{name}.training_step takes the iterator itself (dataloader_iter); let it take a batch")


def _step(trainer: Trainer, pl_module: LightningModule, batches: Iterator[Any], index: int) -> float:
    """One optimizer step on a window of fresh batches; the mean loss over the window and over all processes."""
    strategy, optimizer, window = trainer.strategy, trainer.optimizers[0], trainer.accumulate_grad_batches
    losses = []

    def micro_batch(k: int) -> torch.Tensor | None:
        batch, batch_idx = next(batches), index * window + k
        pl_module.on_train_batch_start(batch, batch_idx)
        loss = _training_step(trainer, pl_module, batch, batch_idx)
        if loss is not None:
            losses.append(loss.detach())
            strategy.backward(loss / window, optimizer)
        return loss

    optimizer.zero_grad()
    for k in range(window - 1):
        micro_batch(k)
    strategy.optimizer_step(optimizer, lambda: micro_batch(window - 1), model=pl_module)
    if not losses:
        raise ValueError(f"{type(pl_module).__name__}.training_step returned no loss; the range test watches the loss")
    return float(strategy.reduce(torch.stack(losses).mean().float(), reduce_op="mean"))


def _training_step(trainer: Trainer, pl_module: LightningModule, batch: Any, index: int) -> torch.Tensor | None:
    wants_index = is_param_in_hook_signature(pl_module.training_step, "batch_idx", min_args=2)
    output = trainer.strategy.training_step(batch, index) if wants_index else trainer.strategy.training_step(batch)
    return output["loss"] if isinstance(output, dict) else output


def _held_out(trainer: Trainer, count: int) -> list[Any]:
    """A few validation batches from a loader of their own, on the device."""
    loaders = trainer.val_dataloaders
    running = loaders[0] if isinstance(loaders, list | tuple) and loaders else loaders
    batches = [] if not running else [to_device(trainer, b) for b in islice(sequential(running), count)]
    if not batches:
        raise ValueError(
            "the triangular range test measures accuracy on validation data, and there is none; "
            "give the trainer validation data, or use ramp='exponential', which watches the training loss"
        )
    if not all(isinstance(batch, list | tuple) and len(batch) == 2 for batch in batches):
        raise ValueError(
            "the triangular range test needs validation batches of (images, labels), and a forward() that maps images "
            "to logits; use ramp='exponential' for other batches"
        )
    return batches


@torch.no_grad()
def _accuracy(trainer: Trainer, pl_module: LightningModule, batches: list[Any]) -> float:
    modes = [(part, part.training) for part in pl_module.modules()]
    pl_module.eval()
    try:
        with trainer.precision_plugin.val_step_context():
            hits = torch.cat([(pl_module(images).argmax(1) == labels).float() for images, labels in batches])
    finally:
        for part, mode in modes:
            part.training = mode
    return float(trainer.strategy.reduce(hits.mean(), reduce_op="mean"))
