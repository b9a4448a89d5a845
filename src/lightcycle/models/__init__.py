"""Nets, the module that trains them, and what configures both.

The configs import nothing heavy; what needs torch is imported when first asked for.
"""

from importlib import import_module
from typing import Any

from lightcycle.models.config import MODELS, MLPConfig, ResNetConfig, TimmConfig, TorchvisionConfig
from lightcycle.models.optimizer_config import (
    OPTIMIZERS,
    AdagradConfig,
    AdamConfig,
    AdamWConfig,
    OptimizerConfig,
    RMSpropConfig,
    SGDConfig,
)

_HOME = {
    "MLP": "mlp",
    "Classifier": "classifier",
    "EpochMeans": "metrics",
    "ResNet": "resnet",
    "head_name": "surgery",
    "replace_head": "surgery",
    "weights_stats": "weights",
}

__all__ = [
    "MLP",
    "MODELS",
    "OPTIMIZERS",
    "AdagradConfig",
    "AdamConfig",
    "AdamWConfig",
    "Classifier",
    "EpochMeans",
    "MLPConfig",
    "OptimizerConfig",
    "RMSpropConfig",
    "ResNet",
    "ResNetConfig",
    "SGDConfig",
    "TimmConfig",
    "TorchvisionConfig",
    "head_name",
    "replace_head",
    "weights_stats",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
