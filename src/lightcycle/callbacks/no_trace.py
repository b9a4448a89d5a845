"""``no_trace``: whatever happens inside leaves the run as it was, bit for bit."""

import copy
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from torch import nn
from torch.optim import Optimizer
from torchmetrics import Metric


@contextmanager
def no_trace(trainer: Trainer, pl_module: LightningModule) -> Iterator[None]:
    """Undoes all that training steps inside it do, also when they raise or are interrupted.

    Kept: weights, every buffer, gradients, optimizer state and groups, the gradient scaler, random states (torch, CUDA,
    numpy, Python), torchmetrics, and numbers and strings held by the module and its parts. Other callbacks and the
    loggers see nothing. Not kept: lists, files and objects of the user's own that ``training_step`` changes.

    Costs one more copy of the weights and of the optimizer state.
    """
    optimizer = trainer.optimizers[0]
    with ExitStack() as kept:
        for keeper in (
            _random_states(),
            _tensors(pl_module),
            _gradients(pl_module),
            _optimizer(optimizer),
            _attributes(pl_module),
            _metrics(pl_module),
            _scaler(trainer.precision_plugin),
            _deaf(trainer, pl_module),
        ):
            kept.enter_context(keeper)
        yield


@contextmanager
def _random_states() -> Iterator[None]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    states = torch.get_rng_state(), numpy.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        numpy.random.set_state(states[1])
        random.setstate(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def _tensors(module: nn.Module) -> Iterator[None]:
    """Weights and buffers, the non-persistent ones too, written back in place: others may hold on to them."""
    tensors = [*module.parameters(), *module.buffers()]
    saved = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, saved, strict=True):
                tensor.copy_(value)


@contextmanager
def _gradients(module: nn.Module) -> Iterator[None]:
    """The gradients themselves are put aside, so that nothing is copied and nothing is added to them."""
    parameters = list(module.parameters())
    saved = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in zip(parameters, saved, strict=True):
            parameter.grad = gradient


@contextmanager
def _optimizer(optimizer: Optimizer) -> Iterator[None]:
    """State and groups. Not through ``load_state_dict``, which casts the state to the type of the parameters."""
    groups = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    groups, state = copy.deepcopy(groups), {owner: copy.deepcopy(kept) for owner, kept in optimizer.state.items()}
    rates = [group["lr"] for group in optimizer.param_groups]
    try:
        yield
    finally:
        optimizer.state.clear()
        optimizer.state.update(state)
        for group, saved, rate in zip(optimizer.param_groups, groups, rates, strict=True):
            group.update(saved)
            if isinstance(rate, torch.Tensor):  # a compiled step holds on to the very tensor
                group["lr"] = rate.fill_(saved["lr"])


@contextmanager
def _attributes(module: nn.Module) -> Iterator[None]:
    """Counters and flags that people keep on their modules."""
    plain = (int, float, bool, str, tuple, type(None))
    saved = [(part, {k: v for k, v in vars(part).items() if isinstance(v, plain)}) for part in module.modules()]
    try:
        yield
    finally:
        for part, values in saved:
            vars(part).update(values)


@contextmanager
def _metrics(module: nn.Module) -> Iterator[None]:
    """The states of torchmetrics are neither parameters nor buffers."""
    metrics = [part for part in module.modules() if isinstance(part, Metric)]
    saved = [{k: copy.deepcopy(v) for k, v in vars(m).items() if not k.startswith("_modules")} for m in metrics]
    try:
        yield
    finally:
        for metric, values in zip(metrics, saved, strict=True):
            vars(metric).update(values)


@contextmanager
def _scaler(precision: Any) -> Iterator[None]:
    """A copy of the gradient scaler works in its place: an exception can leave one in the middle of a step."""
    scaler = getattr(precision, "scaler", None)
    if scaler is None:
        yield
        return
    precision.scaler = copy.deepcopy(scaler)
    try:
        yield
    finally:
        precision.scaler = scaler


@contextmanager
def _deaf(trainer: Trainer, pl_module: LightningModule) -> Iterator[None]:
    """Callbacks, loggers and ``self.log`` do not hear of the steps inside."""
    callbacks, loggers = trainer.callbacks, trainer.loggers
    trainer.callbacks, trainer.loggers = [], [DummyLogger() for _ in loggers]
    pl_module.log = pl_module.log_dict = _ignore
    try:
        yield
    finally:
        trainer.callbacks, trainer.loggers = callbacks, loggers
        del pl_module.log, pl_module.log_dict


def _ignore(*args: Any, **kwargs: Any) -> None:
    """Stands in for ``self.log``."""
