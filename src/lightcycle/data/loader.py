"""What both loaders share: an epoch that Lightning sets, a place in it that a checkpoint keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from torch import Tensor
from torch.utils.data import SequentialSampler

from lightcycle.data.batches import EvalBatches, TrainBatches


class Clock:
    """Holds the epoch; Lightning looks for it as ``loader.sampler`` and sets it at the start of each epoch."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Move to an epoch."""
        self.epoch = epoch


class Loader(ABC):
    """Yields ``(images, labels)`` batches that depend on (epoch, batch) alone, and resumes at any batch.

    It is no ``torch.utils.data.DataLoader``, so Lightning takes it as it is. ``state_dict`` is what has been handed
    out so far; Lightning saves it with the run and loads it before it iterates.

    Args:
        batches: Which samples each batch holds.
        fixed: Repeat the first epoch's batches for ever, as over-fitting one batch needs.
    """

    batch_sampler = None  # Lightning looks for it where it finds a sampler

    def __init__(self, batches: TrainBatches | EvalBatches, fixed: bool = False) -> None:
        self.batches = batches
        moves = isinstance(batches, TrainBatches) and not fixed
        # a SequentialSampler is how Lightning knows that nothing is left to un-shuffle
        self.sampler: Clock | SequentialSampler = Clock() if moves else SequentialSampler(range(batches.n))
        self._position = (0, 0)
        self._resume: tuple[int, int] | None = None

    @property
    def epoch(self) -> int:
        """The epoch of the next batch."""
        return self.sampler.epoch if isinstance(self.sampler, Clock) else 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # a generator: it reads the epoch at the first batch, since Lightning sets the epoch only after iter()
        epoch, start = self.epoch, self._start()
        for step, batch in enumerate(self.load(epoch, start), start):
            self._position = (epoch, step + 1)
            yield batch

    @abstractmethod
    def load(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch from batch ``start`` on."""

    def state_dict(self) -> dict[str, int]:
        """Say how many batches of which epoch have been handed out."""
        epoch, batch = self._position
        return {"epoch": epoch, "batch": batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches already handed out, if the next iteration is of the same epoch."""
        self._resume = self._position = (state["epoch"], state["batch"])

    def _start(self) -> int:
        (epoch, batch), self._resume = self._resume or (self.epoch, 0), None
        return batch if epoch == self.epoch and batch < len(self) else 0
