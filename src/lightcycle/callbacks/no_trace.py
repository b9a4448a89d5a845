"""``no_trace``: whatever happens inside leaves the run as it was, bit for bit."""

import copy
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers.logger import DummyLogger
from torch import nn
from torch.optim import Optimizer
from torchmetrics import Metric


@contextmanager
def no_trace(trainer: Trainer, pl_module: LightningModule) -> Iterator[None]:
    """Undoes all that training steps inside it do, also when they raise or are interrupted.

    Kept: weights, every buffer, gradients, optimizer state and groups, the gradient scaler, random states (torch, CUDA,
    numpy, Python, and generators that the training data set holds), torchmetrics, and what the module and its parts
    hold of numbers, strings, lists and dictionaries. Other callbacks and the loggers see nothing. Not kept: files and
    other objects of the user's own that ``training_step`` changes.

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
            _dataset(trainer),
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


PLAIN = (int, float, bool, str, tuple, type(None))
BOXES = (list, dict, set, deque)


@contextmanager
def _attributes(module: nn.Module) -> Iterator[None]:
    """Counters, flags and lists that people keep on their modules; what was not there before goes."""
    parts = [part for part in module.modules() if not isinstance(part, Metric)]
    names = [set(vars(part)) for part in parts]
    plain = [{k: v for k, v in vars(part).items() if isinstance(v, PLAIN)} for part in parts]
    boxes = [(v, copy.copy(v)) for part in parts for k, v in vars(part).items() if k[0] != "_" and isinstance(v, BOXES)]
    try:
        yield
    finally:
        for part, values, before in zip(parts, plain, names, strict=True):
            for name in set(vars(part)) - before:
                delattr(part, name)
            vars(part).update(values)
        for box, content in boxes:
            box.clear()
            (box.extend if isinstance(box, list | deque) else box.update)(content)


@contextmanager
def _metrics(module: nn.Module) -> Iterator[None]:
    """The states of torchmetrics are neither parameters nor buffers."""
    metrics = [part for part in module.modules() if isinstance(part, Metric)]
    tensors = ("_modules", "_parameters", "_buffers")  # torch's own: weights and buffers are kept in place
    saved = [{k: copy.deepcopy(v) for k, v in vars(m).items() if k not in tensors} for m in metrics]
    try:
        yield
    finally:
        for metric, values in zip(metrics, saved, strict=True):
            vars(metric).update(values)


@contextmanager
def _dataset(trainer: Trainer) -> Iterator[None]:
    """Generators and counters of the training data set, which the second loader shares."""
    dataset = getattr(trainer.train_dataloader, "dataset", None)
    held = vars(dataset) if hasattr(dataset, "__dict__") else {}
    plain = {name: value for name, value in held.items() if isinstance(value, PLAIN)}
    states = [(give, give(None)) for give in map(_state_of, held.values()) if give is not None]
    try:
        yield
    finally:
        held.update(plain)
        for give, state in states:
            give(state)


def _state_of(holder: Any) -> Callable[[Any], Any] | None:
    """A function that reads the state of a random generator when given ``None``, and otherwise writes it."""
    if isinstance(holder, torch.Generator):
        return lambda state: holder.get_state() if state is None else holder.set_state(state)
    if isinstance(holder, numpy.random.RandomState):
        return lambda state: holder.get_state() if state is None else holder.set_state(state)
    if isinstance(holder, random.Random):
        return lambda state: holder.getstate() if state is None else holder.setstate(state)
    if isinstance(holder, numpy.random.Generator):
        bits = holder.bit_generator
        return lambda state: copy.deepcopy(bits.state) if state is None else setattr(bits, "state", state)
    return None


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
    """Callbacks, loggers and ``self.log`` do not hear of the steps inside; a bar's thread must still find its bar."""
    callbacks, loggers = trainer.callbacks, trainer.loggers
    trainer.callbacks = [callback for callback in callbacks if isinstance(callback, ProgressBar)]
    trainer.loggers = [DummyLogger() for _ in loggers]
    pl_module.log = pl_module.log_dict = _ignore
    try:
        yield
    finally:
        trainer.callbacks, trainer.loggers = callbacks, loggers
        del pl_module.log, pl_module.log_dict


def _ignore(*args: Any, **kwargs: Any) -> None:
    """Stands in for ``self.log``."""
