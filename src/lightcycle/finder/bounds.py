"""The range in which a cyclical schedule should move, from a range test."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightcycle.finder.curve import SHORTEST, Curve
from lightcycle.finder.fall import SURE, NoSuggestion
from lightcycle.finder.rules import Suggestion, suggest
from lightcycle.finder.smooth import local_line, noise

MARGIN = 0.85  # Smith's upper bound stays this far below the rate at which the accuracy starts to fall
RAGGED = 4.0
WINDOWS = 15  # the accuracy is smoothed over this part of the test


@dataclass
class Bounds:
    """The lowest and the highest rate of a cycle, or None for both where the curve gives no ground.

    Args:
        low, high: learning rates; `high` is the peak.
        reason: what was seen, in one sentence.
    """

    low: float | None
    high: float | None
    reason: str


def bounds(curve: Curve, ratio: float = 4.0, rule: str = "auto") -> Bounds:
    """The bounds for CLR and 1cycle: the peak from the range test, and that divided by `ratio`.

    Args:
        curve: what the range test saw.
        ratio: highest / lowest rate. Smith 2015 takes 3 or 4 for CLR, Smith 2018 10 or less for 1cycle.
        rule: the rule that finds the peak.

    Raises:
        ValueError: `ratio` is not above 1.

    >>> flat = Curve([0.1 * k for k in range(1, 21)], [[2.0] * 20])
    >>> bounds(flat).high, bounds(flat).reason
    (None, 'the loss does not fall by more than its noise (0 against 2e-09).')

    Source: Smith, Cyclical Learning Rates for Training Neural Networks, arXiv 1506.01186, section 3.3.
    """
    if not 1 < ratio < math.inf:
        raise ValueError(f"ratio must be > 1 (got {ratio!r}); 4 makes the lowest rate a quarter of the highest.")
    peak = suggest(curve, rule)
    return Bounds(None if peak.lr is None else peak.lr / ratio, peak.lr, peak.reason)


def accuracy_bound(lrs: Sequence[float], accuracies: Sequence[float]) -> Suggestion:
    """Smith's upper bound: 0.85 times the rate at which the accuracy starts to fall or gets ragged.

    Args:
        lrs: ascending rates of a linear ramp, `(points,)`.
        accuracies: what was reached at each, `(points,)`.

    Raises:
        ValueError: there are not as many accuracies as rates.

    >>> rising, falling = [0.1 * k for k in range(10)], [0.8 - 0.1 * k for k in range(9)]
    >>> print(accuracy_bound([0.1 * k for k in range(1, 20)], rising + falling))
    0.85: 0.85 times lr 1, where the accuracy starts to fall.

    Source: Smith, Cyclical Learning Rates for Training Neural Networks, arXiv 1506.01186, section 3.3.
    """
    if len(lrs) != len(accuracies):
        raise ValueError(f"{len(accuracies)} accuracies for {len(lrs)} rates; give one per rate.")
    try:
        at, what = _end_of_rise(np.array(lrs, dtype=float), np.array(accuracies, dtype=float))
    except NoSuggestion as reason:
        return Suggestion("accuracy_bound", None, str(reason))
    return Suggestion("accuracy_bound", MARGIN * lrs[at], f"{MARGIN:g} times lr {lrs[at]:.2g}, where {what}.")


def _end_of_rise(lrs: np.ndarray, accuracies: np.ndarray) -> tuple[int, str]:
    points, finite = len(lrs), int(np.logical_and.accumulate(np.isfinite(accuracies)).sum())
    if finite < SHORTEST:
        raise NoSuggestion(f"only {finite} accuracies are finite, {SHORTEST} are needed.")
    lrs, accuracies = lrs[:finite], accuracies[:finite]
    line, spread = local_line(lrs, accuracies, (lrs[-1] - lrs[0]) / WINDOWS), noise(accuracies)
    peak = int(line.value.argmax())
    rise = line.value[peak] - line.value[0]
    certain = SURE * spread * float(np.hypot(line.value_error[peak], line.value_error[0]))
    if not rise > certain:
        raise NoSuggestion(f"the accuracy does not rise by more than its noise ({rise:.2g} against {certain:.2g}).")
    ragged = _ragged(accuracies)
    if ragged is not None and ragged < peak:
        return ragged, "the accuracy gets ragged"
    if peak == points - 1:
        raise NoSuggestion(f"the accuracy still rises at the end of the test, lr {lrs[-1]:.2g}; raise max_lr.")
    return peak, "the accuracy starts to fall"


def _ragged(accuracies: np.ndarray) -> int | None:
    """The first point from which the accuracy jumps, for five points, four times as far as it did before."""
    jumps = np.abs(np.diff(accuracies, n=2)) + 1e-3  # second differences: neither a rise nor a bend is a jump
    starts = range(SHORTEST, len(jumps) - 4)
    return next((at + 1 for at in starts if np.median(jumps[at : at + 5]) > RAGGED * np.median(jumps[:at])), None)
