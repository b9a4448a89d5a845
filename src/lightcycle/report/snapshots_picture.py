"""The picture of a snapshot ensemble: what each member reaches, the last m of them together, and how they differ."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightcycle.report.files import write_bytes
from lightcycle.report.panels import BLUE, GREEN, INK, ORANGE, PALE, PURPLE, RAMP, VERMILION
from lightcycle.report.png import png

Rows = Sequence[Mapping[str, Any]]
SINGLES = (INK, GREEN, ORANGE, PURPLE)
WORDS = {"val": "validation", "test": "test"}


def draw_snapshots(
    rows: Rows, differ: Sequence[Sequence[float]], path: str | os.PathLike, parts: Sequence[str] = ("val",)
) -> Path:
    """Write the picture to `path` as a PNG, atomically.

    Args:
        rows: of ``ensemble_table``: name, kind, members, and the accuracy of each part.
        differ: ``(members, members)`` share of validation images that two members name differently.
        path: of the file.
        parts: val, test: a panel for each.

    >>> import tempfile
    >>> rows = [{"name": "step 5", "kind": "member", "val": 0.8}, {"name": "last 1", "kind": "last", "val": 0.8}]
    >>> draw_snapshots(rows, [[0.0]], Path(tempfile.mkdtemp()) / "s.png").read_bytes()[1:4]
    b'PNG'
    """
    canvas = Figure(figsize=(4.4 * (len(parts) + 1), 4.1), dpi=160, layout="constrained", facecolor="white")
    *panels, matrix = canvas.subplots(1, len(parts) + 1)
    for axes, part in zip(panels, parts, strict=True):
        accuracies(axes, rows, part)
    disagreements(matrix, differ, [row["name"].removeprefix("step ") for row in rows if row["kind"] == "member"])
    # one legend for all panels, outside: nowhere inside is surely empty
    handles, texts = panels[0].get_legend_handles_labels()
    canvas.legend(handles, texts, loc="outside lower left", ncols=3 * len(parts), frameon=False, fontsize=8)
    return write_bytes(path, png(canvas))


def accuracies(axes: Axes, rows: Rows, part: str) -> None:
    """Members from the first to the last as dots, the last m together as a line, single models across.

    Early members may be far below all else: the scale is that of the others, and a number on its edge says theirs.
    """
    members = [row[part] for row in rows if row["kind"] == "member"]
    last = [row[part] for row in rows if row["kind"] == "last"]
    axes.plot(range(1, len(members) + 1), members, "o", color=PALE, markersize=6, label="member number m", gid="member")
    axes.plot(range(1, len(last) + 1), last, "o-", color=BLUE, markersize=4, label="the last m together", gid="last")
    chosen = next((row for row in rows if row["name"] == "ensemble"), None)
    if chosen:
        look = {"color": VERMILION, "markersize": 13, "fillstyle": "none", "linestyle": "none", "gid": "chosen"}
        axes.plot([chosen["members"]], [chosen[part]], marker="o", label="chosen on validation", **look)
    for row, color in zip([row for row in rows if row["kind"] == "single"], SINGLES, strict=False):
        axes.axhline(row[part], color=color, linewidth=1.2, linestyle="--", label=row["name"])
    _scale(axes, members, [*last, *(row[part] for row in rows if row["kind"] == "single")])
    axes.set_title(f"{WORDS[part]} accuracy", loc="left", fontsize=9.5, color=INK)
    axes.set_xlabel("m", color=INK, fontsize=9.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)


def _scale(axes: Axes, members: Sequence[float], others: Sequence[float]) -> None:
    seen = [*others, *sorted(members)[len(members) // 2 :]]
    low, high = min(seen), max(seen)
    margin = max(high - low, 0.005)
    if min(members) >= low - margin:
        return
    axes.set_ylim(low - margin, high + 0.2 * margin)
    for number, value in enumerate(members, 1):
        if value < low - margin:
            axes.plot([number], [low - margin], "v", color=PALE, markersize=6, clip_on=False)
            spot = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center"}
            axes.annotate(f"{value:.3g}", (number, low - margin), fontsize=7.5, color=INK, **spot)


def disagreements(axes: Axes, differ: Sequence[Sequence[float]], names: Sequence[str]) -> None:
    """A square for each pair of members, with the percentage written in it where there is room."""
    top = max(max(row) for row in differ) or 1.0
    axes.imshow(differ, cmap=RAMP, vmin=0.0, vmax=top)
    for i, row in enumerate(differ if len(differ) <= 10 else ()):
        for j, value in enumerate(row):
            color = "white" if value > top / 2 else INK
            axes.text(j, i, f"{100 * value:.1f}", ha="center", va="center", fontsize=7.5, color=color)
    axes.set_xticks(range(len(names)), names, fontsize=7.5, rotation=45)
    axes.set_yticks(range(len(names)), names, fontsize=7.5)
    axes.set_title("% of images named differently, by steps", loc="left", fontsize=9.5, color=INK)
