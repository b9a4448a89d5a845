"""Many predictions to one: how members are combined, how many of them, with which weights, and how much they differ."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BY = ("softmax", "logits", "votes")


def combine(probabilities: Tensor, by: str = "softmax", weights: Sequence[float] | Tensor | None = None) -> Tensor:
    """One prediction from those of M members.

    ``softmax`` is the mean probability, ``sum_m w_m p_m``; ``logits`` the softmax of the mean logit, which is the
    geometric mean, ``prod_m p_m^w_m`` normalized; ``votes`` the share of the members that put a class first.

    Args:
        probabilities: ``(members, n, classes)``.
        by: ``softmax``, ``logits`` or ``votes``.
        weights: of the members, >= 0, made to add up to 1; equal unless given.

    Returns:
        Probabilities ``(n, classes)``.

    Raises:
        ValueError: for another ``by``, and for weights that are not one per member and >= 0 with some above.

    >>> p = torch.tensor([[[0.9, 0.1]], [[0.4, 0.6]], [[0.4, 0.6]]])
    >>> [[round(v, 3) for v in combine(p, by)[0].tolist()] for by in BY]
    [[0.567, 0.433], [0.614, 0.386], [0.333, 0.667]]

    References: Huang et al., Snapshot ensembles, arXiv:1704.00109 (the softmax of the last m members).
    """
    if by not in BY:
        raise ValueError(f"by must be one of {', '.join(BY)} (got {by!r}); softmax is usual")
    w = _shares(weights, probabilities).view(-1, 1, 1)
    if by == "softmax":
        return (w * probabilities).sum(0)
    if by == "logits":
        tiny = torch.finfo(probabilities.dtype).tiny
        return (w * probabilities.clamp_min(tiny).log()).sum(0).softmax(-1)
    first = torch.nn.functional.one_hot(probabilities.argmax(-1), probabilities.shape[-1])
    return (w * first).sum(0).to(probabilities.dtype)


def fit_weights(probabilities: Tensor, labels: Tensor, steps: int = 2000) -> Tensor:
    """Weights >= 0 that add up to 1 and give the mean probability the lowest loss on validation data.

    The loss ``-mean log sum_m w_m p_m(label)`` is convex; expectation maximization lowers it at every step:
    ``w_m <- mean w_m p_m / sum_k w_k p_k``.

    Args:
        probabilities: ``(members, n, classes)``, of validation samples.
        labels: ``(n,)``.
        steps: at most so many; it ends when the weights rest.

    >>> good, bad = [[0.8, 0.2], [0.1, 0.9]], [[0.5, 0.5], [0.6, 0.4]]
    >>> fit_weights(torch.tensor([good, bad]), torch.tensor([0, 1])).round(decimals=3).tolist()
    [1.0, 0.0]
    """
    right = probabilities.double().gather(2, labels.expand(len(probabilities), -1).unsqueeze(2)).squeeze(2)
    right = right.clamp_min(torch.finfo(torch.float32).tiny)
    w = torch.full((len(right), 1), 1 / len(right), dtype=right.dtype, device=right.device)
    for _ in range(steps):
        new = (w * right / (w * right).sum(0)).mean(1, keepdim=True)
        if torch.equal(new, w):
            break
        w = new
    return w.squeeze(1).to(probabilities.dtype)


def choose_last(probabilities: Tensor, labels: Tensor, by: str = "softmax") -> int:
    """How many of the last members are most accurate together on validation data.

    Among equals, which few validation images or easy ones make, the lowest ``log_loss`` wins, and then the fewest.

    Args:
        probabilities: ``(members, n, classes)`` in the order of their steps.
        labels: ``(n,)``.

    >>> choose_last(torch.tensor([[[0.9, 0.1]], [[0.1, 0.9]], [[0.6, 0.4]]]), torch.tensor([0]))
    1
    """
    together = [combine(probabilities[-m:], by) for m in range(1, len(probabilities) + 1)]
    scores = [(accuracy(p, labels), -log_loss(p, labels)) for p in together]
    return 1 + scores.index(max(scores))


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Share of the samples ``(n, classes)`` whose most probable class is the label ``(n,)``."""
    return (probabilities.argmax(-1) == labels).double().mean().item()


def log_loss(probabilities: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood, in nats, of labels ``(n,)`` under probabilities ``(n, classes)``."""
    own = probabilities.double().gather(1, labels[:, None])
    return -own.clamp_min(torch.finfo(torch.float32).tiny).log().mean().item()


def disagreement(probabilities: Tensor) -> Tensor:
    """Share of the samples for which two members name different classes, ``(members, members)``.

    >>> disagreement(torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.7, 0.3]]])).tolist()
    [[0.0, 0.5], [0.5, 0.0]]
    """
    named = probabilities.argmax(-1)
    return (named[:, None] != named[None, :]).double().mean(-1)


def _shares(weights: Sequence[float] | Tensor | None, probabilities: Tensor) -> Tensor:
    count = len(probabilities)
    w = torch.as_tensor([1.0] * count if weights is None else weights, dtype=torch.float64)
    if w.shape != (count,) or not (w >= 0).all() or not w.sum() > 0:
        raise ValueError(
            f"weights must be {count} numbers >= 0, one for each member, and one above 0 (got {w.tolist()}); "
            "None weighs all alike"
        )
    return (w / w.sum()).to(probabilities)
