"""``Recipe``: a list of stages, run one after the other on anybody's module."""

import copy
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from lightcycle.callbacks import (
    BaseRates,
    GradualUnfreezing,
    LastCheckpoint,
    LRFinder,
    ParamScheduler,
    Recorder,
    StepSeed,
    StopOnOverfitting,
)
from lightcycle.recipes import timeline
from lightcycle.recipes.record import FOLDER, StageRecord, holds_another, stem
from lightcycle.recipes.resume import find, forget
from lightcycle.recipes.runner import Fit, run_fits
from lightcycle.recipes.stage import WORDS, Stage
from lightcycle.report.timeline import draw


class Recipe:
    """A run of several stages with one Trainer: epochs, steps and loggers count on, the optimizer is new in each.

    Args:
        stages: in order.

    Raises:
        ValueError: if there is no stage, or two have one name.

    ::

        Recipe([
            Stage(name="head", epochs=2, schedule=OneCycle(), lr="auto", depth=1),
            Stage(name="all", schedule=SGDR(cycles=3), lr={"first": 1e-4, "last": 1e-2}, until="overfitting"),
        ]).fit(module, datamodule, folder="outputs/mine", accelerator="auto")

    Source: TrainingPhase of fast.ai 0.7, in other words.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        names = [stage.name for stage in stages]
        if not names:
            raise ValueError("a recipe needs at least one stage")
        if stages[0].lr == "same":
            raise ValueError(f"stage {names[0]} has lr='same', and there is none before it; give it a rate, or 'auto'")
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two stages of a recipe are called {twice[0]}; give each a name of its own")
        self.stages = list(stages)

    def fit(
        self,
        module: LightningModule,
        datamodule: LightningDataModule | None = None,
        *,
        folder: str | os.PathLike,
        seed: int = 0,
        watch: str = "val/acc",
        resume: str | os.PathLike | None = None,
        **options: Any,
    ) -> list[StageRecord]:
        """Runs the stages; leaves ``checkpoints/``, ``stages/``, finder curves and ``timeline.png`` in the folder.

        Args:
            module: images to a loss; one optimizer that Lightning steps, no LR scheduler of its own.
            datamodule: of the stages that have none of their own; `None` where the module has its loaders.
            folder: where the run's files go.
            seed: of the randomness in steps, and of the finder's batches.
            watch: the metric in the picture.
            resume: a run's folder, or a checkpoint file; a folder without a checkpoint starts anew. A run that was over
                gives its records and weights once more.
            options: Lightning's Trainer's; its callbacks are copied for each stage.

        Returns:
            A record for each stage.

        Raises:
            ValueError: in a sentence, if the folder holds another run, or a checkpoint is of another recipe.
        """
        if bound := [name for name in ("max_epochs", "max_steps") if name in options]:
            raise ValueError(f"{bound[0]} comes from the stages' lengths; leave it out")
        folder, shared = Path(folder), options.pop("callbacks", None) or []
        if holds_another(folder, resume):
            raise ValueError(
                f"folder must be one without a run (got {folder}, which holds one); resume={str(folder)!r} goes on "
                "with it, another folder begins anew"
            )
        folder.mkdir(parents=True, exist_ok=True)
        place = find(resume, [stage.name for stage in self.stages])
        usual = {"default_root_dir": folder, "num_sanity_val_steps": 0, "max_epochs": 1, "enable_checkpointing": False}
        trainer = Trainer(**{**usual, **options})
        shared = [*shared, *trainer.callbacks]
        if place.root is None and trainer.is_global_zero:
            forget(folder)  # torn checkpoints, and what lies beside them
        if place.said and trainer.is_global_zero:
            print(place.said)
        fits = [self._fit(i, module, datamodule, folder, seed, watch, shared) for i in range(len(self.stages))]
        records, _ = run_fits(trainer, fits, folder, place)
        if trainer.is_global_zero:
            draw(self.timeline(records), folder / "timeline.png")
        return records

    def timeline(self, records: Sequence[StageRecord]) -> timeline.Timeline:
        """The picture's data: the plan of every stage and what happened."""
        pieces = []
        for record in records:
            piece = timeline.applied(record, self.stages[record.index].schedule)
            pieces.append(piece if record is records[-1] else timeline.cut(piece, record.steps))
        return timeline.joined(" · ".join(r.name for r in records), [r.name for r in records], pieces)

    def _fit(
        self, index: int, module: LightningModule, datamodule: Any, folder: Path, seed: int, watch: str, shared: list
    ) -> Fit:
        stage = self.stages[index]
        return Fit(
            name=stage.name,
            schedule=stage.schedule,
            epochs=stage.length,
            callbacks=[*_callbacks(stage, index, folder, seed, watch), *copy.deepcopy(shared)],
            module=freed(module, stage.module),
            data=lambda: _data(stage, datamodule),
            carries=index > 0 and stage.lr in WORDS,
        )


def _data(stage: Stage, datamodule: Any) -> Any:
    if callable(stage.data):
        return stage.data(datamodule)
    return datamodule if stage.data is None else stage.data


def freed(net: Any, make: Callable[[Any], Any] | None = None) -> Callable[[], Any]:
    """Makes a stage's module when it begins, with everything trainable that is so now, whatever stages before froze."""
    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]

    def module() -> Any:
        for parameter in trainable:
            parameter.requires_grad_(True)
        return net if make is None else make(net)

    return module


def _callbacks(stage: Stage, index: int, folder: Path, seed: int, watch: str) -> list[Callback]:
    """Depth, rates, finder, schedule, then the stage's own."""
    depth = [] if stage.depth is None else [GradualUnfreezing(at=[], start=stage.depth, groups=stage.groups)]
    rates = [] if stage.lr in (None, *WORDS) else [BaseRates(stage.lr, stage.groups)]
    where = folder / FOLDER / stem(index, stage.name)
    finder = [LRFinder(apply=True, seed=seed, folder=where)] if stage.lr == "auto" else []
    stop = [StopOnOverfitting()] if stage.until == "overfitting" else []
    return [
        StepSeed(seed),
        *depth,
        *rates,
        *finder,
        ParamScheduler(stage.schedule, stretch=stage.stretches),
        *copy.deepcopy(list(stage.callbacks)),
        *stop,
        Recorder(watch),
        LastCheckpoint(folder / "checkpoints"),
    ]
