"""Freezing: which layer groups train, and what the frozen ones still do. Plain functions on modules.

A frozen part costs no backward pass: autograd stops where nothing below needs a gradient.
"""

from collections.abc import Iterator, Sequence

from torch import nn

from lightcycle.transfer.groups import LayerGroup

POLICIES = ("frozen", "stats", "train")
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def set_depth(module: nn.Module, groups: Sequence[LayerGroup], depth: int, batchnorm: str = "frozen") -> None:
    """The last ``depth`` groups train, the others are frozen; parameters outside of all groups are left alone.

    Args:
        module: what the names in the groups belong to.
        groups: from the input to the head.
        depth: trainable groups, counted from the head; 1 to all.
        batchnorm: of frozen groups: ``frozen`` (evaluation mode: the running statistics normalize and stay), ``stats``
            (batch statistics normalize, the running ones go on) or ``train`` (the affine parameters train as well,
            which needs a backward pass through the frozen body).

    Raises:
        ValueError: for a depth or a policy that does not exist.

    >>> net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    >>> groups = [LayerGroup("body", ("0.weight", "0.bias")), LayerGroup("head", ("1.weight", "1.bias"))]
    >>> set_depth(net, groups, 1)
    >>> [(p.requires_grad, part.training) for part in net for p in part.parameters()]
    [(False, False), (False, False), (True, True), (True, True)]
    """
    set_trainable(module, groups, depth, batchnorm)
    set_modes(module, groups, depth, batchnorm)


def set_trainable(module: nn.Module, groups: Sequence[LayerGroup], depth: int, batchnorm: str = "frozen") -> bool:
    """Sets ``requires_grad`` and drops the gradients of what is frozen, so that no optimizer moves it; whether it did.

    Momenta and other optimizer state stay as they are.
    """
    check_policy(batchnorm)
    if not 1 <= depth <= len(groups):
        raise ValueError(f"depth must be between 1 and {len(groups)}, the layer groups (got {depth}); 1 is the head")
    spared = _affine(module) if batchnorm == "train" else set()
    changed = False
    for index, group in enumerate(groups):
        for name in group.parameters:
            parameter, trains = module.get_parameter(name), index >= len(groups) - depth or name in spared
            changed |= parameter.requires_grad != trains
            parameter.requires_grad_(trains)
            parameter.grad = parameter.grad if trains else None
    return changed


def set_modes(
    module: nn.Module, groups: Sequence[LayerGroup], depth: int, batchnorm: str = "frozen"
) -> list[nn.Module]:
    """Puts frozen parts into evaluation mode (dropout off) and trainable ones into training mode; returns the frozen.

    A part without parameters, such as dropout, goes with the module it is in: frozen when all in there is. Inside a
    ``Sequential``, where order has a meaning, it goes with the layer behind it, or else with the last one in front.
    """
    frozen = _frozen(groups, depth)
    asleep = []
    for path, part in module.named_modules():
        if path not in frozen:
            if any(True for _ in part.parameters()):
                continue  # somebody else's
            if (of_parent := _by_place(module, path, frozen)) is None:
                continue
            frozen[path] = of_parent
        awake = not frozen[path] or (batchnorm != "frozen" and isinstance(part, BATCH_NORMS))
        part.training = awake
        if not awake:
            asleep.append(part)
    return asleep


def check_policy(batchnorm: str) -> None:
    """Raises a sentence unless the BatchNorm policy exists."""
    if batchnorm not in POLICIES:
        raise ValueError(f"batchnorm must be one of {', '.join(POLICIES)} (got {batchnorm!r}); frozen is usual")


def _affine(module: nn.Module) -> set[str]:
    """Names of the parameters of BatchNorm layers."""
    norms = [(path, part) for path, part in module.named_modules() if isinstance(part, BATCH_NORMS)]
    return {f"{path}.{name}" for path, part in norms for name, _ in part.named_parameters()}


def _frozen(groups: Sequence[LayerGroup], depth: int) -> dict[str, bool]:
    """Path of every module with parameters in the groups -> whether all of them are frozen."""
    frozen: dict[str, bool] = {}
    for index, group in enumerate(groups):
        for parameter in group.parameters:
            for path in _above(parameter):
                frozen[path] = frozen.get(path, True) and index < len(groups) - depth
    return frozen


def _by_place(module: nn.Module, path: str, frozen: dict[str, bool]) -> bool | None:
    """Whether a part without parameters is frozen; ``None`` where its place does not say."""
    parent, _, own = path.rpartition(".")
    if isinstance(module.get_submodule(parent), nn.Sequential):
        names = [name for name, _ in module.get_submodule(parent).named_children()]
        behind, front = names[names.index(own) + 1 :], names[: names.index(own)][::-1]
        is_norm = isinstance(module.get_submodule(path), BATCH_NORMS)  # without parameters, it has statistics
        for name in [*front, *behind] if is_norm else [*behind, *front]:
            beside = f"{parent}.{name}" if parent else name
            if beside in frozen and any(True for _ in module.get_submodule(beside).parameters()):
                return frozen[beside]
    return frozen.get(parent)


def _above(path: str) -> Iterator[str]:
    """The paths of all modules that hold this, the root last.

    >>> list(_above("net.fc.weight"))
    ['net.fc', 'net', '']
    """
    while path:
        path = path.rpartition(".")[0]
        yield path
