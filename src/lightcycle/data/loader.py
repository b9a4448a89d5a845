"""What all loaders share: an epoch that Lightning sets, a place in it that a checkpoint keeps, the size of the hour."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace

from lightning.pytorch.utilities import CombinedLoader
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

    Three functions of the epoch may be set from outside before the first batch; None leaves things as they are:
    ``sizes`` gives ``(height, width)`` of the images, ``strengths`` a share in [0, 1] of the augmentation, and
    ``batch_sizes`` the images in a global batch.

    Args:
        batches: Which samples each batch holds.
        fixed: Repeat the first epoch's batches for ever, as over-fitting one batch needs.
        size: ``(height, width)`` of the set's own images; None where samples are no images.
    """

    batch_sampler = None  # Lightning looks for it where it finds a sampler

    def __init__(
        self, batches: TrainBatches | EvalBatches, fixed: bool = False, size: tuple[int, int] | None = None
    ) -> None:
        self.batches, self.size = batches, size
        self.sizes: Callable[[int], tuple[int, int]] | None = None
        self.strengths: Callable[[int], float] | None = None
        self.batch_sizes: Callable[[int], int] | None = None
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

    @property
    def hour(self) -> int:
        """The epoch whose batches are being served or, before the first of them, will be."""
        if self._resume is None:
            return self.clock + self._shift
        epoch, batch, clock = (self._resume[name] for name in ("epoch", "batch", "clock"))
        return epoch + (self.clock > clock or batch >= self.length_at(epoch))

    @property
    def reached(self) -> int:
        """The epoch reached so far: after a resume that of the checkpoint, until a batch is served.

        By its length Lightning tells whether that epoch was over.
        """
        return self.hour if self._resume is None else self._resume["epoch"]

    def size_at(self, epoch: int) -> tuple[int, int] | None:
        """Say how large, ``(height, width)``, the images of an epoch are."""
        return self.size if self.sizes is None else self.sizes(epoch)

    def strength_at(self, epoch: int) -> float:
        """Say which share of the augmentation an epoch has."""
        return 1.0 if self.strengths is None else self.strengths(epoch)

    def batches_at(self, epoch: int) -> TrainBatches | EvalBatches:
        """Say which samples the batches of an epoch hold."""
        return self.batches if self.batch_sizes is None else replace(self.batches, batch_size=self.batch_sizes(epoch))

    def length_at(self, epoch: int) -> int:
        """Count the batches of an epoch."""
        return len(self.batches_at(epoch))

    def __len__(self) -> int:
        return self.length_at(self.hour)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # a generator: it reads the epoch at the first batch, since Lightning sets the epoch only after iter()
        self._begun = True  # not at iter(), which Lightning calls to see whether it can, before it asks for the length
        epoch, start = self._start()
        for step, batch in enumerate(self.load(epoch, start), start):
            self._position = {"epoch": epoch, "batch": step + 1, "clock": self.clock}
            yield batch

    @abstractmethod
    def load(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch from batch ``start`` on."""

    def once(self, epoch: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one epoch, and stop what reads ahead, also where nobody asks for the rest of them."""
        try:
            yield from self.load(epoch, 0)
        finally:
            self.close()

    def close(self) -> None:
        """Stop what reads ahead, if anything does; a later iteration starts it anew."""

    def fresh(self, seed: int) -> Loader:
        """Make an independent loader of the same samples in the order of another seed; this one does not move.

        Size, strength and batch size stay for ever as they are here at this hour.
        """
        hour = self.hour
        batches = self.batches_at(hour)
        twin = self.double(replace(batches, seed=seed) if isinstance(batches, TrainBatches) else batches)
        if self.sizes is not None:
            size = self.size_at(hour)
            twin.sizes = lambda epoch: size
        if self.strengths is not None:
            strength = self.strength_at(hour)
            twin.strengths = lambda epoch: strength
        return twin

    @abstractmethod
    def double(self, batches: TrainBatches | EvalBatches) -> Loader:
        """Make an independent loader of the same samples in other batches, all at the set's own size."""

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
        return epoch, saved["batch"] if same and saved["batch"] < self.length_at(epoch) else 0


class OwnLengths(CombinedLoader):
    """What Lightning wraps a loader in, for one whose epochs differ in length.

    Lightning's own wrapper cuts every epoch to the length of the first.

    Args:
        loader: The loader.
        limit: ``limit_train_batches`` as a whole number; None is no limit.
    """

    def __init__(self, loader: Loader, limit: int | None = None) -> None:
        super().__init__(loader, "max_size_cycle")
        self._limit = limit

    @property
    def limits(self) -> list[int] | None:
        """The limit of each epoch, whatever the trainer has found the first one to be."""
        return CombinedLoader.limits.fget(self)

    @limits.setter
    def limits(self, limits: list[int] | None) -> None:
        CombinedLoader.limits.fset(self, self._limit)
