"""Lightning callbacks: each applies one schedule to one thing."""

from lightcycle.callbacks.lr_finder import LRFinder
from lightcycle.callbacks.param_scheduler import ParamScheduler
from lightcycle.callbacks.randomness import StepSeed
from lightcycle.callbacks.recorder import Recorder

__all__ = ["LRFinder", "ParamScheduler", "Recorder", "StepSeed"]
