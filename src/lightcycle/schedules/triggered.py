"""Policies that wait for a metric: the one exception to "a pure function of time".

What they remember is a small dictionary that goes into the checkpoint; ``update`` is a pure function of it.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from lightcycle.schedules import shapes
from lightcycle.schedules.base import Schedule, needs_epochs
from lightcycle.schedules.checks import above, at_least, from_zero_to_below, one_of, within
from lightcycle.schedules.decay import staircase
from lightcycle.schedules.phase import Phase, curve

State = dict[str, Any]


class MetricDriven(Schedule):
    """A schedule whose value is also multiplied by ``state["factor"]``, which metrics move."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the watched metrics; none when this schedule depends on time alone."""
        raise NotImplementedError

    def start(self) -> State:
        """What is remembered before the first validation."""
        raise NotImplementedError

    def update(self, state: State, values: dict[str, float]) -> State:
        """What is remembered after a validation with these metrics."""
        raise NotImplementedError


@dataclass(kw_only=True)
class ReduceOnPlateau(MetricDriven):
    """Multiplies the rate by ``factor`` when the watched metric has not improved for ``patience`` validations.

    Better means ``value < best (1 - threshold)`` for ``mode=min`` and ``value > best (1 + threshold)`` for ``max``;
    for a negative best the bound moves by ``threshold |best|`` the same way.

    Args:
        monitor: the metric's name in the log.
        mode: ``min`` or ``max``.
        factor: what each reduction multiplies the rate by.
        patience: validations without improvement that are put up with.
        threshold: relative improvement that counts.
        cooldown: validations after a reduction in which nothing is counted.
        min_factor: the product of all reductions never goes below this.

    >>> plateau = ReduceOnPlateau(patience=1)
    >>> state = plateau.start()
    >>> for loss in (1.0, 0.5, 0.5, 0.5):
    ...     state = plateau.update(state, {"val/loss": loss})
    >>> state["factor"]
    0.1
    """

    monitor: str = "val/loss"
    mode: str = "min"
    factor: float = 0.1
    patience: int = 2
    threshold: float = 1e-4
    cooldown: int = 0
    min_factor: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, "mode", ("min", "max"))
        above(self, "factor", 0.0, "0.1 divides the rate by ten")
        from_zero_to_below(self, "factor", 1.0, "a reduction makes the rate smaller")
        at_least(self, "patience", 0, "2 waits for two validations without improvement")
        at_least(self, "threshold", 0.0, "1e-4 counts an improvement of a hundredth of a percent")
        at_least(self, "cooldown", 0, "0 counts at once")
        within(self, "min_factor", 0.0, 1.0, "0 sets no floor")

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.monitor,)

    def phases(self, epochs: float | None, steps: int | None) -> list[Phase]:
        return [Phase(1.0, curve(shapes.constant, 1.0, 1.0))]

    def start(self) -> State:
        return {"factor": 1.0, "best": math.inf if self.mode == "min" else -math.inf, "bad": 0, "cooldown": 0}

    def update(self, state: State, values: dict[str, float]) -> State:
        value = values[self.monitor]
        if self._better(value, state["best"]):
            state = {**state, "best": value, "bad": 0}
        else:
            state = {**state, "bad": state["bad"] + 1}
        if state["cooldown"] > 0:
            return {**state, "cooldown": state["cooldown"] - 1, "bad": 0}
        if state["bad"] <= self.patience:
            return state
        lower = max(state["factor"] * self.factor, self.min_factor)
        return {**state, "factor": lower, "bad": 0, "cooldown": self.cooldown}

    def _better(self, value: float, best: float) -> bool:
        margin = 0.0 if math.isinf(best) else self.threshold * abs(best)
        return value < best - margin if self.mode == "min" else value > best + margin


@dataclass(kw_only=True)
class Halving(MetricDriven):
    """Halves the rate: after epochs, at accuracies, at losses; each trigger halves once: ``a = a0 / 2^triggers``.

    With nothing set it halves after every epoch.

    Args:
        after: the epoch of the first timed halving; ``None``: after ``every`` epochs.
        every: epochs between timed halvings; ``None`` with ``after`` halves once.
        at_accuracy: each of these, when ``accuracy_metric`` first reaches it, halves the rate.
        at_loss: each of these, when ``loss_metric`` first falls to it, halves the rate.

    >>> [Halving()(t, epochs=4) for t in (0.0, 0.25, 0.5, 0.75)]
    [1.0, 0.5, 0.25, 0.125]
    >>> watch = Halving(at_accuracy=[0.9, 0.95])
    >>> watch.update(watch.start(), {"val/acc": 0.93})["factor"]
    0.5
    """

    after: float | None = None
    every: float | None = None
    at_accuracy: list[float] = field(default_factory=list)
    at_loss: list[float] = field(default_factory=list)
    accuracy_metric: str = "val/acc"
    loss_metric: str = "val/loss"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, hint in (("after", "the first halving ends an epoch"), ("every", "1 halves after every epoch")):
            if getattr(self, name) is not None:
                above(self, name, 0.0, hint)
        if not all(0.0 <= level <= 1.0 for level in self.at_accuracy):
            raise ValueError(f"schedule.at_accuracy must be between 0 and 1 (got {self.at_accuracy}); 0.9 is 90 %")
        if not all(math.isfinite(level) for level in self.at_loss):
            raise ValueError(f"schedule.at_loss must be finite (got {self.at_loss}); try [0.5]")

    @property
    def metrics(self) -> tuple[str, ...]:
        watched = ((self.at_accuracy, self.accuracy_metric), (self.at_loss, self.loss_metric))
        return tuple(name for levels, name in watched if levels)

    def phases(self, epochs: float | None, steps: int | None) -> list[Phase]:
        every = self.every if self.after or self.every or self.metrics else 1.0
        if not (self.after or every):
            return [Phase(1.0, curve(shapes.constant, 1.0, 1.0))]
        epochs = needs_epochs(epochs, "after" if self.after else "every")
        first = self.after or every
        count = 1 if every is None else max(math.ceil((epochs - first) / every), 0) + 1
        return staircase([first + (every or 0.0) * n for n in range(count)], 0.5, epochs)

    def start(self) -> State:
        return {"factor": 1.0, "passed": []}

    def update(self, state: State, values: dict[str, float]) -> State:
        passed = set(state["passed"])
        passed |= {f"acc {level}" for level in self.at_accuracy if values[self.accuracy_metric] >= level}
        passed |= {f"loss {level}" for level in self.at_loss if values[self.loss_metric] <= level}
        return {"factor": 0.5 ** len(passed), "passed": sorted(passed)}
