"""``ParamScheduler``: applies one schedule to the learning rate and the momentum, at every optimizer step."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lightcycle.callbacks.clock import StageClock
from lightcycle.schedules import BoundSchedule, Horizon, MetricDriven, Schedule

QUANTITIES = ("lr", "momentum")
ON_RESUME = ("same", "keep", "replan")


class ParamScheduler(Callback):
    """Sets ``lr = base lr of the group * schedule(step)`` before every optimizer step, and momentum where it moves.

    The base rates are those that ``configure_optimizers`` gave the groups, so that discriminative rates keep their
    ratios; they are kept in the groups as ``initial_lr``, where torch's schedulers keep theirs. Values are recomputed
    from the step: a resumed run continues the trace exactly. Works with any ``LightningModule`` of one optimizer that
    returns no LR scheduler of its own::

        trainer = Trainer(max_epochs=7, callbacks=[ParamScheduler(SGDR(cycles=3, cycle_mult=2))])

    In the app it is always there; its YAML is the schedule group::

        schedule:
          cycles: 3
          cycle_mult: 2

    Args:
        schedule: what to apply.
        quantities: which of ``lr`` and ``momentum`` this callback owns; two callbacks may not own the same one.
        stretch: fits a schedule with a length of its own into the trainer's epochs.
        steps_per_epoch: optimizer steps of an epoch (or a list, one for each), for data that does not say.
        on_resume: what to do when a checkpoint was planned with another length or schedule. ``same`` refuses,
            ``keep`` follows the old length and stays at its last value, ``replan`` follows the new plan.

    Raises:
        ValueError: in a sentence, if another hand is on the same quantity, if the module optimizes manually or has
            several optimizers, if nothing bounds the run, or if the schedule does not fit it.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        quantities: Sequence[str] = QUANTITIES,
        stretch: bool = False,
        steps_per_epoch: int | Sequence[int] | None = None,
        on_resume: str = "same",
    ) -> None:
        if not quantities or not set(quantities) <= set(QUANTITIES):
            raise ValueError(f"quantities must be some of lr, momentum (got {list(quantities)!r})")
        if on_resume not in ON_RESUME:
            raise ValueError(f"on_resume must be one of {', '.join(ON_RESUME)} (got {on_resume!r})")
        self.schedule = schedule
        self.quantities = tuple(quantities)
        self._key = f"ParamScheduler[{','.join(self.quantities)}]"
        self.stretch = stretch
        self.on_resume = on_resume
        self.clock = StageClock(steps_per_epoch)
        self.plan: BoundSchedule | None = None
        self.metric_state = schedule.start() if isinstance(schedule, MetricDriven) else None
        self._restored: dict[str, Any] | None = None
        self._configured: list[float] = []
        self._last_step = -1

    @property
    def state_key(self) -> str:
        """Two of these may live in one trainer, each owning other quantities."""
        return self._key  # Lightning asks at every hook, six times a step

    # -- the start of a fit ------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        others = [c for c in trainer.callbacks if isinstance(c, ParamScheduler) and c is not self]
        shared = {name for other in others for name in other.quantities} & set(self.quantities)
        if stage == "fit" and shared:
            raise ValueError(
                f"two ParamSchedulers set the {' and the '.join(sorted(shared))}; drop one, or give each its own: "
                "ParamScheduler(..., quantities=['lr']) and ParamScheduler(..., quantities=['momentum'])"
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        refuse_other_hands(trainer, pl_module)
        for group in trainer.optimizers[0].param_groups:
            group.setdefault("initial_lr", float(group["lr"]))
        self._configured = base_lrs(trainer.optimizers[0])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        restored, self._restored = self._restored, None
        now = self.clock.start(trainer, resumed=restored is not None)
        if restored is None:
            if isinstance(self.schedule, MetricDriven):
                self.metric_state = self.schedule.start()
        else:
            now = self._resume(restored, now)
            restored_rates = base_lrs(trainer.optimizers[0])
            if restored_rates != self._configured:
                then, here = _few(restored_rates), _few(self._configured)
                rank_zero_info(f"resumed with the checkpoint's base rates {then}, not {here}")
        self.clock.horizon = now  # a run that is resumed twice follows the same plan
        self.plan = self.schedule.bind(now, stretch=self.stretch or self.clock.is_cut_short(trainer))
        self._last_step = -1

    def _resume(self, saved: dict[str, Any], now: Horizon) -> Horizon:
        """Settles which length counts; the base rates came with the optimizer's state."""
        self.metric_state = saved["metric_state"]
        then = self.clock.load_state_dict(saved["clock"])
        if (then == now and saved["schedule"] == repr(self.schedule)) or self.on_resume == "replan" or then is None:
            return now
        if self.on_resume == "keep":
            return then
        raise ValueError(
            f"the checkpoint was planned as {saved['schedule']} over {then.steps} steps, and this run is "
            f"{self.schedule!r} over {now.steps}: the rate would jump. Run it as it was, or choose: "
            "ParamScheduler(..., on_resume='keep') follows the old plan, on_resume='replan' the new one"
        )

    # -- every step --------------------------------------------------------------------------------------------------

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        step = self.clock.step(trainer)
        if step == self._last_step:  # the later batches of an accumulation window
            return
        self._last_step = step
        self.apply(trainer.optimizers[0], step)

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Writes the values of one step into the optimizer's groups."""
        factor, momentum = self.plan.at(step)
        if "lr" in self.quantities:
            if self.metric_state is not None:
                factor *= self.metric_state["factor"]
            for group in optimizer.param_groups:
                set_lr(group, group["initial_lr"] * factor)
        if "momentum" in self.quantities and momentum is not None:
            for group in optimizer.param_groups:
                set_momentum(group, momentum)

    # -- metrics -----------------------------------------------------------------------------------------------------

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and self._watched() and not self._waits_for_epoch_end(trainer):
            self._update(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._watched() and self._waits_for_epoch_end(trainer):
            self._update(trainer)

    def _watched(self) -> tuple[str, ...]:
        return self.schedule.metrics if isinstance(self.schedule, MetricDriven) else ()

    def _waits_for_epoch_end(self, trainer: Trainer) -> bool:
        """Metrics named ``train...`` are whole at the epoch's end; others come with a validation, if there is one."""
        return not trainer.enable_validation or any(name.startswith("train") for name in self._watched())

    def _update(self, trainer: Trainer) -> None:
        logged = trainer.callback_metrics
        if missing := [name for name in self._watched() if name not in logged]:
            raise ValueError(
                f"{type(self.schedule).__name__} watches {' and '.join(missing)}, which nobody logged; "
                f"logged are: {', '.join(sorted(logged)) or 'none'}"
            )
        seen = torch.stack([logged[name].detach().float() for name in self._watched()])
        values = trainer.strategy.reduce(seen, reduce_op="mean").tolist()  # all processes follow one rate
        self.metric_state = self.schedule.update(self.metric_state, dict(zip(self._watched(), values, strict=True)))
        self._last_step = -1

    # -- the checkpoint ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "schedule": repr(self.schedule),
            "clock": self.clock.state_dict(),
            "metric_state": self.metric_state,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict
        self.clock.load_state_dict(state_dict["clock"])


def refuse_other_hands(trainer: Trainer, pl_module: LightningModule) -> None:
    """Raises a sentence unless Lightning steps the (then only) optimizer, with no scheduler beside it."""
    name = type(pl_module).__name__
    if not pl_module.automatic_optimization:
        raise ValueError(
            f"{name} optimizes manually, so nobody can tell which step belongs to which optimizer; set "
            "automatic_optimization = True, or call the schedule yourself: schedule.bind(horizon).factor(step)"
        )
    if trainer.lr_scheduler_configs:
        own = type(trainer.lr_scheduler_configs[0].scheduler).__name__
        raise ValueError(
            f"{name}.configure_optimizers also returns {own}, and two hands on one learning rate undo each other; "
            "return the optimizer alone, or drop the ParamScheduler"
        )


def base_lrs(optimizer: torch.optim.Optimizer) -> list[float]:
    """The base rate of every group; its rate, where no schedule has told the two apart."""
    return [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]


def _few(rates: list[float]) -> str:
    """Rates to read: each once, in three digits.

    >>> _few([0.0024770763559917113, 0.0024770763559917113, 0.1])
    '0.00248, 0.1'
    """
    return ", ".join(dict.fromkeys(f"{rate:.3g}" for rate in rates))


def set_lr(group: dict[str, Any], value: float) -> None:
    """Sets a group's rate; a tensor (capturable or compiled optimizers) is filled in place."""
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(value)
    else:
        group["lr"] = value


def set_momentum(group: dict[str, Any], value: float) -> None:
    """Sets SGD's and RMSprop's momentum where it is on, and Adam's beta1; other optimizers have none."""
    if "betas" in group:
        group["betas"] = (value, *group["betas"][1:])
    elif group.get("momentum"):
        group["momentum"] = value
