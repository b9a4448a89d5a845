"""Lines with fewer points that look the same, and smooth lines through noise."""

from collections.abc import Iterable, Sequence

import numpy as np


def thin(x: Sequence[float], y: Sequence[float], keep: Iterable[int] = (), limit: int = 4000):
    """At most about `limit` points of a line: the ends, the lowest and highest of each stretch, and `keep`.

    Every peak and every low of the line survives, so the drawn line reaches where the true one does.

    Args:
        x, y: the line's points, `(points,)` each.
        keep: positions in the line that must stay, such as the steps around a restart.
        limit: most points wanted; shorter lines come back whole.

    Returns:
        Two arrays, x and y.

    >>> x, y = thin(range(100_000), [i % 1000 for i in range(100_000)])
    >>> len(x) <= 4000, float(y.min()), float(y.max())
    (True, 0.0, 999.0)
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(x) <= limit:
        return x, y
    ends = [0, len(x) - 1]
    kept = np.unique([*ends, *(i for i in keep if 0 <= i < len(x))])
    if len(kept) > limit // 2:  # so many restarts that the stretches find each peak themselves
        kept = np.array(ends)
    kept = np.unique(np.concatenate([kept, _extremes(y, stretches=(limit - len(kept)) // 2)]))
    return x[kept], y[kept]


def parted(x: np.ndarray, y: np.ndarray, spans: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """A line with a gap (NaN) behind each span; the last value of each holds for its whole step.

    Args:
        x, y: the line's points, `(points,)` each.
        spans: (first step, step behind the last); with none the line is left as it is.

    >>> x, y = parted(np.array([0.0, 1.0, 2.0]), np.array([0.1, 0.2, 0.9]), [(0, 2), (2, 3)])
    >>> x.tolist(), y.tolist()
    ([0.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0], [0.1, 0.2, 0.2, nan, 0.9, 0.9, nan])
    """
    line = np.stack([x, y])
    pieces = [line[:, (x >= start) & (x < stop)] for start, stop in spans]
    ended = [np.hstack([own, [[own[0, -1] + 1] * 2, [own[1, -1], np.nan]]]) for own in pieces if own.size]
    return tuple(np.hstack(ended)) if ended else (x, y)


def _extremes(y: np.ndarray, stretches: int) -> np.ndarray:
    """Positions of the lowest and the highest value in each of `stretches` equal stretches."""
    length = -(-len(y) // stretches)
    padded = np.full(stretches * length, np.nan)
    padded[: len(y)] = y
    rows = padded.reshape(stretches, length)
    starts = np.arange(stretches) * length
    low = starts + np.where(np.isnan(rows), np.inf, rows).argmin(axis=1)
    high = starts + np.where(np.isnan(rows), -np.inf, rows).argmax(axis=1)
    found = np.concatenate([low, high])
    return found[found < len(y)]


def smooth(y: Sequence[float], window: int) -> np.ndarray:
    r"""A centered, twice-applied moving average; at the ends it averages what is there, so nothing lags.

    $$s_i = \operatorname{mean}(y_{i-h}, \dots, y_{i+h}), \quad h = \lfloor window / 2 \rfloor$$

    Values that are not finite are left out of every mean; where no finite value is near, the result is NaN.

    >>> smooth([1, 1, 1, 1], window=3).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    y = np.asarray(y, dtype=float)
    return _moving_mean(_moving_mean(y, window // 2), window // 2)


def _moving_mean(y: np.ndarray, half: int) -> np.ndarray:
    finite = np.isfinite(y)
    total = np.concatenate([[0.0], np.cumsum(np.where(finite, y, 0.0))])
    count = np.concatenate([[0], np.cumsum(finite)])
    at = np.arange(len(y))
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, len(y))
    seen = count[high] - count[low]
    return np.where(seen > 0, total[high] - total[low], np.nan) / np.maximum(seen, 1)
