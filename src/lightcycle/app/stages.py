"""From the settings of the stages to fits of one trainer: nets, data, callbacks, each made once."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from lightning.pytorch import Trainer, seed_everything
from torch import nn

from lightcycle.app import build, features, layers, perf, resizing
from lightcycle.app.settings import Settings
from lightcycle.data.count import Counts
from lightcycle.data.module import ImageData
from lightcycle.data.module import build as build_data
from lightcycle.models import weights_stats
from lightcycle.models.classifier import Classifier
from lightcycle.recipes.recipe import freed
from lightcycle.recipes.record import FOLDER, stem
from lightcycle.recipes.runner import Fit
from lightcycle.schedules import BoundSchedule


@dataclass
class Part:
    """What one stage trains, and on what."""

    settings: Settings
    net: nn.Module
    images: ImageData

    @cached_property
    def both(self) -> tuple[Classifier, ImageData]:
        """The module and its data; cached features stand for the images, and the head for the net."""
        settings, net, data = self.settings, self.net, self.images
        if settings.features == "cached":
            data, net = features.cached(settings, data, net)
        groups = layers.of_net(settings, net)
        optimizer = replace(settings.optimizer, lr=settings.lr)
        return Classifier(net, optimizer.build, label_smoothing=settings.label_smoothing, **groups), data

    def begin(self) -> Classifier:
        """The module, made anew: a head over cached features freezes the body when it is made."""
        self.__dict__.pop("both", None)
        return self.both[0]


@dataclass
class Run:
    """A run, ready to start: the trainer, and for each stage what it trains and its fit."""

    trainer: Trainer
    parts: list[Part]
    fits: list[Fit]

    def rates(self) -> list[dict[str, float]]:
        """Base rate of each layer group, for each stage."""
        return [layers.by_name(**layers.of_net(part.settings, part.net)) for part in self.parts]


def prepare(
    stages: list[Settings], folder: Path, counts: list[Counts], plans: list[BoundSchedule], *, interactive: bool
) -> Run:
    """The run; whatever can be refused is refused by now, and no pixel is read."""
    first = stages[0]
    folders = [folder if len(stages) == 1 else folder / FOLDER / stem(s.index, s.name) for s in stages]
    callbacks = [
        build.callbacks(s, where, plan, interactive=interactive)
        for s, where, plan in zip(stages, folders, plans, strict=True)
    ]
    trainer = build.trainer(first, folder, plans[0], callbacks[0], interactive=interactive)
    seed_everything(first.seed, verbose=False)
    net = first.model.build(channels=counts[0].channels, size=tuple(counts[0].size), classes=counts[0].classes)
    net = perf.prepare(first, net)
    images = build_data(first.data, first.seed, weights_stats(first.model))
    parts = [Part(s, net, images if s.data == first.data else images.with_config(s.data)) for s in stages]
    for part, counted in zip(parts, counts, strict=True):
        resizing.check_net(part.settings, net, counted)
        resizing.check_graphs(part.settings, counted)
        layers.of_net(part.settings, net)
    return Run(trainer, parts, [_fit(*each, net) for each in zip(parts, callbacks, plans, strict=True)])


def _fit(part: Part, callbacks: list, plan: BoundSchedule, net: nn.Module) -> Fit:
    settings = part.settings
    whole = settings.epochs == int(settings.epochs)
    return Fit(
        name=settings.name,
        schedule=settings.schedule,
        epochs=math.ceil(settings.epochs),
        callbacks=callbacks,
        module=freed(net, lambda _: part.begin()),
        data=lambda: part.both[1],
        carries=settings.carries,
        max_steps=settings.trainer.max_steps if whole else plan.steps,
    )
