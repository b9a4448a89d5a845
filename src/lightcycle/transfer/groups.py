"""Layer groups: which parameters belong together, from the input to the head."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from lightcycle.transfer.parts import Part, apart, names_of, own_stages, owner, parts_of, timm_stages, without_bare

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LayerGroup:
    """Parameters that share a learning rate and are frozen together.

    Args:
        name: what tables and optimizers call it.
        parameters: their names, as in ``named_parameters``.
        size: how many numbers they hold.
    """

    name: str
    parameters: tuple[str, ...]
    size: int = 0

    def under(self, prefix: str) -> LayerGroup:
        """The same group as seen from a module that holds the net as ``prefix``.

        >>> LayerGroup("head", ("fc.weight",)).under("net").parameters
        ('net.fc.weight',)
        """
        return replace(self, parameters=tuple(f"{prefix}.{name}" for name in self.parameters))


def layer_groups(net: nn.Module, how: int | str | Mapping[str, str] | Sequence[str], head: str) -> list[LayerGroup]:
    """The layer groups of a net by one of the ways below: a number, ``"stages"``, or patterns.

    Raises:
        ValueError: in a sentence, when ``how`` is none of them or the net cannot be split so.
    """
    if how == "stages":
        return by_stages(net, head)
    if isinstance(how, int) and not isinstance(how, bool):
        return by_depth(net, how, head)
    if isinstance(how, Mapping | list | tuple) and how:
        return by_patterns(net, how)
    raise ValueError(f"groups must be a number >= 2, stages, or patterns of parameter names (got {how!r}); try stages")


def by_depth(net: nn.Module, n: int, head: str) -> list[LayerGroup]:
    """``n`` groups: the head, and below it ``n - 1`` groups of about equal shares of the layers.

    A layer is a module with a matrix or kernel of its own; what follows it without one (norms) goes with it.

    Args:
        net: whose parameters to sort; they are taken to be registered from the input to the head.
        n: groups in all, at least 2.
        head: name of the layer that gives the logits.

    Raises:
        ValueError: fewer than 2 groups, or more than there are layers.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Linear(4, 2))
    >>> [(group.name, group.parameters) for group in by_depth(net, 3, head="3")]
    [('body.1', ('0.weight', '0.bias', '1.weight', '1.bias')),
     ('body.2', ('2.weight', '2.bias')),
     ('head', ('3.weight', '3.bias'))]
    """
    body, top = apart(net, head)
    layers = [names for _, names in without_bare(net, parts_of(body, owner))]
    if not 2 <= n <= len(layers) + 1:
        raise ValueError(
            f"groups must be between 2 and {len(layers) + 1}, the layers of this {type(net).__name__} (got {n}); "
            "3 is usual: two halves of the body, and the head"
        )
    edges = [round(i * len(layers) / (n - 1)) for i in range(n)]
    shares = [(f"body.{i}", list(chain(*layers[edges[i - 1] : edges[i]]))) for i in range(1, n)]
    return _groups(net, [*shares, ("head", top)])


def by_stages(net: nn.Module, head: str) -> list[LayerGroup]:
    """The net's own stages, and the head.

    Stages are the children of the net, or of the modules in it that hold the stages (``parts.BOXES``): ``layer1`` to
    ``layer4`` of a ResNet, ``features.*`` of a MobileNet or ConvNeXt, ``encoder.layers.*`` of a ViT. Where stages have
    several layers, a part with a single one (stem, down-sampling, last convolution) goes with the stage behind it, or
    at the end with the last. Nets of timm are split by their own ``group_matcher``.

    >>> from torchvision.models import resnet18
    >>> [group.name for group in by_stages(resnet18(), head="fc")]
    ['layer1', 'layer2', 'layer3', 'layer4', 'head']
    """
    body, top = apart(net, head)
    parts = timm_stages(net, body, head) if hasattr(net, "group_matcher") else own_stages(net, body, head)
    return _groups(net, [*parts, ("head", top)])


def by_patterns(net: nn.Module, patterns: Mapping[str, str] | Sequence[str]) -> list[LayerGroup]:
    """A group for each regular expression, matched from the start of the parameters' names; input first, head last.

    Args:
        net: whose parameters to sort.
        patterns: name of the group to expression, or the expressions alone, which are then the names too.

    Raises:
        ValueError: naming the parameters that match none or several, or the group that is empty.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    >>> [group.parameters for group in by_patterns(net, {"body": "[01]", "head": "2"})]
    [('0.weight', '0.bias', '1.weight', '1.bias'), ('2.weight', '2.bias')]
    """
    named = dict(patterns) if isinstance(patterns, Mapping) else {pattern: pattern for pattern in patterns}
    found: dict[str, list[str]] = {name: [] for name in named}
    lost, twice = [], []
    for parameter, _ in net.named_parameters():
        hits = [name for name, pattern in named.items() if _matches(pattern, parameter)]
        (lost if not hits else twice if len(hits) > 1 else found[hits[0]]).append(parameter)
    if lost:
        raise ValueError(f"groups leaves out {_few(lost)}; give every parameter a pattern, such as rest: '.*' for all")
    if twice:
        raise ValueError(f"groups has several patterns for {_few(twice)}; patterns match from the start of a name")
    if empty := [name for name, parameters in found.items() if not parameters]:
        raise ValueError(f"groups.{empty[0]}={named[empty[0]]} matches no parameter; there are {_few(names_of(net))}")
    return _groups(net, found.items())


def _groups(net: nn.Module, parts: Iterable[Part]) -> list[LayerGroup]:
    sizes = {name: parameter.numel() for name, parameter in net.named_parameters()}
    return [LayerGroup(name, tuple(names), sum(sizes[n] for n in names)) for name, names in parts]


def _matches(pattern: str, parameter: str) -> bool:
    try:
        return re.match(pattern, parameter) is not None
    except re.error as error:
        raise ValueError(f"groups: {pattern!r} is no regular expression ({error}); layer1 or layer[12] are") from error


def _few(names: list[str], n: int = 3) -> str:
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")
