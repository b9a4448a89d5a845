"""One run, from the composed config to the files it leaves behind."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from lightcycle.app import plan as planning
from lightcycle.app.settings import Settings, read
from lightcycle.data.count import Counts, count
from lightcycle.report.files import write_text
from lightcycle.report.timeline import draw


def train(config: DictConfig) -> float | None:
    """Trains, tests once, writes what the run leaves; returns the watched metric, for sweepers."""
    settings = read(config)
    choices = planning.chosen(HydraConfig.get().runtime.choices)
    folder = Path(HydraConfig.get().runtime.output_dir).absolute()
    counts = count(settings.data)
    plan = planning.bound(settings, planning.horizon(settings, counts))

    from lightcycle.app.quiet import is_interactive, silence

    silence()
    from lightning.pytorch.utilities.rank_zero import rank_zero_only

    if rank_zero_only.rank == 0:
        write_text(folder / "config.yaml", saved_config(config, choices))
        draw(planning.timeline(settings, plan, planning.title(settings, choices)), folder / "timeline.png")
        print(planning.title(settings, choices))
        print(planning.describe(settings, plan, counts))
    return _fit_and_test(settings, choices, folder, counts, plan.steps, interactive=is_interactive())


def _fit_and_test(
    settings: Settings, choices: dict[str, str], folder: Path, counts: Counts, steps: int, *, interactive: bool
) -> float | None:
    from lightning.pytorch import seed_everything

    from lightcycle.app import build, leave
    from lightcycle.data.module import build as build_data
    from lightcycle.models.classifier import Classifier

    seed_everything(settings.seed, verbose=False)
    data = build_data(settings.data, settings.seed)
    net = settings.model.build(channels=counts.channels, size=tuple(counts.size), classes=counts.classes)
    optimizer = replace(settings.optimizer, lr=settings.lr)
    module = Classifier(net, optimizer.build, label_smoothing=settings.label_smoothing)
    trainer = build.trainer(settings, folder, steps, interactive=interactive)
    for logger in trainer.loggers:
        logger.log_hyperparams({**OmegaConf.to_container(settings.config), "choices": choices})

    began = time.perf_counter()
    trainer.fit(module, datamodule=data, ckpt_path=settings.resume, weights_only=True)
    seconds = time.perf_counter() - began
    figures = _numbers(trainer.callback_metrics)
    if not (folder / "checkpoints" / "last.ckpt").exists() and trainer.checkpoint_callback:
        trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt")
    if settings.test != "none" and counts.test:
        best = trainer.checkpoint_callback.best_model_path if settings.test == "best" else None
        trainer.test(module, datamodule=data, ckpt_path=best, verbose=False, weights_only=True)
        figures |= _numbers(trainer.callback_metrics)
    if trainer.is_global_zero:
        leave.files(settings, choices, folder, trainer, figures, seconds)
    return watched(figures, settings.monitor)


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
