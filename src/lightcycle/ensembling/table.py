"""The table of an ensemble: each member, the last m of them, and the single models beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from lightcycle.ensembling.average import accuracy, choose_last, combine, fit_weights


def ensemble_table(
    members: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    steps: Sequence[int],
    singles: Mapping[str, Mapping[str, Tensor]] | None = None,
    choose_on: str | None = "val",
) -> list[dict[str, Any]]:
    """A row for each way to predict, with its accuracy on every part; whatever is chosen is chosen on one of them.

    Args:
        members: part (val, test) to probabilities ``(members, n, classes)``, in the order of their steps.
        labels: part to labels ``(n,)``.
        steps: of the members.
        singles: name to part to probabilities ``(n, classes)``: the models beside the members.
        choose_on: the part that the number of members and their weights are chosen on; None takes all, alike.

    Returns:
        Rows of ``name``, ``kind`` (member, last, chosen, single), ``members`` and the accuracy of each part.

    >>> import torch
    >>> p = torch.tensor([[[0.9, 0.1], [0.8, 0.2]], [[0.6, 0.4], [0.3, 0.7]]])
    >>> rows = ensemble_table({"val": p}, {"val": torch.tensor([0, 1])}, [5, 10])
    >>> [(row["name"], row["val"]) for row in rows[:4]]
    [('step 5', 0.5), ('step 10', 1.0), ('last 1', 1.0), ('last 2', 0.5)]
    """
    m = choose_last(members[choose_on], labels[choose_on]) if choose_on else len(steps)

    def row(name: str, kind: str, count: int, found: Mapping[str, Tensor]) -> dict[str, Any]:
        return {"name": name, "kind": kind, "members": count} | {k: accuracy(p, labels[k]) for k, p in found.items()}

    rows = [row(f"step {step}", "member", 1, {k: p[i] for k, p in members.items()}) for i, step in enumerate(steps)] + [
        row(f"last {n}", "last", n, {k: combine(p[-n:]) for k, p in members.items()}) for n in range(1, len(steps) + 1)
    ]
    rows += [
        row("ensemble", "chosen", m, {k: combine(p[-m:]) for k, p in members.items()}),
        row("its logits averaged", "chosen", m, {k: combine(p[-m:], "logits") for k, p in members.items()}),
        row("its votes", "chosen", m, {k: combine(p[-m:], "votes") for k, p in members.items()}),
    ]
    if choose_on:
        w = fit_weights(members[choose_on], labels[choose_on])
        fitted = {k: combine(p, weights=w) for k, p in members.items()}
        rows.append(row("all, weights fitted", "chosen", len(steps), fitted))
    return rows + [row(name, "single", 1, found) for name, found in (singles or {}).items()]
