"""What is allowed and seldom meant, a sentence each before the first step. No torch, no pixels."""

from lightcycle.app import resizing
from lightcycle.app.layers import plain
from lightcycle.app.schema import typed
from lightcycle.app.settings import Settings
from lightcycle.data.count import Counts
from lightcycle.schedules import MetricDriven

FEW = 50
"""Validation images below which a choice among models is chance: each moves the accuracy by more than two points."""

DECIDED = {
    "checkpoint": "the best checkpoint",
    "early_stopping": "when to stop",
    "stop_on_overfitting": "when to stop",
    "snapshot_ensemble": "which snapshots vote",
}


def lines(stages: list[Settings], counts: list[Counts]) -> list[str]:
    """The warnings of a run of these stages; none for most."""
    found = [*_epochs(stages), *_untrained(stages[0]), *_few(stages, counts[0].val)]
    found += [line for s, c in zip(stages, counts, strict=True) for line in resizing.beyond(s, c)]
    return [f"warning: {line}" for line in dict.fromkeys(found)]


def _epochs(stages: list[Settings]) -> list[str]:
    """A length asked for at the top level, where some stages have their own."""
    entries = plain(stages[0].config.recipe.stages)
    own = [entry["name"] for entry in entries if "epochs" in entry]
    taking = [s for s in stages if s.name not in own]
    if "epochs" not in typed() or not own or not taking:
        return []
    names = ", ".join(s.name for s in taking)
    said = "those with a length of their own keep it"
    return [f"epochs={taking[0].epochs:g} is the length of the stages {names}; {said}: {', '.join(own)}"]


def _untrained(first: Settings) -> list[str]:
    """Features of a body that nobody has trained."""
    if first.features != "cached" or getattr(first.model, "weights", None):
        return []
    return [
        "features=cached freezes a body that has learned nothing, since the model has no trained weights: the head "
        "learns from random features; set model.weights=DEFAULT, with model=torchvision or timm, or a file"
    ]


def _few(stages: list[Settings], n: int) -> list[str]:
    """So few validation images that what they decide is chance."""
    if not 0 < n < FEW:
        return []
    decided = dict.fromkeys(what for s in stages for what in _decided(s))
    if not decided:
        return []
    return [
        f"{n} validation images decide {', '.join(decided)}, and each is {100 / n:.1f} points of accuracy: that is "
        f"chance; have {FEW} or more"
    ]


def _decided(settings: Settings) -> list[str]:
    """What the validation images decide in a stage."""
    entries = settings.config.callbacks.items()
    keys = [key for key, entry in entries if entry and str(entry.get("monitor")).startswith("val/")]
    rate = ["the learning rate"] if isinstance(settings.schedule, MetricDriven) else []
    return [*(DECIDED.get(key, f"callbacks.{key}") for key in keys), *rate]
