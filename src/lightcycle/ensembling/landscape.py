"""The space between models: mixtures of their weights, random directions, and the plane through three of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

State = Mapping[str, Tensor]


def blend(states: Sequence[State], weights: Sequence[float]) -> dict[str, Tensor]:
    """The state ``sum_i weights[i] * states[i]``; one weight of 1 among zeros gives that state bit for bit.

    Running statistics are mixed like weights. What is not floating point, such as counters, is the first used state's.

    Args:
        states: of one net, all with the same names and shapes.
        weights: one for each state; those of an affine combination sum to 1, those of directions are free.

    >>> a, b = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 6.0])}
    >>> blend([a, b], [0.5, 0.5])["w"], blend([a, b], [0.0, 1.0])["w"]
    (tensor([2., 4.]), tensor([3., 6.]))
    """
    used = [(state, weight) for state, weight in zip(states, weights, strict=True) if weight]
    (first, share), *others = used
    return {
        name: sum((weight * state[name] for state, weight in others), share * tensor)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in first.items()
    }


def filters(tensor: Tensor) -> Tensor:
    """The filters ``(filters, weights of one)`` of a weight: one for each output channel or neuron.

    >>> filters(torch.ones(16, 3, 5, 5)).shape
    torch.Size([16, 75])
    """
    return tensor.flatten(1)


def random_direction(state: State, parameters: Collection[str], generator: torch.Generator) -> dict[str, Tensor]:
    """A random direction with filters as long as the state's: ``d_f = g_f * |w_f| / |g_f|``, g from a normal.

    So a step of 1 means as much in a net whose filters are large as in one whose filters are small, which with
    BatchNorm may be the same function. Biases and norms, which have no filters, stay as they are.

    Args:
        state: where the direction starts.
        parameters: names of the state's entries that may move.
        generator: the source of numbers, on the CPU.

    >>> state = {"w": torch.tensor([[3.0, 4.0], [0.0, 0.0]]), "bias": torch.ones(2)}
    >>> direction = random_direction(state, state, torch.Generator().manual_seed(0))
    >>> direction["w"].norm(dim=1).tolist(), direction["bias"].tolist()
    ([5.0, 0.0], [0.0, 0.0])

    Source: Li et al. 2018, Visualizing the loss landscape of neural nets, arXiv:1712.09913.
    """
    direction = {}
    for name, tensor in state.items():
        direction[name] = torch.zeros_like(tensor)
        if _has_filters(tensor) and name in parameters:
            drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            scale = filters(tensor.double().cpu()).norm(dim=1) / filters(drawn).norm(dim=1)
            scaled = filters(drawn) * scale[:, None]
            direction[name] = scaled.reshape(tensor.shape).to(tensor)
    return direction


def distance(a: State, b: State, parameters: Collection[str]) -> float:
    """How far two states are apart, in lengths of their filters: a root mean square over all filters.

    ``sqrt(mean_f |a_f - b_f|^2 / |w_f|^2)`` with ``|w_f|^2 = (|a_f|^2 + |b_f|^2) / 2``; filters of zeros are left out.

    >>> distance({"w": torch.tensor([[3.0, 4.0]])}, {"w": torch.tensor([[-3.0, -4.0]])}, ["w"])
    2.0
    """
    return math.sqrt(_inner(a, b, b, (a, b), parameters))


def corners(states: Sequence[State], parameters: Collection[str]) -> list[tuple[float, float]]:
    """Where three states lie on the plane through them, in an orthonormal basis: ``(x, y)`` of each.

    The basis is Gram and Schmidt's of ``b - a`` and ``c - a`` under the inner product
    ``<u, v> = mean_f <u_f, v_f> / |w_f|^2``, with ``|w_f|^2`` the mean over the three states: lengths and angles are
    filter-normalized, and the plane still goes through the states themselves. The first is at (0, 0), the second on
    the x axis.

    Raises:
        ValueError: if the three lie on a line.

    Source: the plane, Garipov et al. 2018, arXiv:1802.10026; the normalization, Li et al. 2018, arXiv:1712.09913.
    """
    a, b, c = states
    along, across, between = (_inner(a, u, v, states, parameters) for u, v in ((b, b), (c, c), (b, c)))
    height = across - between**2 / along if along else 0.0
    if not height > 1e-9 * across:
        raise ValueError("the three snapshots lie on a line, so there is no plane through them; choose others")
    return [(0.0, 0.0), (math.sqrt(along), 0.0), (between / math.sqrt(along), math.sqrt(height))]


def barycentric(triangle: Sequence[tuple[float, float]], x: float, y: float) -> list[float]:
    """The weights of three corners, summing to 1, that give a point of their plane.

    >>> barycentric([(0, 0), (2, 0), (0, 4)], 1, 1)
    [0.25, 0.5, 0.25]
    """
    (ax, ay), (bx, by), (cx, cy) = triangle
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    second = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / area
    third = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / area
    return [1 - second - third, second, third]


def _inner(origin: State, u: State, v: State, scale: Sequence[State], parameters: Collection[str]) -> float:
    """``mean_f <u_f - o_f, v_f - o_f> / |w_f|^2``; filters that are zero in all states of the scale do not count."""
    terms = []
    for name in parameters:
        if _has_filters(origin[name]):
            squared = sum(filters(state[name].double()).pow(2).sum(1) for state in scale) / len(scale)
            start = origin[name].double()
            products = (filters(u[name].double() - start) * filters(v[name].double() - start)).sum(1)
            terms.append((products / squared)[squared > 0])
    return float(torch.cat(terms).mean())


def _has_filters(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.ndim >= 2
