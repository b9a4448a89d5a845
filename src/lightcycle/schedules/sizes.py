"""How large the training images are: epoch -> (height, width)."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

KEY = "callbacks.progressive_resizing"
RAMP = {"start": 0.5, "begin": 0.5, "until": 0.8, "step": 4}
MULTIPLE = 8  # batch sizes that kernels like

Size = tuple[int, int]  # height, width


@dataclass(kw_only=True)
class Resizing:
    """Training images grow: a list of sizes, or a ramp. A size changes on the border between two epochs only.

    Without ``sizes`` it is Composer's ramp: the ``start`` share of the full size until the fraction ``begin`` of the
    run, then a little more every epoch, in multiples of ``step`` pixels, and the full size from ``until`` on.

    Args:
        sizes: pixels of a side, or ``[height, width]``, rising.
        at: the epochs at which they begin, whole numbers, the first 0.
        fractions: the same as fractions of the run, to the nearest border; even parts where neither is given.
        start: the ramp's first size, as a share of the full one; 0.5 unless given.
        begin, until: fractions of the run between which the ramp rises; 0.5 and 0.8 unless given.
        step: pixels of which the ramp's sizes are multiples; 4 unless given.
        finish: the ramp's last size; ``None`` is the full size of the images.
        constant_pixels: the batch grows as the images shrink, so that every batch has about as many pixels.
        strength: of the augmentation at the smallest size, in [0, 1]; it rises in proportion to the side to 1.

    Raises:
        ValueError: in a sentence, when a value is out of range or a list and a ramp are given.

    >>> plan = Resizing(sizes=[64, 96, 128], fractions=[0, 0.4, 0.75]).bind(epochs=8)
    >>> plan.points, plan.size(5)
    ([(0, (64, 64)), (3, (96, 96)), (6, (128, 128))], (96, 96))
    >>> [height for _, (height, width) in Resizing().bind(epochs=10, full=(128, 128)).points]
    [64, 80, 96, 112, 128]

    References: MosaicML Composer's progressive resizing; Tan & Le, EfficientNetV2, arXiv:2104.00298, section 4.
    """

    sizes: list[Any] | None = None
    at: list[int] | None = None
    fractions: list[float] | None = None
    start: float | None = None
    begin: float | None = None
    until: float | None = None
    step: int | None = None
    finish: Any = None
    constant_pixels: bool = False
    strength: float | None = None

    def __post_init__(self) -> None:
        if self.sizes is None:
            self._check_ramp()
        else:
            self._check_list()
        if self.strength is not None and not _within(self.strength, 0.0, 1.0):
            raise ValueError(f"{KEY}.strength must be between 0 and 1 (got {self.strength!r}); null leaves it at 1")

    def _check_list(self) -> None:
        if given := [name for name in (*RAMP, "finish") if getattr(self, name) is not None]:
            raise ValueError(f"{KEY} takes sizes or a ramp (got sizes and {given[0]}); drop one")
        pairs = [_pair("sizes", size) for size in self.sizes] if isinstance(self.sizes, list | tuple) else []
        if not pairs or not all(_grows(*two) for two in pairwise(pairs)):
            raise ValueError(f"{KEY}.sizes must be pixels that increase (got {self.sizes!r}); try [64,96,128]")
        if self.at is not None and self.fractions is not None:
            raise ValueError(f"{KEY} takes at, in epochs, or fractions of the run (got both); drop one")
        for name in ("at", "fractions"):
            if getattr(self, name) is not None:
                self._check_times(name, getattr(self, name))

    def _check_times(self, name: str, times: Sequence[float]) -> None:
        legal = "whole epochs" if name == "at" else "fractions below 1"
        holds = isinstance(times, list | tuple) and all(_is_number(time) for time in times)
        if not holds or not times or times[0] != 0 or any(b <= a for a, b in pairwise(times)):
            fix = "[0,4,7]" if name == "at" else "[0,0.4,0.75]"
            raise ValueError(f"{KEY}.{name} must be {legal} that start at 0 and rise (got {times!r}); try {fix}")
        if name == "at" and any(time != int(time) for time in times):
            raise ValueError(
                f"{KEY}.at must be whole epochs, because sizes change between epochs only (got {times!r}); for shares "
                f"of the run set fractions={times!r}"
            )
        if name == "fractions" and times[-1] >= 1:
            raise ValueError(f"{KEY}.fractions must be {legal} (got {times!r}); for epochs set at={times!r}")
        if len(times) != len(self.sizes):
            raise ValueError(
                f"{KEY}.{name} must have an entry for each of the {len(self.sizes)} sizes (got {len(times)}); the "
                "first is 0"
            )

    def _check_ramp(self) -> None:
        if given := [name for name in ("at", "fractions") if getattr(self, name) is not None]:
            raise ValueError(f"{KEY}.{given[0]} says when sizes begin, and there are none; give sizes=[64,96,128]")
        for name, usual in RAMP.items():
            if getattr(self, name) is None:
                setattr(self, name, usual)
        if not _within(self.start, 0.0, 1.0) or self.start in (0, 1):
            raise ValueError(f"{KEY}.start must be a share of the full size, > 0 and < 1 (got {self.start!r}); 0.5")
        if not (_within(self.begin, 0.0, 1.0) and _within(self.until, 0.0, 1.0) and self.begin <= self.until < 1):
            raise ValueError(
                f"{KEY}.begin and until must be fractions of the run, 0 <= begin <= until < 1 (got {self.begin!r} and "
                f"{self.until!r}); 0.5 and 0.8 are usual"
            )
        if isinstance(self.step, bool) or not isinstance(self.step, int) or self.step < 1:
            raise ValueError(f"{KEY}.step must be whole pixels >= 1 (got {self.step!r}); 4 is usual")
        if self.finish is not None:
            _pair("finish", self.finish)

    def bind(self, epochs: int | None, full: Size | None = None, *, cut: bool = False) -> "BoundResizing":
        """The plan over a run of so many whole epochs.

        Args:
            epochs: of the run; ``None`` where nobody knows, which ``at`` can do without.
            full: height and width of the images as they are, which a ramp without ``finish`` ends at.
            cut: leaves out what comes too late, for runs that are cut short for debugging.

        Raises:
            ValueError: if there are more sizes than epochs, or something is needed and not known.
        """
        borders, sizes = self._points(epochs, full)
        if cut:
            last = {border: size for border, size in zip(borders, sizes, strict=True) if border < (epochs or math.inf)}
            borders, sizes = list(last), list(last.values())
        elif len(set(borders)) < len(borders) or (epochs is not None and borders[-1] >= epochs):
            raise ValueError(
                f"{KEY} has {len(sizes)} sizes beginning at epochs {', '.join(map(str, borders))} of a run of {epochs} "
                "epochs, and each needs an epoch of its own; drop sizes, or train longer"
            )
        return BoundResizing(tuple(borders), tuple(sizes), self.constant_pixels, self.strength)

    def _points(self, epochs: int | None, full: Size | None) -> tuple[list[int], list[Size]]:
        """The epochs at which sizes begin, and the sizes."""
        sizes = None if self.sizes is None else [_pair("sizes", size) for size in self.sizes]
        if self.at is not None:
            return [int(epoch) for epoch in self.at], sizes
        if epochs is None:
            raise ValueError(f"{KEY} needs a run of known epochs; give the Trainer max_epochs, or say at=[0,4,7]")
        if sizes is None:
            return self._ramp(epochs, full)
        fractions = self.fractions or [k / len(sizes) for k in range(len(sizes))]
        return [_nearest(fraction * epochs) for fraction in fractions], sizes

    def _ramp(self, epochs: int, full: Size | None) -> tuple[list[int], list[Size]]:
        finish = full if self.finish is None else _pair("finish", self.finish)
        if finish is None:
            raise ValueError(f"{KEY} cannot know the size of these images before the first batch; give finish=224, say")
        begin, until = _nearest(self.begin * epochs), _nearest(self.until * epochs)
        if not 0 < until < epochs:
            raise ValueError(
                f"{KEY}.until={self.until:g} leaves a run of {epochs} epochs no epoch at the small or none at the full "
                "size; train longer, or give sizes and at"
            )
        rise = range(begin, until)
        shares = {0: self.start} | {e: self.start + (1 - self.start) * (e - begin + 1) / (len(rise) + 1) for e in rise}
        sizes = {epoch: self._scaled(finish, share) for epoch, share in shares.items()} | {until: finish}
        changes = [e for e in sizes if e == 0 or sizes[e] != sizes[max(k for k in sizes if k < e)]]
        return changes, [sizes[e] for e in changes]

    def _scaled(self, finish: Size, share: float) -> Size:
        height, width = (min(max(_nearest(side * share / self.step), 1) * self.step, side) for side in finish)
        return height, width


@dataclass(frozen=True)
class BoundResizing:
    """A resizing over the epochs of a run.

    Args:
        borders: epochs at which a size begins, in order; the first is 0.
        sizes: ``(height, width)`` from each border on.
        constant_pixels: whether the batch grows as the images shrink.
        strength: of the augmentation at the smallest size; ``None`` is always 1.
    """

    borders: tuple[int, ...]
    sizes: tuple[Size, ...]
    constant_pixels: bool = False
    strength: float | None = None

    def size(self, epoch: int) -> Size:
        """Height and width of the training images of an epoch."""
        return self.sizes[max(bisect_right(self.borders, epoch) - 1, 0)]

    def batch_size(self, epoch: int, usual: int, processes: int = 1) -> int:
        """Images in a batch: ``usual`` at the last size, more before, a multiple of 8 and of the processes.

        >>> BoundResizing((0, 4), ((64, 64), (128, 128)), constant_pixels=True).batch_size(0, usual=32)
        128
        """
        if not self.constant_pixels or self.size(epoch) == self.sizes[-1]:
            return usual
        multiple = math.lcm(MULTIPLE, processes)
        wanted = usual * math.prod(self.sizes[-1]) / math.prod(self.size(epoch))
        return max(_nearest(wanted / multiple) * multiple, usual)

    def strength_at(self, epoch: int) -> float:
        """Strength of the augmentation, in [0, 1]: in proportion to the side between the smallest and the last size.

        >>> plan = BoundResizing((0, 1, 2), ((64, 64), (96, 96), (128, 128)), strength=0.5)
        >>> [plan.strength_at(epoch) for epoch in range(3)]
        [0.5, 0.75, 1.0]
        """
        first, last, now = (math.sqrt(math.prod(size)) for size in (self.sizes[0], self.sizes[-1], self.size(epoch)))
        if self.strength is None or last == first:
            return 1.0
        return self.strength + (1.0 - self.strength) * (now - first) / (last - first)

    @property
    def points(self) -> list[tuple[int, Size]]:
        """(epoch from which it holds, size): what a picture needs."""
        return list(zip(self.borders, self.sizes, strict=True))

    def describe(self) -> str:
        """The sizes and the epochs at which they begin.

        >>> BoundResizing((0, 4), ((64, 64), (96, 128))).describe()
        '64 px, from epoch 4 96x128 px'
        """
        said = [f"{h if h == w else f'{h}x{w}'} px" for h, w in self.sizes]
        return ", ".join(f"from epoch {b} {s}" if b else s for b, s in zip(self.borders, said, strict=True))


def _pair(name: str, size: Any) -> Size:
    """Pixels of a side, or a pair of them, as (height, width)."""
    sides = size if isinstance(size, list | tuple) else [size, size]
    if len(sides) != 2 or not all(isinstance(s, int) and not isinstance(s, bool) and s >= 1 for s in sides):
        raise ValueError(f"{KEY}.{name} must be pixels >= 1 or [height, width] (got {size!r}); 128 is 128 x 128")
    return sides[0], sides[1]


def _grows(small: Size, large: Size) -> bool:
    return small != large and small[0] <= large[0] and small[1] <= large[1]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _within(value: Any, low: float, high: float) -> bool:
    return _is_number(value) and low <= value <= high


def _nearest(value: float) -> int:
    """The nearest whole number; halves go up, 1e-9 short of them too: 0.3 * 5 is 1.5."""
    return math.floor(value + 0.5 + 1e-9)
