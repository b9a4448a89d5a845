"""The range test in one picture: the losses it met, and what every rule makes of them."""

import os
import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightcycle.finder import Curve, Suggestion
from lightcycle.report.files import write_bytes
from lightcycle.report.panels import BLUE, INK, PALE, SHADE, VERMILION
from lightcycle.report.png import png

CURVE, ROW, LINE, HEAD, TAIL = 3.3, 0.2, 0.17, 0.8, 0.5  # inches: the curve, a rule's row, a line of text, the rims
WIDTH = 9.0
LETTERS = 140  # of small text in the picture's width


def draw_finder(
    curve: Curve, suggestions: Mapping[str, Suggestion], path: str | os.PathLike, chosen: str = "auto"
) -> Path:
    """Write the range test's picture to `path` as a PNG, atomically.

    >>> import tempfile
    >>> from lightcycle.finder import suggest_all
    >>> curve = Curve([0.01, 0.1, 1.0], [[2.0, 1.0, 3.0]])
    >>> draw_finder(curve, suggest_all(curve), Path(tempfile.mkdtemp()) / "lr_find.png").read_bytes()[1:4]
    b'PNG'
    """
    return write_bytes(path, png(finder_figure(curve, suggestions, chosen)))


def finder_figure(curve: Curve, suggestions: Mapping[str, Suggestion], chosen: str = "auto") -> Figure:
    """The loss over the rate above, below it one row per rule that has an answer, then the refusals in words."""
    found = [each for each in suggestions.values() if each.lr is not None]
    words = _refusals(suggestions)
    text = TAIL + LINE * len(words)
    canvas = Figure(dpi=160, facecolor="white", figsize=(WIDTH, HEAD + CURVE + ROW * len(found) + 0.25 + text))
    height = canvas.get_figheight()
    place = {"left": 0.075, "right": 0.985, "top": 1 - HEAD / height, "bottom": text / height, "hspace": 0.06}
    rows = max(ROW * len(found), 1e-3)
    upper, lower = canvas.subplots(2, sharex=True, height_ratios=[CURVE, rows], gridspec_kw=place)
    _losses(upper, curve)
    _answers(lower, upper, found, chosen)
    _axis(upper, lower, curve)
    _texts(canvas, curve, suggestions.get(chosen), words)
    return canvas


def _losses(axes: Axes, curve: Curve) -> None:
    """Every batch pale, the band over several sweeps, and the line that the rules see."""
    look = {"color": PALE, "alpha": 0.55, "marker": "o", "markersize": 3, "markeredgewidth": 0, "linestyle": "none"}
    for number, sweep in enumerate(curve.sweeps):
        axes.plot(curve.lrs, sweep, gid="raw", label=None if number else "one batch", **look)
    if len(curve.sweeps) > 1:
        label = f"lowest to highest of {len(curve.sweeps)} sweeps"
        axes.fill_between(curve.lrs, *curve.band, color=BLUE, alpha=0.13, linewidth=0, label=label, gid="band")
    axes.plot(curve.lrs, curve.smoothed, color=BLUE, linewidth=2, label="smoothed", gid="smoothed")
    if curve.lost_at is not None:
        axes.axvspan(curve.lost_at, curve.lrs[-1], color=SHADE, linewidth=0, zorder=0, label="exploded", gid="lost")
    axes.set_ylim(*_limits(curve))
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False, fontsize=8, borderaxespad=0.2)


def _limits(curve: Curve) -> tuple[float, float]:
    """What lies before the explosion fills the picture; the explosion itself only leaves it."""
    seen = np.array([sweep[: max(curve.end, 1)] for sweep in curve.sweeps])
    seen = seen[np.isfinite(seen)]
    if not len(seen):
        return 0.0, 1.0
    low, high = float(seen.min()), float(np.quantile(seen, 0.995))
    room = high - low or abs(high) or 1.0
    return low - 0.08 * room, high + 0.25 * room


