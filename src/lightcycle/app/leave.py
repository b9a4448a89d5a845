"""What a run leaves in its folder: summary.json, the timeline with what happened, the page, the short table."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from lightcycle.app import environment, plan
from lightcycle.app.settings import Settings
from lightcycle.callbacks import ParamScheduler, Recorder
from lightcycle.report.files import write_json
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
    rows = _rows(summary)
    report(
        folder,
        title,
        {name: summary[name] for name in ("test/acc", settings.monitor, "seconds") if name in summary},
        tables=[("Figures of the run", ["", ""], rows)],
        config=(folder / "config.yaml").read_text(),
        environment={**summary["versions"], **summary["machine"], "git commit": summary["git_commit"]},
    )
    print_table("", ["", ""], [*rows, ["folder", str(folder)]])


def summarize(
    settings: Settings, choices: dict[str, str], trainer: Trainer, figures: dict[str, float], seconds: float
) -> dict[str, Any]:
    """Every figure of the run, with what is needed to believe it."""
    steps = trainer.global_step
    images = steps * trainer.accumulate_grad_batches * settings.data.batch_size
    return {
        **figures,
        "epochs": trainer.current_epoch,
        "steps": steps,
        "seconds": seconds,
        "images_per_second": images / seconds,
        "schedule": choices["schedule"],
        "lr": settings.lr,
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
    scheduler = next(c for c in trainer.callbacks if isinstance(c, ParamScheduler))
    record = next(c for c in trainer.callbacks if isinstance(c, Recorder))
    picture = plan.timeline(settings, scheduler.plan, title, groups=record.groups)
    points = record.points
    picture.applied_lr = {name: [(p[0], p[1][i]) for p in points] for i, name in enumerate(record.groups)}
    picture.applied_momentum = [(p[0], p[2]) for p in points if p[2] is not None]
    picture.loss = [(p[0], p[3]) for p in points]
    picture.val, picture.val_name = record.validations, settings.monitor
    return picture


def _rows(summary: dict[str, Any]) -> list[list[Any]]:
    """The short table at the end of a run."""
    accuracies = [[name, f"{value:.4f}"] for name, value in sorted(summary.items()) if name.endswith(("/acc", "/loss"))]
    return [
        *accuracies,
        ["epochs", summary["epochs"]],
        ["steps", summary["steps"]],
        ["seconds", f"{summary['seconds']:.1f}"],
        ["images per second", f"{summary['images_per_second']:,.0f}"],
    ]
