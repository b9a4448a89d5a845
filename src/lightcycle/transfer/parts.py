"""Parts of a net: names of parameters, in order, under the name of what holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

BOXES = ("features", "trunk_output", "blocks", "layers", "stages", "encoder", "backbone", "body")
"""Names of modules that hold the stages of a net: torchvision's, timm's and ours."""

Part = tuple[str, list[str]]


def names_of(net: nn.Module) -> list[str]:
    """The parameters of a net, by name."""
    return [name for name, _ in net.named_parameters()]


def owner(parameter: str) -> str:
    """The module that holds a parameter.

    >>> owner("layer1.0.weight")
    'layer1.0'
    """
    return parameter.rpartition(".")[0]


def apart(net: nn.Module, head: str) -> tuple[list[str], list[str]]:
    """The parameters of the body and of the head.

    Raises:
        ValueError: there is no such head, or nothing below it.
    """
    top = [name for name in names_of(net) if name.startswith(f"{head}.")]
    body = [name for name in names_of(net) if not name.startswith(f"{head}.")]
    if not top or not body:
        missing = "parameters below its head" if top else f"head called {head!r}"
        raise ValueError(f"{type(net).__name__} has no {missing}, so there are no layer groups; leave groups out")
    return body, top


def parts_of(names: Iterable[str], key: Callable[[str], str]) -> list[Part]:
    """Those with the same key together, in the order of their first.

    >>> parts_of(["a.0", "b.0", "a.1"], owner)
    [('a', ['a.0', 'a.1']), ('b', ['b.0'])]
    """
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(key(name), []).append(name)
    return list(parts.items())


def _layers(net: nn.Module, names: Iterable[str]) -> int:
    """Modules with a parameter of two dimensions or more among these."""
    return len({owner(name) for name in names if net.get_parameter(name).ndim > 1})


def without_bare(net: nn.Module, parts: list[Part]) -> list[Part]:
    """Parts without a layer go with the part in front of them, the first with the one behind."""
    kept: list[Part] = []
    waiting: list[str] = []
    for name, names in parts:
        if _layers(net, names):
            kept.append((name, waiting + names))
            waiting = []
        elif kept:
            kept[-1][1].extend(names)
        else:
            waiting += names
    return kept or parts


def own_stages(net: nn.Module, body: list[str], head: str) -> list[Part]:
    """The children of the boxes; where some have several layers, those with one go with the next that has more."""
    parts = without_bare(net, parts_of(body, lambda name: _stage_of(name, head)))
    if all(_layers(net, names) < 2 for _, names in parts):
        return parts
    stages: list[Part] = []
    waiting: list[str] = []
    for name, names in parts:
        waiting = waiting + names
        if _layers(net, names) > 1:
            stages.append((name, waiting))
            waiting = []
    stages[-1][1].extend(waiting)
    return stages


def _stage_of(parameter: str, head: str) -> str:
    """The path of the stage that holds a parameter: down through the boxes, and beside the head.

    >>> _stage_of("encoder.layers.encoder_layer_3.mlp.0.weight", "heads.head")
    'encoder.layers.encoder_layer_3'
    >>> _stage_of("classifier.0.bias", "classifier.3")
    'classifier.0'
    """
    path, *rest = parameter.split(".")
    while len(rest) > 1 and (path.rpartition(".")[2] in BOXES or head.startswith(f"{path}.")):
        path = f"{path}.{rest.pop(0)}"
    return path


def timm_stages(net: nn.Module, body: list[str], head: str) -> list[Part]:
    """By the net's own matcher; each is called by the stage of its first layer."""
    from timm.models import group_parameters

    groups = group_parameters(net, net.group_matcher(coarse=True))
    kept = [[name for name in names if name in set(body)] for _, names in sorted(groups.items())]
    firsts = [next((name for name in names if "." in name), names[0]) for names in kept if names]  # not a token
    stages = [_stage_of(name, head) for name in firsts]
    return without_bare(net, list(zip(stages, filter(None, kept), strict=True)))
