"""Schedules: time -> value. Standard library only; importing this room imports no torch.

>>> from lightcycle.schedules import Horizon, OneCycle
>>> plan = OneCycle().bind(Horizon.of_epochs([100] * 5))
>>> plan.steps, max(range(plan.steps), key=plan.factor)
(500, 125)
"""

from lightcycle.schedules.base import BoundSchedule, Schedule
from lightcycle.schedules.cyclic import SGDR, CyclicalLR, OneCycle
from lightcycle.schedules.decay import (
    Constant,
    CosineAnnealing,
    ExponentialDecay,
    FlatCosine,
    InverseTimeDecay,
    Polynomial,
    StepDecay,
)
from lightcycle.schedules.depth import BoundUnfreezing, Unfreezing
from lightcycle.schedules.horizon import Horizon
from lightcycle.schedules.sizes import BoundResizing, Resizing
from lightcycle.schedules.triggered import Halving, MetricDriven, ReduceOnPlateau

SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "step": StepDecay,
    "halving": Halving,
    "exponential": ExponentialDecay,
    "inverse_time": InverseTimeDecay,
    "cosine": CosineAnnealing,
    "polynomial": Polynomial,
    "flat_cosine": FlatCosine,
    "clr": CyclicalLR,
    "sgdr": SGDR,
    "one_cycle": OneCycle,
    "plateau": ReduceOnPlateau,
}
"""Every schedule by the name it has on the command line: ``schedule=sgdr``."""

__all__ = [
    "SCHEDULES",
    "SGDR",
    "BoundResizing",
    "BoundSchedule",
    "BoundUnfreezing",
    "Constant",
    "CosineAnnealing",
    "CyclicalLR",
    "ExponentialDecay",
    "FlatCosine",
    "Halving",
    "Horizon",
    "InverseTimeDecay",
    "MetricDriven",
    "OneCycle",
    "Polynomial",
    "ReduceOnPlateau",
    "Resizing",
    "Schedule",
    "StepDecay",
    "Unfreezing",
]
