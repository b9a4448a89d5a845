"""Lightning callbacks: each applies one schedule to one thing."""

from lightcycle.callbacks.param_scheduler import ParamScheduler
from lightcycle.callbacks.randomness import StepSeed
from lightcycle.callbacks.recorder import Recorder

__all__ = ["ParamScheduler", "Recorder", "StepSeed"]
