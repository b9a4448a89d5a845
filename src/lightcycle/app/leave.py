"""What a run leaves in its folder: summary.json, the timeline with what happened, the page, the short table."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from omegaconf import OmegaConf

from lightcycle.app import environment, plan
from lightcycle.app.settings import Settings
from lightcycle.callbacks import GradualUnfreezing, LRFinder, ParamScheduler, Recorder
from lightcycle.callbacks.lr_finder import base_lr
from lightcycle.callbacks.range_test import lr_ratios
from lightcycle.report.files import write_json, write_text
from lightcycle.report.page import report
from lightcycle.report.table import print_table
from lightcycle.report.timeline import Timeline, draw


def files(
    settings: Settings,
    choices: dict[str, str],
    folder: Path,
    trainer: Trainer,
    figures: dict[str, float],
    seconds: float,
) -> None:
    """Writes everything; called once, on the first process."""
    summary = summarize(settings, choices, trainer, figures, seconds)
    write_json(folder / "summary.json", summary)
    title = plan.title(settings, choices)
    draw(applied_timeline(settings, trainer, title), folder / "timeline.png")
    if summary["lr_find"]:
        _note_found(folder / "config.yaml", summary["lr_find"])
    rows = _rows(summary)
    pictures = [(f"LR range test, {path.stem}", path.name) for path in sorted(folder.glob("lr_find*.png"))]
    report(
        folder,
        title,
        {name: summary[name] for name in ("test/acc", settings.monitor, "seconds") if name in summary},
        figures=pictures,
        tables=[("Figures of the run", ["", ""], rows)],
        config=(folder / "config.yaml").read_text(),
        environment={**summary["versions"], **summary["machine"], "git commit": summary["git_commit"]},
    )
    print_table("", ["", ""], [*rows, ["folder", str(folder)]])


def _note_found(path: Path, found: list[dict[str, Any]]) -> None:
    """Adds what the finder found to config.yaml, beside the ``lr`` that was asked for."""
    config = OmegaConf.load(path)
    config.found = {"lr_find": found}
    write_text(path, OmegaConf.to_yaml(config))


def refuse_finished(settings: Settings, trainer: Trainer) -> None:
    """Raises a sentence when a checkpoint was resumed from which no step is left."""
    if _the(ParamScheduler, trainer).plan is None:
        raise ValueError(
            f"resume={settings.resume} is at the end of its run, and nothing is left to train; resume an earlier "
            "checkpoint, or go on with epochs=... on_resume=replan"
        )


def summarize(
    settings: Settings, choices: dict[str, str], trainer: Trainer, figures: dict[str, float], seconds: float
) -> dict[str, Any]:
    """Every figure of the run, with what is needed to believe it."""
    steps, scheduler, record = trainer.global_step, _the(ParamScheduler, trainer), _the(Recorder, trainer)
    images = plan.images(settings, trainer.datamodule.counts, steps - record.resumed_at)
    return {
        **figures,
        "epochs": scheduler.plan.horizon.epoch_at(steps),
        "steps": steps,
        "seconds": seconds,
        "images_per_second": images / seconds,
        "schedule": choices["schedule"],
        "lr": base_lr(trainer),
        "lr_find": findings(trainer),
        "features": settings.features,
        "features_seconds": getattr(trainer.datamodule, "filled_seconds", None),
        "seed": settings.seed,
        "monitor": settings.monitor,
        "parameters": sum(p.numel() for p in trainer.lightning_module.parameters()),
        "precision": str(settings.trainer.precision),
        "devices": trainer.world_size,
        "choices": choices,
        "git_commit": environment.git_commit(),
        "versions": environment.versions(),
        "machine": environment.machine(),
    }


def applied_timeline(settings: Settings, trainer: Trainer, title: str) -> Timeline:
    """The plan, and over it what the optimizer really had and the losses it met."""
    record = _the(Recorder, trainer)
    picture = plan.timeline(settings, _the(ParamScheduler, trainer).plan, title)
    lines, points = _lines(record.groups), record.points
    rates, ratios = _planned_rates(trainer, settings.lr), lr_ratios(trainer.optimizers[0])
    picture.lr = {name: [ratios[i] * rate for rate in rates] for name, i in lines.items()}
    picture.applied_lr = {name: [(p[0], p[1][i]) for p in points] for name, i in lines.items()}
    for callback in trainer.callbacks:
        if isinstance(callback, GradualUnfreezing):
            picture.tracks = {"groups that train": callback.plan.points}
    picture.applied_momentum = [(p[0], p[2]) for p in points if p[2] is not None]
    picture.loss = [(p[0], p[3]) for p in points]
    picture.val, picture.val_name = record.validations, settings.monitor
    return picture


def _lines(groups: list[str]) -> dict[str, int]:
    """What has a line in the picture, and the place of its rate: layer groups, or the optimizer's groups without any.

    >>> _lines(["stem/decay", "stem/no_decay", "head/decay"]), _lines(["decay", "no_decay"])
    ({'stem': 0, 'head': 2}, {'decay': 0, 'no_decay': 1})
    """
    names = [name.rpartition("/")[0] or name for name in groups]
    return {name: names.index(name) for name in dict.fromkeys(names)}


def findings(trainer: Trainer) -> list[dict[str, Any]]:
    """What the LR finder found, in order; nothing where none ran."""
    return [record for c in trainer.callbacks if isinstance(c, LRFinder) for record in c.found.values()]


def _planned_rates(trainer: Trainer, lr: float) -> list[float]:
    """The plan over the base rates that were found on the way."""
    plan, applied = _the(ParamScheduler, trainer).plan, [f for f in findings(trainer) if f["applied"] is not None]
    bases = [(found["step"], found["applied"]) for found in applied]
    return [next((b for at, b in reversed(bases) if at <= s), lr) * plan.factor(s) for s in range(plan.steps)]


def _the(kind: type, trainer: Trainer) -> Any:
    """The trainer's callback of a kind."""
    return next(callback for callback in trainer.callbacks if isinstance(callback, kind))


def _rows(summary: dict[str, Any]) -> list[list[Any]]:
    """The short table at the end of a run."""
    shown = [name for name in sorted(summary) if "/" in name and name != "train/loss"]  # that is one batch's
    return [
        *([name, f"{summary[name]:.4f}"] for name in shown),
        ["lr", f"{summary['lr']:.3g}"],
        ["epochs", f"{summary['epochs']:g}"],
        ["steps", summary["steps"]],
        ["seconds", f"{summary['seconds']:.1f}"],
        ["images per second", f"{summary['images_per_second']:,.0f}"],
    ]
