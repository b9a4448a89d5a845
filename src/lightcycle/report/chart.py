"""A small chart that the page draws itself: sharp on every screen, in the page's own colors, without a file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from lightcycle.report.table import cell

WIDTH, HEIGHT = 360, 150  # of the drawing; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 38, 322, 30, 108  # where the dots may be
RIM = 128  # the line below them
ROOM = 40  # that a value takes
MOST = 8  # dots that can all have their value and their name beside them
LETTERS, LONGEST = 44, 12  # of the names below: side by side, and of the one at the rim


@dataclass
class Chart:
    """One value per label, as dots on a line from left to right.

    With many values only the first and the last are written out, and the lowest and the highest where there is room.
    A value of None, NaN or infinity has no dot.

    Args:
        caption: what is drawn; read aloud, with every value, to who cannot see it.
        labels: one below each dot.
        values: as many numbers.

    Raises:
        ValueError: there is not one label per value.

    >>> Chart("accuracy", ["head", "all"], [0.91, 0.98]).html().count("<circle")
    2
    """

    caption: str
    labels: Sequence[str]
    values: Sequence[float | None]

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.values):
            raise ValueError(f"{len(self.values)} values have {len(self.labels)} labels; give one label per value.")

    def html(self) -> str:
        dots = self._dots()
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in dots)
        body = f'<line class="rim" x1="{LEFT - 12}" x2="{RIGHT + 12}" y1="{RIM}" y2="{RIM}"/>'
        body += f'<polyline class="line" points="{line}"/>' if len(dots) > 1 else ""
        body += "".join(f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y, _ in dots)
        body += "".join(self._texts(dots))
        said = ", ".join(f"{label} {cell(value)}" for label, value in zip(self.labels, self.values, strict=True))
        drawn = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(f"{self.caption}: {said}")}">'
        return f"<figure>{drawn}{body}</svg><figcaption>{escape(self.caption)}</figcaption></figure>"

    def _dots(self) -> list[tuple[float, float, int]]:
        """(x, y, number) of each value that can be drawn; equal values lie in the middle."""
        there = [(i, v) for i, v in enumerate(self.values) if v is not None and math.isfinite(v)]
        low, high = min((v for _, v in there), default=0), max((v for _, v in there), default=0)
        last = max(len(self.values) - 1, 1)
        span = high - low
        up = [(v - low) / span if span else 0.5 for _, v in there]
        across = [i / last if len(self.values) > 1 else 0.5 for i, _ in there]
        return [
            (LEFT + (RIGHT - LEFT) * a, BOTTOM - (BOTTOM - TOP) * u, i)
            for a, u, (i, _) in zip(across, up, there, strict=True)
        ]

    def _texts(self, dots: list[tuple[float, float, int]]) -> list[str]:
        """The value beside a dot, the label below all."""
        if not dots:
            return []
        named = dots if len(dots) <= MOST else _notable(dots)
        letters = min(max(LETTERS // len(named), 3), LONGEST)
        ys = [y for _, y, _ in dots]
        ys = [ys[min(1, len(ys) - 1)], *ys, ys[max(len(ys) - 2, 0)]]  # beyond its ends a line goes back as it came
        sides = {dot: _side(*ys[at : at + 3]) for at, dot in enumerate(dots)}
        return [self._beside(dot, *sides[dot]) for dot in named] + [
            f'<text class="soft" x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{self._label(i, letters)}</text>'
            for x, _, i in named
        ]

    def _beside(self, dot: tuple[float, float, int], below: int, anchor: str) -> str:
        x, y, number = dot
        value = escape(cell(float(self.values[number])))
        return f'<text x="{x:.1f}" y="{y + below:.1f}" text-anchor="{anchor}">{value}</text>'

    def _label(self, number: int, letters: int) -> str:
        label = str(self.labels[number])
        return escape(label if len(label) <= letters else f"{label[: letters - 1]}…")


def _notable(dots: list[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """The first and the last, and the highest and the lowest where there is room beside the others."""
    named = [dots[0], dots[-1]]
    by_height = sorted(dots, key=lambda dot: dot[1])
    for dot in (by_height[0], by_height[-1]):
        if all(abs(dot[0] - other[0]) > ROOM for other in named):
            named.append(dot)
    return named


def _side(before: float, here: float, after: float) -> tuple[int, str]:
    """Where a value stands so that the line does not cross it: pixels below its dot, and which end of it is there.

    >>> _side(3.0, 2.0, 1.0), _side(1.0, 2.0, 1.0), _side(2.0, 1.0, 2.0)  # on a rise, in a valley, on a peak
    ((-8, 'end'), (16, 'middle'), (-8, 'middle'))
    """
    if before > here > after:
        return -8, "end"
    if before < here < after:
        return -8, "start"
    return (16 if here >= max(before, after) and before + after < 2 * here else -8), "middle"
