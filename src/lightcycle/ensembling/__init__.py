"""Several models as one, as plain functions on tensors: snapshots on disk, averages of predictions, views of images."""

from lightcycle.ensembling.average import BY, choose_last, combine, disagreement, fit_weights
from lightcycle.ensembling.ensemble import Ensemble, each_probabilities, probabilities
from lightcycle.ensembling.members import Snapshot, host_copy, load_snapshot, save_snapshot, snapshots
from lightcycle.ensembling.tta import FIXED, mix, tta
from lightcycle.ensembling.weights import average_weights, averaged

__all__ = [
    "BY",
    "FIXED",
    "Ensemble",
    "Snapshot",
    "average_weights",
    "averaged",
    "choose_last",
    "combine",
    "disagreement",
    "each_probabilities",
    "fit_weights",
    "host_copy",
    "load_snapshot",
    "mix",
    "probabilities",
    "save_snapshot",
    "snapshots",
    "tta",
]
