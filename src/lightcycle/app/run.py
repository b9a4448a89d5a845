"""One run, from the composed config to the files it leaves behind."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from lightcycle.app import features, layers
from lightcycle.app import plan as planning
from lightcycle.app.settings import Settings, read
from lightcycle.data.count import Counts, count
from lightcycle.report.files import write_text
from lightcycle.report.timeline import draw
from lightcycle.schedules import BoundSchedule

if TYPE_CHECKING:  # torch and Lightning take seconds to import: what the user got wrong is said before
    from lightning.pytorch import Trainer

    from lightcycle.data.module import ImageData
    from lightcycle.models.classifier import Classifier


def train(config: DictConfig) -> float | None:
    """Trains, tests once, writes what the run leaves; returns the watched metric, for sweepers."""
    settings = read(config)
    choices = planning.chosen(HydraConfig.get().runtime.choices)
    folder = Path(HydraConfig.get().runtime.output_dir)
    counts = count(settings.data)
    plan = planning.bound(settings, planning.horizon(settings, counts))
    trainer, data, module = assemble(settings, folder, counts, plan)
    from lightcycle.app import leave, track

    if trainer.is_global_zero:
        rates = layers.by_name(module.layer_groups, module.rates)
        announce(settings, choices, folder, plan, counts, rates, features.describe(data))
    with track.closing():
        for logger in trainer.loggers:
            logger.log_hyperparams({**OmegaConf.to_container(config), "choices": choices})
        began = time.perf_counter()
        trainer.fit(module, datamodule=data, ckpt_path=settings.resume, weights_only=True)
        leave.refuse_finished(settings, trainer)
        seconds = time.perf_counter() - began
        keep_last(trainer, folder)
        figures = evaluated(settings, trainer, data, module)
        if trainer.is_global_zero:
            leave.files(settings, choices, folder, trainer, figures, seconds)
    return watched(figures, settings.monitor)


def evaluated(settings: Settings, trainer: "Trainer", data: "ImageData", module: "Classifier") -> dict[str, float]:
    """The figures of the fit, of a validation where the last one is stale, and of the one look at the test set."""
    figures = _numbers(trainer.callback_metrics)
    if is_unvalidated(trainer):
        trainer.validate(module, datamodule=data, verbose=False)
        figures |= _numbers(trainer.callback_metrics)
    if settings.test != "none" and data.counts.test:
        best = trainer.checkpoint_callback.best_model_path if settings.test == "best" else None
        trainer.test(module, datamodule=data, ckpt_path=best or None, verbose=False, weights_only=True)
        figures |= _numbers(trainer.callback_metrics)
    return figures


def assemble(
    settings: Settings, folder: Path, counts: Counts, plan: BoundSchedule
) -> tuple["Trainer", "ImageData", "Classifier"]:
    """The trainer, the data and the module; whatever can be refused is refused by now, and no pixel is read."""
    from lightcycle.app.quiet import is_interactive, silence

    silence()
    from lightning.pytorch import seed_everything

    from lightcycle.app import build
    from lightcycle.data.module import build as build_data
    from lightcycle.models import weights_stats
    from lightcycle.models.classifier import Classifier

    trainer = build.trainer(settings, folder, plan, interactive=is_interactive())
    seed_everything(settings.seed, verbose=False)
    net = settings.model.build(channels=counts.channels, size=tuple(counts.size), classes=counts.classes)
    data = build_data(settings.data, settings.seed, weights_stats(settings.model))
    if settings.features == "cached":
        data, net = features.cached(settings, data, net)
    optimizer = replace(settings.optimizer, lr=settings.lr)
    groups = layers.of_net(settings, net)
    return trainer, data, Classifier(net, optimizer.build, label_smoothing=settings.label_smoothing, **groups)


def announce(
    settings: Settings,
    choices: dict[str, str],
    folder: Path,
    plan: BoundSchedule,
    counts: Counts,
    rates: dict[str, float],
    inputs: list[str],
) -> None:
    """What is there before the first step: the config, the plan's picture, two lines and those about the inputs."""
    title = planning.title(settings, choices)
    write_text(folder / "config.yaml", saved_config(settings.config, choices))
    draw(planning.timeline(settings, plan, title, rates), folder / "timeline.png")
    print(title, planning.describe(settings, plan, counts), *inputs, sep="\n")


def keep_last(trainer: "Trainer", folder: Path) -> None:
    """``checkpoints/last.ckpt``, where no callback has written it; every process takes part."""
    path = str(folder / "checkpoints" / "last.ckpt")
    if path not in [callback.best_model_path for callback in trainer.checkpoint_callbacks]:
        trainer.save_checkpoint(path, weights_only=False)  # the optimizer too


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
