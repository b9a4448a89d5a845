"""Lightning callbacks: each applies one schedule to one thing."""

from lightcycle.callbacks.base_rates import BaseRates
from lightcycle.callbacks.checkpoints import LastCheckpoint
from lightcycle.callbacks.gradual_unfreezing import GradualUnfreezing
from lightcycle.callbacks.layer_groups import GroupTable
from lightcycle.callbacks.lr_finder import LRFinder
from lightcycle.callbacks.param_scheduler import ParamScheduler
from lightcycle.callbacks.progressive_resizing import ProgressiveResizing
from lightcycle.callbacks.randomness import StepSeed
from lightcycle.callbacks.recorder import Recorder
from lightcycle.callbacks.requeue import Requeue
from lightcycle.callbacks.snapshot_ensemble import SnapshotEnsemble
from lightcycle.callbacks.stage import StageMark, StagePlace, stage_of
from lightcycle.callbacks.still_batchnorm import StillBatchNorm
from lightcycle.callbacks.stop_on_overfitting import StopOnOverfitting

__all__ = [
    "BaseRates",
    "GradualUnfreezing",
    "GroupTable",
    "LRFinder",
    "LastCheckpoint",
    "ParamScheduler",
    "ProgressiveResizing",
    "Recorder",
    "Requeue",
    "SnapshotEnsemble",
    "StageMark",
    "StagePlace",
    "StepSeed",
    "StillBatchNorm",
    "StopOnOverfitting",
    "stage_of",
]
