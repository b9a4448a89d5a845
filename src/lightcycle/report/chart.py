"""A small chart that the page draws itself: sharp on every screen, in the page's own colors, without a file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from lightcycle.report.table import cell

WIDTH, HEIGHT = 360, 150  # of the drawing; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 38, 322, 30, 118  # where the dots may be
MOST = 8  # dots that can all have their value and their name beside them
LETTERS, LONGEST = 44, 12  # of the names below: side by side, and of the one at the rim


@dataclass
class Chart:
    """One value per label, as dots on a line from left to right.

    With many values only the first, the last, the lowest and the highest are written out. A value of None, NaN or
    infinity has no dot.

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
        body = f'<line class="rim" x1="{LEFT - 12}" x2="{RIGHT + 12}" y1="{BOTTOM + 8}" y2="{BOTTOM + 8}"/>'
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
        """The value above a dot, the label below the line."""
        if not dots:
            return []
        by_height = sorted(dots, key=lambda dot: dot[1])
        named = dots if len(dots) <= MOST else sorted({dots[0], dots[-1], by_height[0], by_height[-1]})
        letters = min(max(LETTERS // len(named), 3), LONGEST)
        texts = [f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle">{self._value(i)}</text>' for x, y, i in named]
        return texts + [
            f'<text class="soft" x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{self._label(i, letters)}</text>'
            for x, _, i in named
        ]

    def _value(self, number: int) -> str:
        return escape(cell(float(self.values[number])))

    def _label(self, number: int, letters: int) -> str:
        label = str(self.labels[number])
        return escape(label if len(label) <= letters else f"{label[: letters - 1]}…")
