"""What a run leaves in its folder: summary.json, the timeline with what happened, the page, the short table."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from omegaconf import OmegaConf

from lightcycle.app import environment, overview, perf, plan, resizing
from lightcycle.app.settings import Settings
from lightcycle.callbacks.checkpoints import LAST
from lightcycle.recipes import StageRecord, timeline
from lightcycle.recipes.record import PAGE, finished
from lightcycle.report.files import write_json, write_text
from lightcycle.report.run_page import page_of
from lightcycle.report.table import print_table
from lightcycle.report.timeline import Timeline, draw

Stages, Records = list[Settings], list[StageRecord]


def files(
    stages: Stages,
    choices: dict[str, str],
    folder: Path,
    trainer: Trainer,
    records: Records,
    figures: dict[str, float],
) -> dict[str, Any]:
    """Writes everything, and returns the summary; called once, on the first process."""
    (folder / PAGE).unlink(missing_ok=True)  # of a run that was stopped: the page is what says that this one is over
    summary = summarize(stages, choices, trainer, records, figures)
    title = overview.headline(stages, choices)
    summary["title"] = title
    write_json(folder / "summary.json", summary)
    draw(applied_timeline(stages, records, title), folder / "timeline.png")
    if summary["lr_find"]:
        _note_found(folder / "config.yaml", summary["lr_find"])
    page_of(folder)
    print_table("", ["", ""], [*_rows(summary), ["folder", str(folder)]])
    return summary


def interrupted(stages: Stages, choices: dict[str, str], folder: Path, trainer: Trainer) -> None:
    """The same for a run that somebody stopped, as far as it came; nothing where nothing has happened.

    Training takes the summary of before away: where it is there, this process has only looked at what it goes on with.
    """
    if (folder / "summary.json").exists() or trainer.datamodule is None:
        return
    records = finished(folder, [s.name for s in stages])
    if records:
        records[-1].interrupted = True  # the run was: behind this stage, if not in it
        files(stages[: len(records)], choices, folder, trainer, records, records[-1].figures)


def checkpoints(trainer: Trainer, folder: Path) -> dict[str, str]:
    """Paths of the weights that a run keeps: ``last``, and ``best`` where one is picked."""
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    return {"last": str(folder / "checkpoints" / LAST), **({"best": best} if best else {})}


def _note_found(path: Path, found: list[dict[str, Any]]) -> None:
    """Adds what the finder found to config.yaml, beside the ``lr`` that was asked for."""
    config = OmegaConf.load(path)
    config.found = {"lr_find": found}
    write_text(path, OmegaConf.to_yaml(config))


def summarize(
    stages: Stages, choices: dict[str, str], trainer: Trainer, records: Records, figures: dict[str, float]
) -> dict[str, Any]:
    """Every figure of the run, with what is needed to believe it."""
    last, settings, counts = records[-1], stages[-1], trainer.datamodule.counts
    seconds = sum(record.seconds for record in records)
    images = sum(plan.images(s, counts, record.steps) for s, record in zip(stages, records, strict=True))
    return {
        **figures,
        "epochs": sum(record.epochs for record in records),
        "steps": last.last_step,
        "seconds": seconds,
        "images_per_second": images / seconds,
        "schedule": choices["schedule"],
        "lr": last.rates[-1][1],
        "lr_find": findings(records),
        **resizing.figures(trainer),
        "features": settings.features,
        "features_seconds": _sum(record.features_seconds for record in records),
        "seed": settings.seed,
        "monitor": settings.monitor,
        "parameters": sum(p.numel() for p in trainer.lightning_module.parameters()),
        **perf.figures(settings),
        "devices": trainer.world_size,
        "stages": [_stage(s, record) for s, record in zip(stages, records, strict=True)],
        "interrupted": last.interrupted,
        "choices": choices,
        "git_commit": environment.git_commit(),
        "versions": environment.versions(),
        "machine": environment.machine(),
    }


def _sum(seconds: Iterable[float | None]) -> float | None:
    known = [each for each in seconds if each is not None]
    return sum(known) if known else None


def _stage(settings: Settings, record: StageRecord) -> dict[str, Any]:
    """One stage in a few figures."""
    return {
        "name": record.name,
        "schedule": type(settings.schedule).__name__,
        "features": settings.features,
        "lr": record.rates[-1][1],
        "epochs": record.epochs,
        "steps": record.steps,
        "planned_steps": record.planned,
        "seconds": record.seconds,
        **{name: value for name, value in record.figures.items() if name.startswith("val/")},
    }


def applied_timeline(stages: Stages, records: Records, title: str) -> Timeline:
    """The plan, and over it what the optimizer really had and the losses it met."""
    pieces = []
    for settings, record in zip(stages, records, strict=True):
        piece = timeline.applied(record, settings.schedule, title, plan.has_momentum(settings))
        piece.tracks["pixels"] = plan.timeline(settings, timeline.bound(record, settings.schedule), "").tracks["pixels"]
        pieces.append(piece if record is records[-1] else timeline.cut(piece, record.steps))
    return overview.whole(stages, pieces, title)


def findings(records: Records) -> list[dict[str, Any]]:
    """What the LR finder found, in order; nothing where none ran."""
    several = len(records) > 1
    return [{**({"stage": r.name} if several else {}), **found} for r in records for found in r.lr_find]


def _rows(summary: dict[str, Any]) -> list[list[Any]]:
    """The short table at the end of a run."""
    shown = [name for name in sorted(summary) if "/" in name and name != "train/loss"]  # that is one batch's
    several = summary["stages"] if len(summary["stages"]) > 1 else []
    return [
        *([name, f"{summary[name]:.4f}"] for name in shown),
        *([f"stage {stage['name']}", _short(stage, summary["monitor"])] for stage in several),
        ["lr", f"{summary['lr']:.3g}"],
        ["epochs", f"{summary['epochs']:g}"],
        ["steps", summary["steps"]],
        ["seconds", f"{summary['seconds']:.1f}"],
        ["images per second", f"{summary['images_per_second']:,.0f}"],
        *([["interrupted", "yes"]] if summary["interrupted"] else []),
    ]


def _short(stage: dict[str, Any], monitor: str) -> str:
    value = f"{monitor} {stage[monitor]:.4f}, " if monitor in stage else ""
    return f"{value}{stage['epochs']:g} epochs, lr {stage['lr']:.3g}, {stage['seconds']:.1f} s"
