"""Optimizers: each class is the Hydra schema, the checked object and the builder.

Nothing here imports torch before `build`, so that composing a config stays fast.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from lightcycle.models.checks import check

if TYPE_CHECKING:
    from torch.optim import Optimizer


@dataclass(kw_only=True)
class OptimizerConfig:
    """What all optimizers share.

    Args:
        lr: base learning rate per optimizer step; a schedule multiplies it.
        weight_decay: L2 coefficient (decoupled in AdamW) of the groups that do not set their own.
    """

    lr: float = 1e-3
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        default = type(self).lr
        check(0 < self.lr < inf, "optimizer.lr", "> 0 and finite", self.lr, f"{default:g} is the default")
        check(0 <= self.weight_decay < inf, "optimizer.weight_decay", ">= 0 and finite", self.weight_decay, "0 is none")

    def build(self, params: Iterable[Any]) -> Optimizer:
        """The torch optimizer over `params`, tensors or parameter groups."""
        raise NotImplementedError


@dataclass(kw_only=True)
class SGDConfig(OptimizerConfig):
    """Stochastic gradient descent with Nesterov momentum (Sutskever et al., ICML 2013).

    >>> import torch
    >>> SGDConfig(momentum=0.8).build([torch.zeros(1)]).defaults["momentum"]
    0.8
    """

    lr: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = 0.9
    nesterov: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_fraction("momentum", self.momentum, "0.9 is the default")
        fits = self.momentum > 0 or not self.nesterov
        check(fits, "optimizer.momentum", "> 0 with Nesterov", self.momentum, "or set optimizer.nesterov=false")

    def build(self, params: Iterable[Any]) -> Optimizer:
        from torch.optim import SGD

        return SGD(params, **asdict(self))


@dataclass(kw_only=True)
class AdamConfig(OptimizerConfig):
    """Adam (Kingma & Ba, arXiv:1412.6980); weight decay is added to the gradient.

    >>> import torch
    >>> AdamConfig(beta1=0.8).build([torch.zeros(1)]).defaults["betas"]
    (0.8, 0.999)
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_fraction("beta1", self.beta1, "0.9 is the default")
        _check_fraction("beta2", self.beta2, "0.999 is the default")
        _check_eps(self.eps, 1e-8)

    def arguments(self) -> dict[str, Any]:
        """The fields under torch's names."""
        betas = (self.beta1, self.beta2)
        return {"lr": self.lr, "betas": betas, "eps": self.eps, "weight_decay": self.weight_decay}

    def build(self, params: Iterable[Any]) -> Optimizer:
        from torch.optim import Adam

        return Adam(params, **self.arguments())


@dataclass(kw_only=True)
class AdamWConfig(AdamConfig):
    """Adam with decoupled weight decay (Loshchilov & Hutter, arXiv:1711.05101).

    >>> import torch
    >>> AdamWConfig().build([torch.zeros(1)]).defaults["weight_decay"]
    0.01
    """

    weight_decay: float = 0.01

    def build(self, params: Iterable[Any]) -> Optimizer:
        from torch.optim import AdamW

        return AdamW(params, **self.arguments())


@dataclass(kw_only=True)
class AdagradConfig(OptimizerConfig):
    """Adagrad (Duchi et al., JMLR 2011).

    >>> import torch
    >>> AdagradConfig().build([torch.zeros(1)]).defaults["lr"]
    0.01
    """

    lr: float = 0.01
    eps: float = 1e-10

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_eps(self.eps, 1e-10)

    def build(self, params: Iterable[Any]) -> Optimizer:
        from torch.optim import Adagrad

        return Adagrad(params, **asdict(self))


@dataclass(kw_only=True)
class RMSpropConfig(OptimizerConfig):
    """RMSprop (Tieleman & Hinton, Coursera lecture 6e, 2012).

    >>> import torch
    >>> RMSpropConfig(momentum=0.9).build([torch.zeros(1)]).defaults["alpha"]
    0.99
    """

    alpha: float = 0.99
    momentum: float = 0.0
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_fraction("alpha", self.alpha, "0.99 is the default")
        _check_fraction("momentum", self.momentum, "0 is the default")
        _check_eps(self.eps, 1e-8)

    def build(self, params: Iterable[Any]) -> Optimizer:
        from torch.optim import RMSprop

        return RMSprop(params, **asdict(self))


def _check_fraction(name: str, value: float, fix: str) -> None:
    check(0 <= value < 1, f"optimizer.{name}", "in [0, 1)", value, fix)


def _check_eps(eps: float, default: float) -> None:
    check(0 < eps < inf, "optimizer.eps", "> 0 and finite", eps, f"{default:g} is the default")


OPTIMIZERS = {
    "sgd": SGDConfig,
    "adam": AdamConfig,
    "adamw": AdamWConfig,
    "adagrad": AdagradConfig,
    "rmsprop": RMSpropConfig,
}
"""Schema name to class, as `/schema/optimizer/<name>`."""
