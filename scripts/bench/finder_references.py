"""The finders people use today, as numpy functions written from descriptions of what they do: quirks and all.

fast.ai 2.8: an exponential moving average (0.98, unbiased) until it exceeds four times its best, then the first tenth
and the last five points are cut, then one of four rules. Lightning 2.6: the same average with a step counter that is
one ahead, then the steepest fall over the rate itself, not over its logarithm.

Each takes `(lrs, losses)`, both `(points,)`, and returns a rate, or None where the original raises or returns nothing.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

BETA, TOO_HIGH = 0.98, 4.0


def averaged(losses: np.ndarray, ahead: int = 0) -> np.ndarray:
    """The moving average up to where it exceeds four times its best; `ahead` is the counter's error."""
    average, best, out = 0.0, np.inf, []
    for step, loss in enumerate(losses, start=1):
        average = BETA * average + (1 - BETA) * loss
        out.append(average / (1 - BETA ** (step + ahead)))
        best = min(best, out[-1])
        if out[-1] > TOO_HIGH * best and step > ahead:
            break
    return np.array(out)


def fastai(rule: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[np.ndarray, np.ndarray], float | None]:
    """The path of a curve through fast.ai to one of its rules."""

    def suggest(lrs: np.ndarray, losses: np.ndarray) -> float | None:
        smooth = averaged(losses)
        trimmed = smooth[len(lrs) // 10 : -5]
        rates = lrs[: len(smooth)][len(lrs) // 10 : -5]
        lost = ~np.isfinite(trimmed)
        if lost.any():
            trimmed, rates = trimmed[: lost.argmax()], rates[: lost.argmax()]
        try:
            return float(rule(rates, trimmed))
        except (IndexError, ValueError):
            return None

    return suggest


def valley(lrs: np.ndarray, losses: np.ndarray) -> float:
    """The middle of the longest falling subsequence, as if it had no gaps."""
    longest = np.ones(len(losses), dtype=int)
    for i in range(1, len(losses)):
        higher = losses[:i] > losses[i]
        longest[i] = 1 + max(longest[:i][higher], default=0)
    end = int(longest.argmax())
    start = end - longest[end]
    third = (end - start) / 3
    return lrs[start + int(third) + int(third / 2)]


def slide(lrs: np.ndarray, losses: np.ndarray, apart: int = 15, threshold: float = 0.005) -> float:
    """From the right, two slopes 15 points apart, until they are alike; the threshold is in units of loss."""
    slopes = np.gradient(losses)
    right, left = -1, -1 - apart
    found = lrs[left]
    while left >= -len(losses) and abs(slopes[right] - slopes[left]) > threshold:
        found = lrs[left]
        right, left = right - 1, left - 1
    return found


def minimum(lrs: np.ndarray, losses: np.ndarray) -> float:
    """A tenth of the rate with the lowest loss."""
    return lrs[losses.argmin()] / 10


def steep(lrs: np.ndarray, losses: np.ndarray) -> float:
    """The steepest forward difference over the logarithm of the rate."""
    return lrs[(np.diff(losses) / np.diff(np.log(lrs))).argmin()]


def lightning(lrs: np.ndarray, losses: np.ndarray, ahead: int = 1) -> float | None:
    """The steepest fall over the rate itself, with the first ten points and the last one left out."""
    smooth = averaged(losses, ahead)
    rates, trimmed = lrs[: len(smooth)][10:-1], smooth[10:-1]
    finite = np.isfinite(trimmed)
    rates, trimmed = rates[finite], trimmed[finite]
    return float(rates[np.gradient(trimmed, rates).argmin()]) if len(rates) > 1 else None


REFERENCES: dict[str, Callable[[np.ndarray, np.ndarray], float | None]] = {
    "fast.ai valley": fastai(valley),
    "fast.ai slide": fastai(slide),
    "fast.ai minimum": fastai(minimum),
    "fast.ai steep": fastai(steep),
    "Lightning": lightning,
    "Lightning, counter mended": partial(lightning, ahead=0),
}
