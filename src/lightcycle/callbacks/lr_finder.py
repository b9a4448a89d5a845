"""``LRFinder``: an LR range test inside the fit that leaves no trace, judged by a rule that may say no."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from lightcycle.callbacks.clock import StageClock
from lightcycle.callbacks.findings import AccuracyFinding, LossFinding, sentence
from lightcycle.callbacks.param_scheduler import base_lrs, refuse_other_hands, set_lr
from lightcycle.callbacks.randomness import step_key
from lightcycle.callbacks.range_test import accuracy_test, lr_ratios, range_test, refuse
from lightcycle.finder import RULES, Curve, Suggestion
from lightcycle.finder.ramp import Ramp
from lightcycle.schedules import Schedule


class LRFinder(Callback):
    """Finds the learning rate where the loss still clearly falls, at the start, at epochs, or before each restart.

    A run in which the suggestion is not applied is bit-identical to a run without this callback. Put it in front of
    the ``ParamScheduler``::

        Trainer(callbacks=[LRFinder(apply=True), ParamScheduler(OneCycle())])

    In the app ``lr=auto`` switches it on, or, with its own settings::

        python train.py +callbacks=lr_finder callbacks.lr_finder.sweeps=3 callbacks.lr_finder.at=[0,4]

    Args:
        at: ``start`` of the fit, ``cycles`` (the first step of every cycle of ``schedule``), or a list of epochs.
        apply: makes the suggestion the base rate; the groups keep their ratios. Without a suggestion nothing changes.
        rule: one of ``auto``, ``steepest``, ``valley``, ``minimum_over_10``, ``slide``, ``divergence_over_10``.
        ramp: ``exponential`` or ``linear`` (training loss), or ``triangular`` (one oscillation, validation accuracy).
        num_steps: optimizer steps of a sweep.
        min_lr, max_lr: ends of the ramp, for the fastest parameter group; ``None`` is 1e-6 to 10, triangular 0 to 1.
        sweeps: how many, each on other batches; their spread says how far seeds disagree.
        schedule: whose cycles ``at="cycles"`` means.
        folder: where ``lr_find.json`` and ``lr_find.png`` go; the trainer's default folder when ``None``.
        seed: of the batches.
        steps_per_epoch: for data without a length, as in ``ParamScheduler``.

    Raises:
        ValueError: in a sentence, for wrong arguments, sharded strategies, manual optimization, data that cannot be
            doubled.

    References: Smith, Cyclical learning rates for training neural networks, arXiv:1506.01186, section 3.3.
    """

    def __init__(
        self,
        *,
        at: str | Sequence[int] = "start",
        apply: bool = False,
        rule: str = "auto",
        ramp: str = "exponential",
        num_steps: int = 100,
        min_lr: float | None = None,
        max_lr: float | None = None,
        sweeps: int = 3,
        schedule: Schedule | None = None,
        folder: str | Path | None = None,
        seed: int = 0,
        steps_per_epoch: int | Sequence[int] | None = None,
    ) -> None:
        at = [at] if isinstance(at, int) and not isinstance(at, bool) else at
        check_at(at)
        ends = (0.0, 1.0) if ramp == "triangular" else (1e-6, 10.0)
        min_lr, max_lr = (end if given is None else given for given, end in zip((min_lr, max_lr), ends, strict=True))
        if rule not in RULES:
            raise ValueError(f"lr_finder.rule must be one of {', '.join(RULES)} (got {rule!r})")
        for name, value, usual in (("sweeps", sweeps, 3), ("num_steps", num_steps, 100)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"lr_finder.{name} must be a whole number >= 1 (got {value!r}); {usual} is usual")
        self.at = at if isinstance(at, str) else sorted(at)
        self.apply, self.rule, self.sweeps, self.seed = apply, rule, sweeps, seed
        self.ramp = Ramp(kind=ramp, min_lr=min_lr, max_lr=max_lr, steps=num_steps)
        self.schedule, self.folder = schedule, folder
        self.clock = StageClock(steps_per_epoch)
        self.found: dict[int, dict[str, Any]] = {}
        self._steps: set[int] = set()
        self._resumed = False

    # -- when --------------------------------------------------------------------------------------------------------

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        refuse(trainer, pl_module)
        if self.apply:
            refuse_other_hands(trainer, pl_module)
        if self.at == "cycles" and self.schedule is None:
            raise ValueError("lr_finder.at=cycles needs to know whose cycles: LRFinder(at='cycles', schedule=SGDR())")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        horizon = self.clock.start(trainer, resumed=self._resumed)
        self._resumed = False
        self._steps = {0}
        if not isinstance(self.at, str) and horizon.epochs is not None and self.at[-1] >= trainer.max_epochs > 0:
            raise ValueError(
                f"lr_finder.at={list(self.at)}, and the run has the epochs 0 to {trainer.max_epochs - 1}: it would "
                "never come; at=start finds before the first step"
            )
        if self.at == "cycles":
            misfit = horizon.epochs is not None and self.schedule.misfit(horizon.epochs) is not None
            ends = self.schedule.bind(horizon, stretch=misfit or self.clock.is_cut_short(trainer)).cycle_ends
            if not ends:
                raise ValueError(
                    f"lr_finder.at=cycles, but {type(self.schedule).__name__} has no cycles; use at=start, or a list "
                    "of epochs such as at=[0,4]"
                )
            self._steps = {0, *ends[:-1]}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step not in self.found and self._is_time(trainer, batch_idx):
            self.find(trainer, pl_module)

    def _is_time(self, trainer: Trainer, batch_idx: int) -> bool:
        if isinstance(self.at, str):
            return self.clock.step(trainer) in self._steps
        return batch_idx == 0 and trainer.current_epoch in self.at

    # -- what --------------------------------------------------------------------------------------------------------

    def find(self, trainer: Trainer, pl_module: LightningModule) -> Suggestion:
        """Sweeps, judges, writes, and applies if asked."""
        seeds = [step_key(self.seed, trainer.global_step, sweep) for sweep in range(self.sweeps)]
        if self.ramp.kind == "triangular":
            finding = AccuracyFinding(*accuracy_test(trainer, pl_module, self.ramp, seeds[0]))
        else:
            sweeps = [range_test(trainer, pl_module, self.ramp, seed, k) for k, seed in enumerate(seeds)]
            finding = LossFinding(Curve(self.ramp.rates(), sweeps), self.rule)
        said, before = finding.suggestion, base_lr(trainer)
        applied = said.lr if self.apply else None
        if applied is not None:
            apply_base_lr(trainer, applied)
        record = {"step": trainer.global_step, "epoch": trainer.current_epoch, "suggestion": said.lr}
        record |= {"reason": said.reason, "applied": applied, "before": before, **finding.bounds()}
        self.found[trainer.global_step] = record
        self._tell(trainer, finding, record)
        return said

    def _tell(self, trainer: Trainer, finding: "LossFinding | AccuracyFinding", record: dict[str, Any]) -> None:
        name = "lr_find" if len(self.found) == 1 else f"lr_find-step{trainer.global_step}"
        if trainer.is_global_zero:
            finding.write(Path(self.folder or trainer.default_root_dir) / name, record)
        say = rank_zero_warn if self.apply and record["applied"] is None else rank_zero_info
        say(f"LR finder: {sentence(record)}")
        for logger in trainer.loggers:
            if record["suggestion"] is not None:
                logger.log_metrics({"lr_find/suggestion": record["suggestion"]}, step=trainer.global_step)
            if hasattr(logger, "log_table"):  # W&B
                columns, rows = finding.table()
                logger.log_table(f"{name}/curve", columns=columns, data=rows)

    # -- the checkpoint ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {"found": self.found, "clock": self.clock.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.found = dict(state_dict["found"])
        self.clock.load_state_dict(state_dict["clock"])
        self._resumed = True


def base_lr(trainer: Trainer) -> float:
    """The base rate of the fastest group."""
    return max(base_lrs(trainer.optimizers[0]))


def apply_base_lr(trainer: Trainer, lr: float) -> None:
    """Makes ``lr`` the base rate of the fastest group; the others keep their ratios, a running schedule its factor."""
    optimizer, before = trainer.optimizers[0], base_lr(trainer)
    for group, ratio in zip(optimizer.param_groups, lr_ratios(optimizer), strict=True):
        factor = float(group["lr"]) / (before * ratio) if before * ratio > 0 else 1.0
        group["initial_lr"] = lr * ratio
        set_lr(group, lr * ratio * factor)


def check_at(at: str | Sequence[int]) -> None:
    """Raises a sentence unless ``at`` is ``start``, ``cycles`` or epochs."""
    epochs = not isinstance(at, str) and len(at) > 0 and all(isinstance(e, int) and e >= 0 for e in at)
    if at not in ("start", "cycles") and not epochs:
        raise ValueError(f"lr_finder.at must be start, cycles or a list of epochs such as [0,4] (got {at!r})")
