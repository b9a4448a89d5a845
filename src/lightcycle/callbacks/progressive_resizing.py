"""``ProgressiveResizing``: trains on small images first, and finishes on large ones."""

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lightcycle.callbacks.batchnorm import refresh_batchnorm
from lightcycle.callbacks.fresh_batches import fresh_batches
from lightcycle.callbacks.param_scheduler import ON_RESUME
from lightcycle.callbacks.resized_batch import hook_owner, images_of, resize_batch, wrap
from lightcycle.data.folder_loader import FolderLoader
from lightcycle.data.image_data import ImageData
from lightcycle.data.loader import Loader
from lightcycle.schedules import BoundResizing, Resizing
from lightcycle.schedules.sizes import KEY

HOOK = "on_after_batch_transfer"


class ProgressiveResizing(Callback):
    """Sets the size of the training images of every epoch. Validation and test keep theirs.

    The size is a function of the epoch, so that a resumed run has the sizes of the straight one. This project's loaders
    make images of that size themselves: files are decoded at it, images in memory are interpolated after they are
    augmented. The batches of any other loader are interpolated on the device before the step. Which of them happens
    is printed. Works with any ``LightningModule`` whose net takes several sizes::

        Trainer(max_epochs=10, callbacks=[ProgressiveResizing(sizes=[64, 96, 128], fractions=[0, 0.4, 0.75])])

    In the app::

        python train.py +callbacks=progressive_resizing callbacks.progressive_resizing.sizes=[64,96,128]

    Args:
        sizes, at, fractions, start, begin, until, step, finish, constant_pixels, strength: the plan, as in
            ``Resizing``; a ramp unless ``sizes`` are given.
        bn_refresh: training batches over which BatchNorm's running statistics are measured anew, behind the last step
            and before the last validation; 0 is off. Needs a module whose ``forward`` takes the images.
        on_resume: what to do when a checkpoint was planned otherwise: ``same`` refuses, ``keep`` follows the old
            length, ``replan`` the new plan.

    Raises:
        ValueError: in a sentence, for a plan that is out of range or does not fit the run, and for what the data at
            hand cannot do.

    References: Howard's fast.ai lessons; MosaicML Composer; Tan & Le, EfficientNetV2, arXiv:2104.00298.
    """

    def __init__(
        self,
        *,
        sizes: Sequence[Any] | None = None,
        at: Sequence[int] | None = None,
        fractions: Sequence[float] | None = None,
        start: float | None = None,
        begin: float | None = None,
        until: float | None = None,
        step: int | None = None,
        finish: Any = None,
        constant_pixels: bool = False,
        strength: float | None = None,
        bn_refresh: int = 0,
        on_resume: str = "same",
    ) -> None:
        if isinstance(bn_refresh, bool) or not isinstance(bn_refresh, int) or bn_refresh < 0:
            raise ValueError(f"{KEY}.bn_refresh must be batches >= 0 (got {bn_refresh!r}); 100 is usual, 0 is off")
        if on_resume not in ON_RESUME:
            raise ValueError(f"on_resume must be one of {', '.join(ON_RESUME)} (got {on_resume!r})")
        self.schedule = Resizing(
            sizes=sizes,
            at=at,
            fractions=fractions,
            start=start,
            begin=begin,
            until=until,
            step=step,
            finish=finish,
            constant_pixels=constant_pixels,
            strength=strength,
        )
        self.bn_refresh, self.on_resume = bn_refresh, on_resume
        self.first_epoch, self.epochs = 0, None
        self.plan: BoundResizing | None = None
        self.where = ""
        self._told: tuple[int, int] | None = None
        self._refreshed = False
        self._restored: dict[str, Any] | None = None
        self._undo: list[Callable[[], None]] = []

    # -- functions of the trainer's epoch ----------------------------------------------------------------------------

    def size(self, epoch: int) -> tuple[int, int]:
        """Height and width of the training images of an epoch, as the trainer counts epochs."""
        return self.plan.size(epoch - self.first_epoch)

    def batch_size(self, epoch: int, usual: int, processes: int) -> int:
        """Images in a batch of that epoch, over all processes; ``usual`` belongs to the last size."""
        return self.plan.batch_size(epoch - self.first_epoch, usual, processes)

    def strength(self, epoch: int) -> float:
        """Strength of the augmentation in that epoch, in [0, 1]."""
        return self.plan.strength_at(epoch - self.first_epoch)

    # -- the start of a fit ------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Here nothing has been read yet, and a length that changes is known before Lightning asks for it."""
        if stage != "fit":
            return
        self._refuse(trainer)
        self.first_epoch, self.epochs = trainer.current_epoch, _epochs(trainer)
        self._bind(trainer)
        data = trainer.datamodule
        if isinstance(data, ImageData) and self.schedule.constant_pixels:
            usual, processes = data.config.batch_size, trainer.world_size
            data.batch_sizes = lambda epoch: self.batch_size(epoch, usual, processes)
            self._undo.append(lambda: setattr(data, "batch_sizes", None))

    def _bind(self, trainer: Trainer) -> None:
        data = trainer.datamodule
        full = tuple(data.size) if isinstance(data, ImageData) else None
        epochs = None if self.epochs is None else self.epochs - self.first_epoch
        self.plan = self.schedule.bind(epochs, full, cut=bool(trainer.fast_dev_run))

    def _refuse(self, trainer: Trainer) -> None:
        if trainer.overfit_batches:
            raise ValueError(
                f"{KEY} changes the batches, and trainer.overfit_batches={trainer.overfit_batches} keeps them; drop one"
            )
        if self.schedule.constant_pixels and not isinstance(trainer.datamodule, ImageData):
            raise ValueError(
                f"{KEY}.constant_pixels=true needs a loader whose batches can grow, which is this project's alone; "
                "leave it false"
            )
        if self.bn_refresh and any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks):
            raise ValueError(
                f"{KEY}.bn_refresh={self.bn_refresh} measures statistics of the weights that train, and with "
                "averaged weights those are not what is evaluated; set bn_refresh=0, or leave the averaging out"
            )
        limit = trainer.limit_train_batches
        if self.schedule.constant_pixels and isinstance(limit, float) and limit < 1.0:
            raise ValueError(
                f"{KEY}.constant_pixels=true changes the number of batches, so that a share of them is not one number "
                f"(got trainer.limit_train_batches={limit}); give a whole number"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._restored is not None:
            self._resume(trainer, self._restored)
            self._restored = None
        self._hand_over(trainer)
        self._refreshed = False
        if torch.backends.cudnn.benchmark:  # it would search anew for every size, and choose otherwise on resume
            torch.backends.cudnn.benchmark = False
            self._undo.append(lambda: setattr(torch.backends.cudnn, "benchmark", True))
        self._told = self.size(trainer.current_epoch)
        if self.schedule.constant_pixels:  # Lightning tells by its length whether the epoch of a checkpoint was over
            self._set_length(trainer, trainer.train_dataloader.state_dict()["epoch"])
        rank_zero_info(f"training images of {self.plan.describe()}; {self.where}")

    def _hand_over(self, trainer: Trainer) -> None:
        """Tells the loader what to make, or resizes what comes from it."""
        loader = trainer.train_dataloader
        if isinstance(loader, Loader):
            if loader.size is None:
                raise ValueError(
                    f"{KEY} resizes images, and these are cached features; drop it, or train on the images"
                )
            loader.sizes = self.size
            self.where = f"resized {'while decoding' if isinstance(loader, FolderLoader) else 'by the loader'}"
            if self.schedule.strength is not None:
                loader.strengths = self.strength
            return
        if self.schedule.strength is not None:
            raise ValueError(
                f"{KEY}.strength={self.schedule.strength:g} is for this project's loaders, and {type(loader).__name__} "
                "augments by itself; leave it null"
            )
        self.where = "resized on the device"
        owner = hook_owner(trainer, HOOK)
        self._undo.append(wrap(owner, HOOK, lambda batch: self._resized(trainer, batch)))

    def _resized(self, trainer: Trainer, batch: Any) -> Any:
        return resize_batch(batch, self.size(trainer.current_epoch)) if trainer.training else batch

    def _resume(self, trainer: Trainer, saved: dict[str, Any]) -> None:
        """Settles which plan counts; the epoch it began in was restored with the state."""
        same = saved["schedule"] == repr(self.schedule)
        if not (same and saved["epochs"] == self.epochs) and self.on_resume != "replan":
            if not (self.on_resume == "keep" and same):
                raise ValueError(
                    f"the checkpoint was planned as {saved['schedule']} over {saved['epochs']} epochs, and this run is "
                    f"{self.schedule!r} over {self.epochs}: other sizes would follow. Run it as it was, or choose: "
                    "ProgressiveResizing(..., on_resume='keep') follows the old length, on_resume='replan' the new plan"
                )
            self.epochs = saved["epochs"]
        self._bind(trainer)

    # -- every epoch -------------------------------------------------------------------------------------------------

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Also where an epoch goes on behind a resume, without ``on_train_epoch_start``."""
        if self.schedule.constant_pixels:
            self._set_length(trainer, trainer.train_dataloader.hour)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.schedule.constant_pixels:
            self._set_length(trainer, trainer.train_dataloader.hour)
        size = self.size(trainer.current_epoch)
        if size != self._told:
            self._told = size
            rank_zero_info(f"epoch {trainer.current_epoch}: training images of {size[0]}x{size[1]} px")
            for logger in trainer.loggers:
                logger.log_metrics({"pixels": round(math.sqrt(math.prod(size)))}, step=trainer.global_step)

    def _set_length(self, trainer: Trainer, epoch: int) -> None:
        """Lightning asks once how many batches an epoch has; here it changes."""
        length, limit = trainer.train_dataloader.length_at(epoch), trainer.limit_train_batches
        trainer.fit_loop.max_batches = min(length, limit) if isinstance(limit, int) else length
        if isinstance(trainer.val_check_interval, float):
            share = int(trainer.fit_loop.max_batches * trainer.val_check_interval)
            trainer.val_check_batch = max(1, share)

    # -- BatchNorm ---------------------------------------------------------------------------------------------------

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Behind the last step: the last validation, the last checkpoint and the test see the new statistics."""
        if self.bn_refresh and _is_last(trainer, batch_idx):
            self.refresh(trainer, pl_module)

    def refresh(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures BatchNorm's running statistics over ``bn_refresh`` training batches of the size of the hour."""

        def forward(batch: Any) -> None:
            with trainer.precision_plugin.train_step_context():
                pl_module(images_of(batch))

        def mean(value: torch.Tensor) -> torch.Tensor:
            return trainer.strategy.reduce(value.clone(), reduce_op="mean")

        with closing(fresh_batches(trainer, seed=0)) as batches:
            layers = refresh_batchnorm(pl_module, islice(batches, self.bn_refresh), forward, mean)
        self._refreshed = True
        rank_zero_info(f"statistics of {layers} BatchNorm layers measured over {self.bn_refresh} batches")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.bn_refresh and trainer.global_step and not self._refreshed:
            rank_zero_info(f"{KEY}.bn_refresh was left out: the run stopped before its last step")

    # -- the end, and the checkpoint ---------------------------------------------------------------------------------

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._take_back()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._take_back()

    def _take_back(self) -> None:
        while self._undo:
            self._undo.pop()()

    def state_dict(self) -> dict[str, Any]:
        return {"schedule": repr(self.schedule), "first_epoch": self.first_epoch, "epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict
        self.first_epoch = state_dict["first_epoch"]


def _epochs(trainer: Trainer) -> int | None:
    """The epoch at which the fit ends, where there is one."""
    return trainer.max_epochs if (trainer.max_epochs or -1) >= 0 else None


def _is_last(trainer: Trainer, batch_idx: int) -> bool:
    """Whether the fit's last batch is done: the same before the validation, where Lightning does not say so yet."""
    if 0 <= trainer.max_steps <= trainer.global_step:
        return True
    whole = trainer.is_last_batch or batch_idx + 1 >= trainer.num_training_batches
    return whole and 0 <= (trainer.max_epochs or -1) <= trainer.current_epoch + 1
