"""Lightning callbacks: each applies one schedule to one thing."""

from lightcycle.callbacks.gradual_unfreezing import GradualUnfreezing
from lightcycle.callbacks.layer_groups import GroupTable
from lightcycle.callbacks.lr_finder import LRFinder
from lightcycle.callbacks.param_scheduler import ParamScheduler
from lightcycle.callbacks.randomness import StepSeed
from lightcycle.callbacks.recorder import Recorder

__all__ = ["GradualUnfreezing", "GroupTable", "LRFinder", "ParamScheduler", "Recorder", "StepSeed"]
