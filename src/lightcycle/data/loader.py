"""What both loaders share: an epoch that Lightning sets, a place in it that a checkpoint keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor
from torch.utils.data import SequentialSampler

from lightcycle.data.batches import EvalBatches, TrainBatches


class Clock:
    """Holds the trainer's epoch; Lightning looks for it as ``loader.sampler`` and sets it as each epoch starts."""

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
        self._position = {"epoch": 0, "batch": 0, "clock": 0}
        self._resume: dict[str, int] | None = None
        self._shift = 0

    @property
    def clock(self) -> int:
        """The epoch as the trainer counts."""
        return self.sampler.epoch if isinstance(self.sampler, Clock) else 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # a generator: it reads the epoch at the first batch, since Lightning sets the epoch only after iter()
        epoch, start = self._start()
        for step, batch in enumerate(self.load(epoch, start), start):
            self._position = {"epoch": epoch, "batch": step + 1, "clock": self.clock}
            yield batch

    @abstractmethod
    def load(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch from batch ``start`` on."""

    def fresh(self, seed: int) -> Loader:
        """Make an independent loader of the same samples in the order of another seed; this one does not move."""
        return self.double(replace(self.batches, seed=seed) if isinstance(self.batches, TrainBatches) else self.batches)

    @abstractmethod
    def double(self, batches: TrainBatches | EvalBatches) -> Loader:
        """Make an independent loader of the same samples in other batches."""

    def state_dict(self) -> dict[str, int]:
        """Say how many batches of which epoch have been handed out, and what the trainer called that epoch."""
        return dict(self._position)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches already handed out: in the same epoch, or else at the front of the next."""
        self._position = dict(state)
        self._resume = dict(state) if state["batch"] else None

    def _start(self) -> tuple[int, int]:
        saved, self._resume = self._resume, None
        if saved is None:
            return self.clock + self._shift, 0
        # The next epoch follows the saved one, whatever its number: with max_steps, Lightning counts one epoch twice
        # when it resumes from the end of an epoch.
        same = self.clock == saved["clock"]
        epoch = saved["epoch"] + (not same)
        self._shift = epoch - self.clock
        return epoch, saved["batch"] if same and saved["batch"] < len(self) else 0
