"""The module that Lightning trains: a net, its loss and its numbers, and nothing about schedules."""

from collections.abc import Callable, Sequence
from typing import Any

from lightning import LightningModule
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from lightcycle.models.metrics import EpochMeans
from lightcycle.models.param_groups import param_groups
from lightcycle.transfer.groups import LayerGroup


class Classifier(LightningModule):
    """Cross-entropy on batches of images `(batch, channels, height, width)` and labels `(batch,)`.

    Logs `train/loss`, that of a batch, every `log_every_n_steps` of the Trainer, and exact means over the samples of an
    epoch: `train/loss_epoch`, `train/acc`, `val/loss`, `val/acc`, `test/loss`, `test/acc`. Only training is smoothed.

    Args:
        net: images to logits `(batch, classes)`.
        optimizer: called with the parameter groups, returns the optimizer, such as `SGDConfig().build`.
        label_smoothing: share of the target spread evenly over the classes, in [0, 1).
        no_decay_on_norm_and_bias: whether parameters of at most one dimension are spared from weight decay.
        groups: layer groups of the net, from the input to the head; None makes no difference between layers.
        rates: base learning rate of each layer group; None gives all the optimizer's own.

    >>> from lightcycle.models import SGDConfig
    >>> module = Classifier(nn.Linear(4, 3), SGDConfig().build)
    >>> [group["name"] for group in module.configure_optimizers().param_groups]
    ['decay', 'no_decay']

    References: Szegedy et al., label smoothing, arXiv:1512.00567.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        label_smoothing: float = 0.0,
        no_decay_on_norm_and_bias: bool = True,
        groups: Sequence[LayerGroup] | None = None,
        rates: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1) (got {label_smoothing}); 0 switches it off")
        self.net = net
        self.optimizer = optimizer
        self.label_smoothing = label_smoothing
        self.no_decay_on_norm_and_bias = no_decay_on_norm_and_bias
        self.layer_groups = None if groups is None else [group.under("net") for group in groups]
        self.rates = rates
        self.train_means, self.val_means, self.test_means = EpochMeans(), EpochMeans(), EpochMeans()

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(batch, classes)` of images `(batch, channels, height, width)`."""
        return self.net(images)

    def configure_optimizers(self) -> Optimizer:
        no_decay = self.no_decay_on_norm_and_bias
        return self.optimizer(param_groups(self, no_decay=no_decay, groups=self.layer_groups, rates=self.rates))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        if batch_idx == 0:  # on_train_epoch_start is not called where a resume falls between two epochs
            self.train_means.reset()
        images, labels = batch
        logits = self.net(images)
        loss = cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        self.train_means.update(loss, logits, labels)
        if self._logs_this_step():
            self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._evaluate(self.val_means, batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._evaluate(self.test_means, batch)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Probabilities `(batch, classes)` of a batch of images, with or without labels."""
        images = batch if isinstance(batch, Tensor) else batch[0]
        return self.net(images).float().softmax(1)

    def on_train_epoch_end(self) -> None:
        means = self.train_means.compute()
        self._log_means({"train/loss_epoch": means["loss"], "train/acc": means["acc"]}, prog_bar=False)

    def on_validation_epoch_start(self) -> None:
        self.val_means.reset()

    def on_validation_epoch_end(self) -> None:
        self._log_means({f"val/{name}": mean for name, mean in self.val_means.compute().items()}, prog_bar=True)

    def on_test_epoch_start(self) -> None:
        self.test_means.reset()

    def on_test_epoch_end(self) -> None:
        self._log_means({f"test/{name}": mean for name, mean in self.test_means.compute().items()}, prog_bar=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Each process would have to be asked for its own; the counts of the first stand for all.
        checkpoint["train_means"] = {name: state.clone() for name, state in self.train_means.metric_state.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name, state in checkpoint.get("train_means", {}).items():
            setattr(self.train_means, name, state.to(self.train_means.device))

    def _logs_this_step(self) -> bool:
        # A call of self.log costs as much as the rest of Lightning's step, also where its value goes nowhere.
        every = self.trainer.log_every_n_steps
        return every > 0 and (self.trainer.global_step + 1) % every == 0

    def _evaluate(self, means: EpochMeans, batch: tuple[Tensor, Tensor]) -> None:
        images, labels = batch
        logits = self.net(images)
        means.update(cross_entropy(logits, labels), logits, labels)

    def _log_means(self, means: dict[str, Tensor], prog_bar: bool) -> None:
        # compute() has summed over the processes already: sync_dist averages equal numbers, and spares a warning.
        self.log_dict(means, prog_bar=prog_bar, sync_dist=True)
