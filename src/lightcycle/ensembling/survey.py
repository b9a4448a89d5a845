"""Where the loss is asked for, as rows of weights over a few states, and what the answers say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lightcycle.ensembling.landscape import barycentric

SURE = 3.0  # standard errors: a rise below that is chance
SMALL = 0.1  # of the snapshots' own loss: a rise below that separates nothing


@dataclass(frozen=True)
class Survey:
    """Points to measure, each a row of weights over states; a snapshot's own row is shared by all that touch it.

    Args:
        rows: ``(points, states)`` weights; the first rows are the snapshots themselves.
        lines: ``(lines, points of a line)`` row numbers, from each snapshot to the next.
        plane: ``(y, x)`` row numbers, or None.
        xs, ys: places of the plane's columns and rows, in lengths of filters.
        places: ``(x, y)`` on the plane of the states it goes through, by their number.
    """

    rows: np.ndarray
    lines: np.ndarray
    plane: np.ndarray | None = None
    xs: np.ndarray | None = None
    ys: np.ndarray | None = None
    places: dict[int, tuple[float, float]] | None = None


def along_lines(snapshots: int, states: int, points: int) -> Survey:
    """The snapshots, and the lines between neighbors, ends included.

    >>> survey = along_lines(snapshots=3, states=3, points=3)
    >>> survey.lines.tolist(), survey.rows[survey.lines[1]].tolist()
    ([[0, 3, 1], [1, 4, 2]], [[0.0, 1.0, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
    """
    own = np.eye(states)[:snapshots]
    inner = np.linspace(0, 1, points)[1:-1, None]
    between = [(1 - inner) * a + inner * b for a, b in pairwise(own)]
    numbers = snapshots + np.arange(len(between) * len(inner)).reshape(len(between), len(inner))
    ends = np.arange(snapshots)[:, None]
    return Survey(np.concatenate([own, *between]), np.hstack([ends[:-1], numbers, ends[1:]]))


def through_three(
    survey: Survey, members: Sequence[int], corners: Sequence[tuple[float, float]], resolution: int, margin: float
) -> Survey:
    """The survey and a grid on the plane through three snapshots, wider than their triangle by a margin all around.

    Args:
        survey: so far.
        members: numbers of the three.
        corners: their places on the plane.
        resolution: points of a side.
        margin: as a share of the triangle's longer extent.
    """
    sides = np.array(corners).T
    rim = margin * np.ptp(sides, axis=1).max()
    xs, ys = (np.linspace(side.min() - rim, side.max() + rim, resolution) for side in sides)
    grid = np.zeros((resolution**2, survey.rows.shape[1]))
    grid[:, list(members)] = [barycentric(corners, x, y) for y in ys for x in xs]
    return _with_plane(survey, grid, xs, ys, dict(zip(members, corners, strict=True)))


def around(survey: Survey, member: int, directions: tuple[int, int], resolution: int, reach: float) -> Survey:
    """The survey and a grid around one snapshot, along two directions, ``reach`` steps to each side."""
    steps = np.linspace(-reach, reach, resolution)
    grid = np.zeros((resolution**2, survey.rows.shape[1]))
    grid[:, member] = 1
    grid[:, list(directions)] = [(x, y) for y in steps for x in steps]
    return _with_plane(survey, grid, steps, steps, {member: (0.0, 0.0)})


@dataclass(frozen=True)
class Barrier:
    """How far the loss climbs on the straight way between two snapshots, above the higher of their own losses.

    So a way that only falls has none, and neither end of a way with one can go to the other downhill.

    Args:
        height: of the highest point.
        error: its standard error over the images, which are the same at all points.
        at: where it is, from 0 to 1.
        ends: the two snapshots' own losses.

    Source: Frankle et al. 2020, Linear mode connectivity, arXiv:1912.05671, whose barrier is above the ends' mean.
    """

    height: float
    error: float
    at: float
    ends: tuple[float, float]

    @property
    def separates(self) -> bool:
        """Whether the rise is more than chance, and more than a small share of the snapshots' own losses."""
        return self.height > max(SURE * self.error, SMALL * sum(self.ends) / 2)


def barrier(losses: np.ndarray) -> Barrier:
    """The barrier on a line of losses ``(points, images)`` at even steps, ends included.

    >>> found = barrier(np.array([[1.0, 2.0], [4.0, 4.0], [1.0, 3.0]]))
    >>> found.height, found.error, found.at, found.ends
    (2.0, 1.0, 0.5, (1.5, 2.0))
    """
    losses = losses.astype(np.float64)
    means = losses.mean(1)
    higher = losses[0] if means[0] > means[-1] else losses[-1]
    top = 1 + int(means[1:-1].argmax())
    rise = losses[top] - higher
    error = rise.std(ddof=1) / np.sqrt(len(rise))
    return Barrier(float(rise.mean()), float(error), top / (len(losses) - 1), (float(means[0]), float(means[-1])))


def verdict(barriers: Sequence[Barrier]) -> str:
    """Whether the snapshots are different minima, in a sentence with the figures of the highest barrier.

    >>> verdict([Barrier(1.5, 0.1, 0.5, (0.25, 0.2))])
    "different minima: the loss climbs 1.5 (+-0.1) above the snapshots' own 0.25 and 0.2, from 1 to 2"
    """
    number, top = max(enumerate(barriers, 1), key=lambda pair: pair[1].height)
    crossed = sum(each.separates for each in barriers)
    where = f"the snapshots' own {top.ends[0]:.3g} and {top.ends[1]:.3g}, from {number} to {number + 1}"
    if top.height <= 0:
        return "one valley: no point between two snapshots has a higher loss than the worse of them"
    figures = f"{top.height:.3g} (+-{top.error:.2g}) above {where}"
    if not crossed:
        return f"one valley: the loss climbs at most {figures}"
    some = "different minima" if crossed == len(barriers) else f"{crossed} of {len(barriers)} ways cross a barrier"
    return f"{some}: the loss climbs {figures}"


def _with_plane(survey: Survey, grid: np.ndarray, xs, ys, places) -> Survey:
    numbers = len(survey.rows) + np.arange(len(grid)).reshape(len(ys), len(xs))
    return Survey(np.concatenate([survey.rows, grid]), survey.lines, numbers, xs, ys, places)
