"""One run, from the composed config to the files it leaves behind."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from lightcycle.app import features, overview, perf, processes, recipe, sweep
from lightcycle.app import plan as planning
from lightcycle.app.settings import Settings
from lightcycle.data.count import Counts
from lightcycle.report.files import write_text
from lightcycle.report.timeline import draw
from lightcycle.schedules import BoundSchedule

if TYPE_CHECKING:  # torch and Lightning take seconds to import: what the user got wrong is said before
    from lightning.pytorch import Trainer

    from lightcycle.app.stages import Run
    from lightcycle.data.module import ImageData
    from lightcycle.models.classifier import Classifier
    from lightcycle.recipes import Place, StageRecord


def train(config: DictConfig) -> float | None:
    """Trains, stage by stage, tests once, writes what the run leaves; returns the watched metric, for sweepers."""
    stages = recipe.read(config)
    if (done := sweep.finished(config)) is not None:
        return done
    processes.keep_other_run(config.resume)
    choices = planning.chosen(HydraConfig.get().runtime.choices)
    folder = Path(HydraConfig.get().runtime.output_dir)
    counts = overview.counted(stages)
    plans = [planning.bound(s, planning.horizon(s, c)) for s, c in zip(stages, counts, strict=True)]
    run = _prepared(stages, folder, counts, plans)
    processes.check(run.trainer)
    from lightcycle.app import leave, track

    place = _place(stages, folder, run.trainer)
    if run.trainer.is_global_zero:
        announce(config, stages, choices, folder, plans, counts, run, place)
    with track.closing():
        track.begin(run.trainer.loggers, OmegaConf.to_container(config), choices)
        try:
            records, figures = _run(stages[-1], run, folder, place)
        except (KeyboardInterrupt, SystemExit) as stop:  # Lightning answers Ctrl-C by the second
            if run.trainer.is_global_zero and (run.trainer.interrupted or isinstance(stop, KeyboardInterrupt)):
                leave.interrupted(stages, choices, folder, run.trainer)
            raise (stop if isinstance(stop, SystemExit) else SystemExit(1)) from None
        if run.trainer.is_global_zero:
            write_text(folder / "config.yaml", saved_config(config, choices))
            summary = leave.files(stages, choices, folder, run.trainer, records, figures)
            track.finish(run.trainer.loggers, folder, summary, leave.checkpoints(run.trainer, folder))
    return watched(figures, stages[-1].monitor)


def _run(settings: Settings, run: "Run", folder: Path, place: "Place") -> tuple[list["StageRecord"], dict[str, float]]:
    """The fits, then the figures of the last stage, of the test set, and of the ensemble of snapshots."""
    from lightcycle.app import ensemble
    from lightcycle.app.last_look import last_look
    from lightcycle.recipes import run_fits

    records, module = run_fits(run.trainer, run.fits, folder, place)
    data = run.parts[-1].both[1]
    figures = evaluated(settings, run.trainer, data, module, records[-1].figures)
    last_look(settings, folder, run.trainer, module, data)
    return records, figures | ensemble.after_run(settings, folder, run.trainer, module, data)


def evaluated(
    settings: Settings, trainer: "Trainer", data: "ImageData", module: "Classifier", figures: dict[str, float]
) -> dict[str, float]:
    """The figures of the fit, of a validation where the last one is stale, and of the one look at the test set."""
    if is_unvalidated(trainer):
        trainer.validate(module, datamodule=data, verbose=False)
        figures = figures | _numbers(trainer.callback_metrics)
    if settings.test != "none" and data.counts.test:
        best = trainer.checkpoint_callback.best_model_path if settings.test == "best" else None
        trainer.test(module, datamodule=data, ckpt_path=best or None, verbose=False, weights_only=True)
        figures = figures | _numbers(trainer.callback_metrics)
    return figures


def assemble(
    settings: Settings, folder: Path, counts: Counts, plan: BoundSchedule
) -> tuple["Trainer", "ImageData", "Classifier"]:
    """The trainer, the data and the module of one stage, without the runner."""
    run = _prepared([settings], folder, [counts], [plan])
    return run.trainer, *reversed(run.parts[0].both)


def _prepared(stages: list[Settings], folder: Path, counts: list[Counts], plans: list[BoundSchedule]) -> "Run":
    from lightcycle.app.quiet import is_interactive, silence

    silence()
    from lightcycle.app.stages import prepare

    return prepare(stages, folder, counts, plans, interactive=is_interactive())


def _place(stages: list[Settings], folder: Path, trainer: "Trainer") -> "Place":
    """Where the run begins; one that begins anew forgets what another has left in its folder."""
    from lightcycle.recipes import find, forget

    place = find(stages[0].resume, [s.name for s in stages])
    if place.root is None and trainer.is_global_zero:
        forget(folder)
    return place


def announce(
    config: DictConfig,
    stages: list[Settings],
    choices: dict[str, str],
    folder: Path,
    plans: list[BoundSchedule],
    counts: list[Counts],
    run: "Run",
    place: "Place",
) -> None:
    """What is there before the first step: the config, the plan's picture, and a few lines."""
    title = overview.headline(stages, choices)
    if place.root is None or not (folder / "config.yaml").exists():  # a run that goes on may yet be refused
        write_text(folder / "config.yaml", saved_config(config, choices))
        draw(overview.planned(stages, plans, title, run.rates()), folder / "timeline.png")
    inputs = dict.fromkeys(line for part in run.parts for line in features.describe(part.both[1]))
    resumed = [place.said] if place.said else []
    said = [*overview.described(stages, plans, counts), *inputs, perf.describe(stages[0]), *resumed]
    print(title, *said, sep="\n")


def is_unvalidated(trainer: "Trainer") -> bool:
    """Whether the last steps came after the last validation: half an epoch, or an epoch between two validations."""
    from lightcycle.callbacks import Recorder

    validated_at = next(c.validated_at for c in trainer.callbacks if isinstance(c, Recorder))
    return sum(trainer.num_val_batches) > 0 and validated_at != trainer.global_step


def watched(figures: dict[str, float], monitor: str) -> float:
    """The watched metric among the figures of the run.

    >>> watched({"val/acc": 0.9}, "val/acc")
    0.9
    """
    if monitor not in figures:
        raise ValueError(f"monitor={monitor!r} was never logged; logged are: {', '.join(sorted(figures))}")
    return figures[monitor]


def saved_config(config: DictConfig, choices: dict[str, str]) -> str:
    """The resolved config and the choices behind it, as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create({**OmegaConf.to_container(config, resolve=True), "choices": choices}))


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if not name.endswith("_step")}
