"""Which stage of a recipe a fit is, for callbacks that ask."""

from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


@dataclass(frozen=True)
class StagePlace:
    """Where a run is: the stage's name and number, and how far into it.

    Args:
        name: of the stage.
        index, count: its number, from 0, and how many stages there are.
        epoch, step: epochs and optimizer steps since the stage began.
    """

    name: str = "all"
    index: int = 0
    count: int = 1
    epoch: int = 0
    step: int = 0


class StageMark(Callback):
    """Says which stage a fit is, and remembers where it began; a recipe puts it in front of all others.

    Its state tells a resumed run which stage a checkpoint is of, and whether that stage was over.

    Args:
        name: of the stage.
        index, count: its number, from 0, and how many stages there are.
    """

    def __init__(self, name: str = "all", index: int = 0, count: int = 1) -> None:
        self.name, self.index, self.count = name, index, count
        self.first_step = self.first_epoch = 0
        self.finished = False
        self._resumed = False

    def began_at(self, step: int, epoch: int) -> None:
        """Tells where a stage began that is now resumed."""
        self.first_step, self.first_epoch, self._resumed = step, epoch, True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        resumed, self._resumed = self._resumed, False
        if not resumed:
            self.first_step, self.first_epoch = trainer.global_step, trainer.current_epoch
        self.finished = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tells the loggers, where there are several: not earlier, since a record is first cut back to where it is."""
        if self.count > 1 and trainer.current_epoch == self.first_epoch:
            for logger in trainer.loggers:
                logger.log_metrics({"stage": self.index}, step=self.first_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.finished = True

    def state_dict(self) -> dict[str, Any]:
        names = ("name", "index", "first_step", "first_epoch", "finished")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.first_step, self.first_epoch = state_dict["first_step"], state_dict["first_epoch"]
        self.finished, self._resumed = state_dict["finished"], True


def stage_of(trainer: Trainer) -> StagePlace:
    """The stage that a trainer is in; a run without a recipe is one stage, called ``all``.

    >>> stage_of(Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")).name
    'all'
    """
    mark = next((callback for callback in trainer.callbacks if isinstance(callback, StageMark)), StageMark())
    epoch, step = trainer.current_epoch - mark.first_epoch, trainer.global_step - mark.first_step
    return StagePlace(mark.name, mark.index, mark.count, epoch, step)
