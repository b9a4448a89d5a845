"""A smooth line through noisy points that does not lag, and how far noise may have moved it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST, SHARE = 3, 0.12  # a window reaches past so many neighbors, however sparse, and no further than that share


@dataclass
class Line:
    """A smoothed line: its value and its slope at every point, `(points,)` each.

    `value_error` and `slope_error` are standard errors per unit of noise: times the noise they are those of the line.
    """

    value: np.ndarray
    slope: np.ndarray
    value_error: np.ndarray
    slope_error: np.ndarray


def local_line(x: Sequence[float], y: Sequence[float], bandwidth: float) -> Line:
    r"""Local linear regression: at each point, the straight line that fits its surroundings best.

    $$\min_{a, b} \sum_j e^{-(x_j - x_i)^2 / 2 h^2} \, (y_j - a - b (x_j - x_i))^2, \quad s_i = a, \; s'_i = b$$

    Windows look both ways, so nothing lags, and a line has no bias at its ends: a straight line comes back as it is.

    Args:
        x: ascending positions, `(points,)`; at least two.
        y: finite values, `(points,)`.
        bandwidth: h, in units of x; wider where fewer than 3 others are that near, and narrower where more than an
            eighth of all points are.

    >>> line = local_line([0, 1, 2, 3, 4], [1.0, 3.0, 5.0, 7.0, 9.0], bandwidth=1.0)
    >>> line.value.round(9).tolist(), line.slope.round(9).tolist()
    ([1.0, 3.0, 5.0, 7.0, 9.0], [2.0, 2.0, 2.0, 2.0, 2.0])

    Source: Fan and Gijbels, Local Polynomial Modelling and Its Applications, 1996.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    apart = x[None, :] - x[:, None]  # row i: where the others are, seen from point i
    near = np.sort(np.abs(apart), axis=1)
    fewest, most = (min(count, len(x) - 1) for count in (FEWEST, max(2 * FEWEST, round(SHARE * len(x)))))
    weight = np.exp(-0.5 * (apart / np.clip(bandwidth, near[:, fewest], near[:, most])[:, None]) ** 2)
    weight /= weight.sum(axis=1, keepdims=True)
    center = (weight * apart).sum(axis=1, keepdims=True)
    variance = (weight * (apart - center) ** 2).sum(axis=1, keepdims=True)
    slope = weight * (apart - center) / variance
    value = weight - slope * center
    level = y.mean()  # taken out first: a large offset then costs no digits
    return Line(
        value=value @ (y - level) + level,
        slope=slope @ (y - level),
        value_error=np.linalg.norm(value, axis=1),
        slope_error=np.linalg.norm(slope, axis=1),
    )


def noise(y: Sequence[float]) -> float:
    r"""The standard deviation of independent noise on a smooth line, unmoved by the line and by a few wild points.

    $$d_i = y_{i-1} - 2 y_i + y_{i+1}, \quad m = 1.4826 \operatorname{median}_i |d_i|, \quad
    \sigma^2 = \operatorname{mean}_i \min(|d_i|, 2.5 m)^2 / (0.9775 \cdot 6)$$

    Second differences of a straight line vanish, and those of noise have six times its variance. The median alone would
    be robust, but itself noisy; it only says where to cut (0.9775 is what the cut leaves of a normal variance).

    >>> noise([1.0, 2.0, 3.0, 4.0, 5.0]), noise([1.0, 2.0])
    (0.0, 0.0)
    """
    bends = np.abs(np.diff(np.asarray(y, dtype=float), n=2))
    if not len(bends):
        return 0.0
    cut = np.minimum(bends, 2.5 * 1.4826 * np.median(bends))
    return float(np.sqrt(np.mean(cut**2) / (0.9775 * 6)))


def running_median(y: Sequence[float], half: int = 2) -> np.ndarray:
    """The median of each point and its `half` neighbors to both sides; fewer at the ends.

    >>> running_median([1.0, 9.0, 2.0, 3.0], half=1).tolist()
    [5.0, 2.0, 3.0, 2.5]
    """
    y = np.asarray(y, dtype=float)
    return np.array([np.median(y[max(0, i - half) : i + half + 1]) for i in range(len(y))])