def _answers(axes: Axes, above: Axes, found: list[Suggestion], chosen: str) -> None:
    """One row per answer, the highest rate on top: so no hairline up to the curve crosses the label of another."""
    left, right = np.log10(above.get_lines()[0].get_xdata()[[0, -1]])
    for row, each in enumerate(sorted(found, key=lambda each: -each.lr)):
        own = each.rule == chosen
        look = {"color": VERMILION if own else INK, "zorder": 3 if own else 2}
        line = {"linewidth": 1.8} if own else {"linewidth": 0.8, "alpha": 0.45, "linestyle": (0, (4, 3))}
        above.axvline(each.lr, gid=f"{each.rule} line", **look, **line)
        axes.plot([each.lr] * 2, [-1, row], **look, **line)
        axes.plot([each.lr], [row], marker="D" if own else "o", markersize=6 if own else 4, gid=each.rule, **look)
        room = (right - np.log10(each.lr)) / max(right - left, 1e-9)
        _label(axes, each, row, to_left=room < len(_text(each)) / LETTERS, bold=own, color=look["color"])
    axes.set_ylim(max(len(found) - 0.5, 0.5), -1)


def _label(axes: Axes, each: Suggestion, row: int, *, to_left: bool, bold: bool, color: str) -> None:
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    axes.annotate(_text(each), (each.lr, row), xytext=(-8 if to_left else 8, 0), textcoords="offset points",
                  ha="right" if to_left else "left", va="center", fontsize=8.5, color=color, bbox=paper, zorder=4,
                  fontweight="bold" if bold else "normal")  # fmt: skip


def _text(each: Suggestion) -> str:
    return f"{each.rule}  {each.lr:.2g}" + (f"  (sweeps differ by x{each.spread:.2g})" if each.spread else "")


def _axis(upper: Axes, lower: Axes, curve: Curve) -> None:
    upper.set_xscale("log")
    if len(curve.lrs) > 1:
        upper.set_xlim(curve.lrs[0], curve.lrs[-1])
    upper.set_ylabel("loss", color=INK, fontsize=9.5)
    lower.set_xlabel("learning rate", color=INK, fontsize=9.5)
    upper.grid(axis="y", color="#e6e6e6", linewidth=0.7)
    upper.set_axisbelow(True)
    lower.set_yticks([])
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(PALE)
        axes.tick_params(colors=INK, labelsize=8.5, length=3)
    upper.tick_params(axis="x", which="both", length=0, labelbottom=False)
    upper.spines["bottom"].set_visible(False)
    lower.spines["left"].set_visible(False)


def _texts(canvas: Figure, curve: Curve, answer: Suggestion | None, words: list[str]) -> None:
    """The chosen answer as the title, where the loss is lost, and the refusals below."""
    inch, look = 1 / canvas.get_figheight(), {"ha": "left", "color": INK, "parse_math": False}
    title = "LR range test" if answer is None else f"LR range test: {_headline(answer)}"
    canvas.text(0.012, 1 - 0.09 * inch, title, va="top", fontsize=12, fontweight="bold", **look)
    canvas.text(0.012, 1 - 0.36 * inch, _sentence(answer.reason if answer else ""), va="top", fontsize=8.5, **look)
    for number, text in enumerate(reversed(words)):
        canvas.text(0.012, (0.08 + LINE * number) * inch, text, va="bottom", fontsize=8.5, **look)


def _headline(answer: Suggestion) -> str:
    return "no suggestion" if answer.lr is None else f"{answer.rule} suggests {answer.lr:.2g}"


def _refusals(suggestions: Mapping[str, Suggestion]) -> list[str]:
    """Rules that refuse for one reason share a line; long lines are broken."""
    reasons: dict[str, list[str]] = {}
    for each in suggestions.values():
        if each.lr is None:
            reasons.setdefault(each.reason, []).append(each.rule)
    lines = [f"{', '.join(rules)}: no suggestion: {reason}" for reason, rules in reasons.items()]
    return [part for line in lines for part in textwrap.wrap(line, LETTERS)]


def _sentence(text: str) -> str:
    return textwrap.shorten(text[:1].upper() + text[1:], LETTERS, placeholder=" ...")
