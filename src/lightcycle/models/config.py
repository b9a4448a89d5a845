"""What a model is made of: each class is the Hydra schema, the checked object and the builder of its net.

Nothing here imports torch before `build`, so that composing a config stays fast.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lightcycle.models.checks import check

if TYPE_CHECKING:
    from torch import nn


@dataclass(kw_only=True)
class MLPConfig:
    """A multi-layer perceptron on the flattened pixels.

    Args:
        hidden: units of each hidden layer; `[]` is softmax regression.
        dropout: fraction of hidden units set to zero in training, in [0, 1).

    >>> MLPConfig(hidden=[32]).build(channels=1, size=(8, 8), classes=10).head
    Linear(in_features=32, out_features=10, bias=True)
    """

    hidden: list[int] = field(default_factory=lambda: [256, 128])
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check(
            min(self.hidden, default=1) >= 1,
            "model.hidden",
            "sizes >= 1",
            list(self.hidden),
            "[256, 128] is the default",
        )
        _check_dropout(self.dropout)

    def build(self, *, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """The net for images of shape `(batch, channels, *size)`."""
        from lightcycle.models.mlp import MLP

        return MLP(channels * size[0] * size[1], classes, hidden=self.hidden, dropout=self.dropout)


@dataclass(kw_only=True)
class ResNetConfig:
    """A small residual net for small images; 1.23 M parameters at the default width.

    Args:
        width: channels of the stem; the five stages have 1, 2, 4, 8 and 16 times as many.
        blocks: residual blocks in each stage.
        dropout: fraction of pooled features set to zero in training, in [0, 1).

    >>> type(ResNetConfig(width=8).build(channels=3, size=(32, 32), classes=10)).__name__
    'ResNet'
    """

    width: int = 16
    blocks: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check(self.width >= 4, "model.width", ">= 4", self.width, "16 is the default")
        check(self.blocks >= 1, "model.blocks", ">= 1", self.blocks, "1 block a stage is the default")
        _check_dropout(self.dropout)

    def build(self, *, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """The net for images of `channels` channels; it takes any `size`."""
        from lightcycle.models.resnet import ResNet

        return ResNet(channels, classes, width=self.width, blocks=self.blocks, dropout=self.dropout)


@dataclass(kw_only=True)
class PretrainedConfig:
    """A net of somebody else's by name, its head replaced.

    Args:
        name: of the net.
        weights: `DEFAULT` or another name (downloaded once), a `.pth` or `.safetensors` file, or null.
        dropout: fraction dropped in front of the head, in [0, 1); null keeps the architecture's own.
    """

    name: str = "resnet18"
    weights: str | None = None
    dropout: float | None = None

    def __post_init__(self) -> None:
        kind, usual = type(self).__name__.removesuffix("Config").lower(), type(self).name
        check(bool(self.name), "model.name", f"a {kind} classifier", repr(self.name), f"{usual} is the default")
        # `model.weights=` on the command line is the empty string, which would mean the folder one is in.
        check(self.weights != "", "model.weights", "DEFAULT, a file or null", "''", "null trains from scratch")
        if self.dropout is not None:
            _check_dropout(self.dropout)


@dataclass(kw_only=True)
class TorchvisionConfig(PretrainedConfig):
    """Any torchvision classifier: a name of `torchvision.models.list_models`, and of its weights.

    >>> TorchvisionConfig().name
    'resnet18'
    """

    def build(self, *, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """The net for images of shape `(batch, channels, *size)`; raises `ValueError` where it cannot take them."""
        from lightcycle.models.torchvision_net import torchvision_net

        return torchvision_net(self, channels=channels, size=size, classes=classes)


@dataclass(kw_only=True)
class TimmConfig(PretrainedConfig):
    """Any classifier of timm: a name of `timm.list_models` or, with the weights' tag, of `timm.list_pretrained`.

    >>> TimmConfig(weights="DEFAULT").name
    'resnet10t.c3_in1k'
    """

    name: str = "resnet10t.c3_in1k"

    def build(self, *, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """The net for images of shape `(batch, channels, *size)`; raises `ValueError` where it cannot take them."""
        from lightcycle.models.timm_net import timm_net

        return timm_net(self, channels=channels, size=size, classes=classes)


def _check_dropout(dropout: float) -> None:
    check(0 <= dropout < 1, "model.dropout", "in [0, 1)", dropout, "0 switches it off")


MODELS = {"mlp": MLPConfig, "resnet": ResNetConfig, "torchvision": TorchvisionConfig, "timm": TimmConfig}
"""Schema name to class, as `/schema/model/<name>`."""
