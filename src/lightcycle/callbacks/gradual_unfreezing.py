"""``GradualUnfreezing``: trains the head first, and the layer groups below it from their time on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import nn

from lightcycle.callbacks.clock import StageClock
from lightcycle.callbacks.layer_groups import layer_groups_of
from lightcycle.callbacks.param_scheduler import ON_RESUME
from lightcycle.callbacks.ranks import compare_ranks, refuse_sharded, rewrap
from lightcycle.schedules import BoundUnfreezing, Horizon, Unfreezing
from lightcycle.transfer.freezing import check_policy, set_modes, set_trainable
from lightcycle.transfer.groups import LayerGroup


class GradualUnfreezing(Callback):
    """Freezes the network but for its head, and unfreezes it layer group by layer group.

    What trains is a function of the step, so that a resumed run has the map of the straight one. All parameters belong
    into the optimizer from the start: frozen ones get no gradient and are left alone by it, and momenta of those that
    train already are kept. Frozen parts cost no backward pass. Under DDP the module is wrapped anew at every change,
    and after the first step behind it the processes compare a checksum of their weights. Works with any
    ``LightningModule`` of one optimizer::

        Trainer(max_epochs=6, callbacks=[GradualUnfreezing(at=[1, 2, 4]), ParamScheduler(OneCycle())])

    In the app::

        python train.py +callbacks=gradual_unfreezing callbacks.gradual_unfreezing.at=[1,2] groups=3

    Args:
        every, at, fractions, all_at, start: the plan, as in ``Unfreezing``; one group after every epoch unless given.
        groups: layer groups from the input to the head: ``"stages"``, their number, patterns of parameter names, a
            list, or a function of the module. ``None`` takes the module's own ``layer_groups``, or its stages.
        batchnorm: of frozen groups: ``frozen``, ``stats`` (running statistics go on) or ``train`` (its parameters too).
        steps_per_epoch: for data without a length, as in ``ParamScheduler``.
        on_resume: what to do when a checkpoint was planned otherwise: ``same`` refuses, ``keep`` follows the old
            length, ``replan`` the new plan.

    Raises:
        ValueError: in a sentence, for a plan that is out of range or does not fit the run, for groups that the network
            cannot be split into, manual optimization, sharded strategies and a static graph.

    References: Howard & Ruder, Universal language model fine-tuning, arXiv:1801.06146, section 3.3.
    """

    def __init__(
        self,
        *,
        every: float | None = None,
        at: Sequence[float] | None = None,
        fractions: Sequence[float] | None = None,
        all_at: float | None = None,
        start: int = 1,
        groups: int | str | Mapping[str, str] | Sequence[Any] | Callable[[LightningModule], Any] | None = None,
        batchnorm: str = "frozen",
        steps_per_epoch: int | Sequence[int] | None = None,
        on_resume: str = "same",
    ) -> None:
        check_policy(batchnorm)
        if on_resume not in ON_RESUME:
            raise ValueError(f"on_resume must be one of {', '.join(ON_RESUME)} (got {on_resume!r})")
        self.schedule = Unfreezing(every=every, at=at, fractions=fractions, all_at=all_at, start=start)
        self.how, self.batchnorm, self.on_resume = groups, batchnorm, on_resume
        self.clock = StageClock(steps_per_epoch)
        self.groups: list[LayerGroup] = []
        self.plan: BoundUnfreezing | None = None
        self.depth = self._told = 0
        self._asleep: list[nn.Module] = []
        self._trained: list[nn.Parameter] = []
        self._restored: dict[str, Any] | None = None
        self._compare_at: int | None = None

    # -- the start of a fit ------------------------------------------------------------------------------------------

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Here DDP has wrapped the module. Evaluation mode waits: Lightning warns of it until ``on_train_start``."""
        refuse_sharded(trainer)
        if not pl_module.automatic_optimization:
            raise ValueError(
                f"{type(pl_module).__name__} optimizes manually, so nobody can tell which step it is at; set "
                "automatic_optimization = True, or call lightcycle.transfer.freezing.set_depth yourself"
            )
        self.groups = layer_groups_of(pl_module, self.how, trainer.optimizers)
        self._trained = [parameter for parameter in pl_module.parameters() if parameter.requires_grad]
        self._set_trainable(trainer, pl_module, min(self.schedule.start, len(self.groups)))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        restored, self._restored = self._restored, None
        now = self.clock.start(trainer, resumed=restored is not None)
        run = now if restored is None else self._resume(restored, now)
        self.clock.horizon = run  # a run that is resumed twice follows the same plan
        self.plan = self.schedule.bind(run, len(self.groups), cut=run != now or self.clock.is_cut_short(trainer))
        self._set(trainer, pl_module, self._depth(trainer))
        self._told, self._compare_at = self.depth, trainer.global_step + 1

    def _resume(self, saved: dict[str, Any], now: Horizon) -> Horizon:
        """Settles which length counts."""
        then, names = self.clock.load_state_dict(saved["clock"]), [group.name for group in self.groups]
        same = saved["schedule"] == repr(self.schedule) and saved["groups"] == names
        if (then == now and same) or self.on_resume == "replan" or then is None:
            return now
        if self.on_resume == "keep" and saved["groups"] == names:
            return then
        raise ValueError(
            f"the checkpoint was planned as {saved['schedule']} over {then.steps} steps and the layer groups "
            f"{', '.join(saved['groups'])}, and this run is {self.schedule!r} over {now.steps} and {', '.join(names)}: "
            "other layers would train. Run it as it was, or choose: GradualUnfreezing(..., on_resume='keep') follows "
            "the old length, on_resume='replan' the new plan"
        )

    # -- every step --------------------------------------------------------------------------------------------------

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._set(trainer, pl_module, self._depth(trainer))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Also where an epoch begins without ``on_train_epoch_start``, and where somebody called ``train()``."""
        depth = self._depth(trainer)
        if depth != self.depth or any(part.training for part in self._asleep):
            self._set(trainer, pl_module, depth)
        if depth != self._told:
            self._tell(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._compare_at is not None and trainer.global_step >= self._compare_at:
            self._compare_at = None
            compare_ranks(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for part in self._asleep:  # the next fit finds the module as this one found it
            part.training = True
        for parameter in self._trained:
            parameter.requires_grad_(True)
        self._asleep, self._trained = [], []

    def _depth(self, trainer: Trainer) -> int:
        return self.plan.depth(self.clock.step(trainer))

    def _set(self, trainer: Trainer, pl_module: LightningModule, depth: int) -> None:
        self._set_trainable(trainer, pl_module, depth)
        self._asleep = set_modes(pl_module, self.groups, depth, self.batchnorm)

    def _set_trainable(self, trainer: Trainer, pl_module: LightningModule, depth: int) -> None:
        self.depth = depth
        if set_trainable(pl_module, self.groups, depth, self.batchnorm):
            rewrap(trainer)
            self._compare_at = trainer.global_step + 1  # a step later they would differ

    def _tell(self, trainer: Trainer) -> None:
        joined = [group.name for group in self.groups[-self.depth : len(self.groups) - self._told]]
        self._told = self.depth
        rank_zero_info(
            f"step {trainer.global_step}: {', '.join(joined)} {'joins' if len(joined) == 1 else 'join'}, "
            f"{self.depth} of {len(self.groups)} layer groups train"
        )
        for logger in trainer.loggers:
            logger.log_metrics({"depth": self.depth}, step=trainer.global_step)

    # -- the checkpoint ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "schedule": repr(self.schedule),
            "groups": [group.name for group in self.groups],
            "clock": self.clock.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict
        self.clock.load_state_dict(state_dict["clock"])
