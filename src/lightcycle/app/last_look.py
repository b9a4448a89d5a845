"""The last look of a run at images: what its model gets wrong, for the page that the run leaves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from lightcycle.app.ensemble import looked_at, on, passes_of
from lightcycle.app.evaluate import figures, keep
from lightcycle.app.mistakes import draw

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

    from lightcycle.app.settings import Settings
    from lightcycle.data.module import ImageData

WRONG = 24
"""Mistakes that are shown at most; ``wrong=`` of scripts/evaluate.py shows others."""


def last_look(settings: Settings, folder: Path, trainer: Trainer, module: LightningModule, data: ImageData) -> None:
    """Draws the confusion matrix, the reliability and the worst mistakes of the model that the run has ended with.

    On test images, or on validation images where the test set stays closed; on the first process. What is written is
    what ``scripts/evaluate.py`` writes, which does the same for other weights of the run.
    """
    parts = looked_at(settings, trainer, data)
    if not trainer.is_global_zero or not parts or trainer.fast_dev_run:
        return
    part, name = parts[-1], "best" if settings.test == "best" and parts[-1] == "test" else "last"
    passes, began = passes_of(settings, trainer, data, parts), time.perf_counter()
    with on(passes.device, module):
        p = passes.plain(module, part, text=f"{part} images")[0]
    labels = passes.labels(part)
    found = {"images": len(labels), "members": None, "pictures": name}
    found["rows"] = [figures(name, None, p, labels, time.perf_counter() - began)]
    wrong = WRONG if settings.features == "live" else 0  # features are no images
    keep(folder, part, found | draw(folder, data, part, p, labels, name, wrong))
