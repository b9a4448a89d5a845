"""After a run: the ensemble of its snapshots and test-time augmentation, beside the run's own model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn

from lightcycle.app.passes import Passes, State
from lightcycle.app.tta import settled
from lightcycle.ensembling import averaged, disagreement, snapshots
from lightcycle.ensembling.average import accuracy
from lightcycle.ensembling.table import ensemble_table
from lightcycle.report.files import write_json
from lightcycle.report.snapshots_picture import draw_snapshots
from lightcycle.report.table import print_table

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

    from lightcycle.app.settings import Settings
    from lightcycle.app.tta import TTAConfig
    from lightcycle.data.module import ImageData

REFRESH = 100
"""Batches of training images that make the BatchNorm statistics of averaged weights anew."""

Said = dict[str, Tensor]
"""Column of the table (val, test, val TTA, test TTA) to probabilities ``(n, classes)``."""


def after_run(
    settings: Settings, folder: Path, trainer: Trainer, module: LightningModule, data: ImageData
) -> dict[str, Any]:
    """The figures of the ensemble and of TTA; writes ``snapshots/table.json`` and ``snapshots.png``, prints the table.

    On the first process; nothing where the run has neither snapshots nor ``tta``. Every choice (the number of members,
    fitted weights) is made on validation images; without some, all members count alike. The test set is left closed
    with ``test=none``.

    Returns:
        ``val/acc_ensemble``, ``test/acc_ensemble``, ``ensemble_members`` (how many), ``snapshots`` (the rows of the
        table), ``snapshots_disagreement`` (of each pair); ``val/acc_tta``, ``test/acc_tta`` and ``..._ensemble_tta``
        where TTA is on; each where there is data for it.
    """
    kept, parts, tta = snapshots(folder / "snapshots"), looked_at(settings, trainer, data), settled(settings.config)
    if not trainer.is_global_zero or not parts or not (kept or tta):
        return {}
    passes = passes_of(settings, trainer, data, parts, tta)
    with on(passes.device, module):
        states = [one.load() for one in kept]
        singles = _singles(passes, module, trainer, states) if kept else {}
        own, *said = _said(passes, module, parts, [module.state_dict(), *states, *singles.values()])
        labels = {column: passes.labels(column.split()[0]) for column in own}
        figures = {f"{part}/acc_tta": accuracy(own[f"{part} TTA"], labels[part]) for part in parts if tta}
        if not kept:
            return figures
    members = {column: torch.stack([one[column] for one in said[: len(kept)]]) for column in own}
    singles = dict(zip(singles, said[len(kept) :], strict=True))
    averaging = any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks)
    name = "the run's model (EMA)" if averaging else "the run's model"
    choose_on = "val" if "val" in parts else None
    steps = [one.step for one in kept]
    rows = ensemble_table(members, labels, steps, {name: own, **singles}, choose_on)
    differ = disagreement(members[parts[0]])
    figures |= _figures(rows, list(own))
    _leave(folder, rows, differ.tolist(), parts, figures, choose_on)
    return figures | {"snapshots": rows, "snapshots_disagreement": differ.tolist()}


def looked_at(settings: Settings, trainer: Trainer, data: ImageData) -> list[str]:
    """Which of val and test; nothing that the run was told to leave closed."""
    closed = {
        "val": settings.trainer.limit_val_batches == 0,
        "test": settings.test == "none" or settings.trainer.limit_test_batches == 0,
    }
    return [part for part in ("val", "test") if getattr(data.counts, part) and not closed[part]]


def passes_of(
    settings: Settings, trainer: Trainer, data: ImageData, parts: list[str], tta: TTAConfig | None = None
) -> Passes:
    """Passes as the run made them: on its device, in its precision, over as many batches."""
    data.setup("test" if "test" in parts else "validate")
    limits = {part: getattr(settings.trainer, f"limit_{part}_batches") for part in parts}
    limits = dict.fromkeys(parts, 1) if trainer.fast_dev_run else limits
    return Passes(data, trainer.strategy.root_device, tta, trainer.precision_plugin.forward_context, limits)


@contextmanager
def on(device: torch.device, module: nn.Module) -> Iterator[None]:
    """The module where the run trained it, for a while."""
    home = next(module.parameters()).device
    module.to(device)
    try:
        yield
    finally:
        module.to(home)


def _said(passes: Passes, module: nn.Module, parts: list[str], states: list[State]) -> list[Said]:
    """What each of some weights says of each part, plain and with TTA where that is on.

    Every image is read once, and weights that are there twice are asked once: the run's model is its last snapshot
    more often than not.
    """
    keys = [_key(state) for state in states]
    apart = dict(zip(keys, states, strict=True))
    weights = list(apart.values())
    text = f"{len(weights)} models" if len(weights) > 1 else "the run's model"
    said = {part: passes.plain(module, part, weights, text) for part in parts}
    if passes.views is not None:
        said |= {f"{part} TTA": passes.tta(module, part, said[part], weights, text) for part in parts}
    by_key = {key: {column: p[i] for column, p in said.items()} for i, key in enumerate(apart)}
    return [by_key[key] for key in keys]


def _key(state: State) -> str:
    """Of the tensors' bytes."""
    digest = blake2b()
    for name, tensor in state.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _singles(passes: Passes, module: nn.Module, trainer: Trainer, members: list[State]) -> dict[str, State]:
    """The weights beside the members: the best checkpoint, and the mean of the members' weights."""
    states = {}
    if best := _best_path(trainer):
        states["best checkpoint"] = torch.load(best, map_location="cpu", weights_only=True)["state_dict"]
    if len(members) > 1:
        with passes.precision():
            mean = averaged(module, members, passes.train_images(REFRESH))
        states[f"mean of the weights of {len(members)}"] = mean
    return states


