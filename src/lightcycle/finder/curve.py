"""What a range test saw: loss against learning rate, over one sweep or several."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from lightcycle.finder.smooth import Line, local_line, noise, running_median

BANDWIDTH = 0.25  # decades of learning rate
SHORTEST = 10  # points below which nothing can be judged
HUGE = 1e100  # a loss beyond is as good as infinite; sums and squares of smaller ones do not overflow


@dataclass
class Curve:
    """The losses that a range test met on its way up.

    Args:
        lrs: the learning rate of each step, ascending: `(points,)`. A first rate of zero, where a linear ramp may
            start, is left out with its losses: it has no place on a logarithmic axis.
        sweeps: the batch loss of each step, one list per sweep over the same rates. A sweep that stopped early may
            be shorter. A loss that is not finite, or beyond 1e100, counts as lost, and so does all that follows it.

    Raises:
        ValueError: the rates are not positive and ascending, or a sweep has more losses than there are rates.

    >>> curve = Curve([0.001, 0.01, 0.1, 1.0], [[2.0, 1.5, 1.0, math.inf], [2.0, 1.0, 1.0]])
    >>> curve.mean, curve.lost_at
    ([2.0, 1.25, 1.0, nan], 1.0)
    """

    lrs: list[float]
    sweeps: list[list[float]]

    def __post_init__(self) -> None:
        skip = 1 if len(self.lrs) and self.lrs[0] == 0 else 0
        self.lrs, self.sweeps = [float(lr) for lr in self.lrs[skip:]], [sweep[skip:] for sweep in self.sweeps]
        _check(self.lrs, self.sweeps)
        self.sweeps = [_until_lost(sweep, len(self.lrs)) for sweep in self.sweeps]

    @cached_property
    def finite(self) -> int:
        """How many points, from the first on, are finite in every sweep."""
        return min(int(np.isfinite(sweep).sum()) for sweep in self.sweeps)

    @cached_property
    def mean(self) -> list[float]:
        """The mean over the sweeps, `(points,)`; NaN from where the first of them lost its loss."""
        return np.mean(self.sweeps, axis=0).tolist()

    @cached_property
    def band(self) -> tuple[list[float], list[float]]:
        """The lowest and the highest loss of the sweeps at each rate, `(points,)` each; NaN where `mean` is."""
        return np.min(self.sweeps, axis=0).tolist(), np.max(self.sweeps, axis=0).tolist()

    @cached_property
    def noise(self) -> float:
        """The standard deviation of the noise on `mean`, in units of loss, judged up to its lowest stretch."""
        return noise(self._losses[: max(self._floor + 1, 2 * SHORTEST)])

    @cached_property
    def end(self) -> int:
        """How many points lie before the loss loses a third of what it had gained: beyond, training falls apart.

        The first time counts, once half of all that is ever gained is there: what comes down again after an explosion
        is another model.
        """
        if self.finite == 0:
            return 0
        typical = running_median(self._losses)
        lowest = np.minimum.accumulate(typical)
        gained = typical[0] - lowest
        undone = self._losses > lowest + gained / 3 + 4 * self.noise + self.rounding
        undone &= _again_soon(undone) & (gained >= gained[-1] / 2)  # one wild batch is no explosion
        return int(undone.argmax()) if undone.any() else self.finite

    @cached_property
    def lost_at(self) -> float | None:
        """The rate at which the loss explodes or is no longer finite; None if the test did not get there."""
        return self.lrs[self.end] if self.end < len(self.lrs) else None

    @cached_property
    def line(self) -> Line:
        """The smoothed mean over log10(lr), up to `end`: values in units of loss, slopes in loss per decade."""
        return local_line(np.log10(self.lrs[: self.end]), self._losses[: self.end], BANDWIDTH)

    @cached_property
    def smoothed(self) -> list[float]:
        """The smoothed mean, `(points,)`; NaN where the mean is. After the explosion it is a running median."""
        before = self.line.value.tolist() if self.end > 1 else self.mean[: self.end]
        after = running_median(self._losses[self.end :]).tolist()
        return [*before, *after, *[math.nan] * (len(self.lrs) - self.finite)]

    @cached_property
    def rounding(self) -> float:
        """Differences in loss below this are those of floating point."""
        return 1e-9 * float(np.median(np.abs(self._losses))) if self.finite else 0.0

    def single(self) -> list["Curve"]:
        """Each sweep as a curve of its own."""
        return [Curve(self.lrs, [sweep]) for sweep in self.sweeps]

    @cached_property
    def _losses(self) -> np.ndarray:
        return np.array(self.mean[: self.finite])

    @cached_property
    def _floor(self) -> int:
        return int(running_median(self._losses).argmin()) if self.finite else 0


def _again_soon(happened: np.ndarray) -> np.ndarray:
    """Where it happens once more at one of the next two points; there is no asking at the last point."""
    again = np.zeros_like(happened)
    again[:-1] |= happened[1:]
    again[:-2] |= happened[2:]
    again[-1] = True
    return again


def _until_lost(sweep: Sequence[float], points: int) -> list[float]:
    """The losses up to the first that is not finite, then NaN up to `points`."""
    losses = np.full(points, math.nan)
    losses[: len(sweep)] = sweep
    lost = ~(np.abs(losses) < HUGE)
    losses[np.maximum.accumulate(lost)] = math.nan
    return losses.tolist()


def _check(lrs: list[float], sweeps: Sequence[Sequence[float]]) -> None:
    if not sweeps:
        raise ValueError("sweeps is empty; a curve needs the losses of at least one sweep.")
    if not lrs or not all(0 < lr < math.inf for lr in lrs) or any(b <= a for a, b in pairwise(lrs)):
        raise ValueError(f"lrs must be positive and ascending (got {_few(lrs)}); a range test goes from low to high.")
    for number, sweep in enumerate(sweeps):
        if len(sweep) > len(lrs):
            raise ValueError(f"sweeps[{number}] has {len(sweep)} losses for {len(lrs)} rates; give one per rate.")


def _few(values: Sequence[float]) -> str:
    shown = ", ".join(f"{value:g}" for value in values[:6])
    return f"{shown}, ..." if len(values) > 6 else shown or "none"
