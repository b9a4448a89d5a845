"""The two numbers of an epoch, cheap enough to be kept at every step."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class EpochMeans(Metric):
    """Mean loss and accuracy over samples, whatever the batch sizes and over all processes.

    Three counters stay on the device and nothing is validated, so an update never waits for an accelerator.

    >>> means = EpochMeans()
    >>> means.update(torch.tensor(1.0), torch.tensor([[2.0, 1.0], [1.0, 2.0]]), torch.tensor([0, 0]))
    >>> means.update(torch.tensor(4.0), torch.tensor([[2.0, 1.0]]), torch.tensor([0]))
    >>> {name: round(float(value), 3) for name, value in means.compute().items()}
    {'loss': 2.0, 'acc': 0.667}
    """

    full_state_update = False
    loss_sum: Tensor
    correct: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("loss_sum", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("correct", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: its mean loss (a scalar), logits `(batch, classes)` and labels `(batch,)`."""
        # Not in place: a state made under inference mode may not be written to outside of it.
        self.loss_sum = self.loss_sum + loss.detach().float() * len(labels)
        self.correct = self.correct + (logits.argmax(1) == labels).sum()
        self.count = self.count + len(labels)

    def compute(self) -> dict[str, Tensor]:
        """`loss` and `acc`, scalars."""
        return {"loss": self.loss_sum / self.count, "acc": self.correct / self.count}
