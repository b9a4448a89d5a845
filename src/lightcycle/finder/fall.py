"""Where a range test's loss falls, or the reason why nothing can be said."""

from dataclasses import dataclass

import numpy as np

from lightcycle.finder.curve import SHORTEST, Curve

SURE = 5.0  # standard errors: what is smaller may be noise; the largest of some 30 independent values is counted in

LOWER = "start the test at a lower rate"


class NoSuggestion(Exception):  # noqa: N818 - an answer, not an error
    """Carries the sentence that says why there is no rate to suggest."""


@dataclass
class Fall:
    """The fall of the smoothed loss, from its highest point before its lowest one down to that.

    Args:
        log_lrs, losses, slopes: of the smoothed line up to the explosion, `(points,)` each; slopes in loss per decade.
        slope_errors: standard errors of the slopes, `(points,)`.
        top, bottom: positions of the fall's two ends.
        at_end: the loss is lowest where the test ends, so its minimum was not seen.
    """

    log_lrs: np.ndarray
    losses: np.ndarray
    slopes: np.ndarray
    slope_errors: np.ndarray
    top: int
    bottom: int
    at_end: bool

    @property
    def drop(self) -> float:
        """How far the loss falls."""
        return float(self.losses[self.top] - self.losses[self.bottom])

    def left(self, share: float) -> float:
        """The last rate before the minimum at which at least this share of the drop is still to come.

        Seen from the minimum backwards, so that a dip at a tiny rate does not count.
        """
        stretch = slice(self.top, self.bottom + 1)
        waiting = self.losses[stretch] >= self.losses[self.bottom] + share * self.drop
        return self.lr(self.top + int(np.flatnonzero(waiting)[-1]))

    def right(self, share: float) -> float:
        """The last rate from the minimum on up to which the loss stays within this share of the drop above it."""
        near = self.losses[self.bottom :] <= self.losses[self.bottom] + share * self.drop
        return self.lr(self.bottom + int(np.logical_and.accumulate(near).sum()) - 1)

    def lr(self, position: int) -> float:
        return float(10 ** self.log_lrs[position])


def fall(curve: Curve) -> Fall:
    """The fall of a curve.

    Raises:
        NoSuggestion: there are too few finite losses, or the loss does not fall by more than its noise.

    >>> found = fall(Curve([10.0 ** (k / 10 - 4) for k in range(40)], [[1.0] * 15 + [0.1] * 20 + [9.0] * 5]))
    >>> found.at_end, 0.8 < found.drop < 1.2
    (False, True)
    """
    _check_length(curve)
    line, log_lrs = curve.line, np.log10(curve.lrs[: curve.end])
    bottom = int(line.value.argmin())
    top = int(line.value[: bottom + 1].argmax())
    drop = line.value[top] - line.value[bottom]
    certain = SURE * curve.noise * float(np.hypot(line.value_error[top], line.value_error[bottom])) + curve.rounding
    if not drop > certain:
        raise NoSuggestion(_no_fall(curve, drop, certain))
    at_end = curve.lost_at is None and bottom == curve.end - 1
    return Fall(log_lrs, line.value, line.slope, curve.noise * line.slope_error, top, bottom, at_end)


def _check_length(curve: Curve) -> None:
    if curve.finite == 0:
        raise NoSuggestion("no loss is finite; look at the data and at the loss before the learning rate.")
    if curve.finite < SHORTEST:
        raise NoSuggestion(f"only {curve.finite} losses are finite, {SHORTEST} are needed; {LOWER}.")
    if curve.end < SHORTEST:
        raise NoSuggestion(f"the loss rises from step {curve.end}, lr {curve.lost_at:.2g}, on; {LOWER}.")


def _no_fall(curve: Curve, drop: float, certain: float) -> str:
    rise = curve.line.value[-1] - curve.line.value[0]
    if curve.lost_at is not None or rise > certain:
        return f"the loss only rises; {LOWER}, or look at the model."
    return f"the loss does not fall by more than its noise ({max(drop, 0.0):.2g} against {certain:.2g})."