def _best_path(trainer: Trainer) -> str | None:
    """The file of the best checkpoint, where a callback has watched a metric."""
    watched = [one for one in trainer.checkpoint_callbacks if getattr(one, "monitor", None)]
    path = getattr(watched[0], "best_model_path", "") if watched else ""
    return path if path and Path(path).is_file() else None


def _figures(rows: list[dict[str, Any]], columns: list[str]) -> dict[str, Any]:
    """What summary.json says of the ensemble.

    >>> _figures([{"name": "ensemble", "members": 2, "val": 0.9, "val TTA": 0.8}], ["val", "val TTA"])
    {'val/acc_ensemble': 0.9, 'val/acc_ensemble_tta': 0.8, 'ensemble_members': 2}
    """
    chosen = next(row for row in rows if row["name"] == "ensemble")
    named = {c: f"{c.split()[0]}/acc_ensemble{'_tta' if c.endswith(' TTA') else ''}" for c in columns}
    return {named[c]: chosen[c] for c in columns} | {"ensemble_members": chosen["members"]}


def _leave(
    folder: Path,
    rows: list[dict[str, Any]],
    differ: list[list[float]],
    parts: list[str],
    figures: dict[str, Any],
    choose_on: str | None,
) -> None:
    """The table as a file and in the terminal, and the picture."""
    write_json(
        folder / "snapshots" / "table.json",
        {"chosen_on": choose_on, "figures": figures, "rows": rows, "disagreement": differ},
    )
    draw_snapshots(rows, differ, folder / "snapshots.png", parts)
    columns = [name for name in ("val", "test", "val TTA", "test TTA") if name in rows[0]]
    why = "chosen on val" if choose_on else "all for want of validation images"
    print_table(
        f"snapshots: {figures['ensemble_members']} of {len(differ)} members, {why}",
        ["accuracy of", "members", *columns],
        [[row["name"], row["members"], *(row.get(name) for name in columns)] for row in rows],
    )
    if pairs := [100 * value for i, row in enumerate(differ) for value in row[:i]]:
        mean, part = sum(pairs) / len(pairs), {"val": "validation"}.get(parts[0], parts[0])
        print(
            f"two members differ on {min(pairs):.1f} to {max(pairs):.1f} % of the {part} images, {mean:.1f} on average"
        )
