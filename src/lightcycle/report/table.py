"""Small tables for the terminal, for a log file and for Markdown."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import rich.table


def cell(value) -> str:
    """A value as a person wants to read it: four significant digits, no needless zeros, a dash for nothing.

    >>> [cell(value) for value in (0.987654, 3e-4, 7.0, 123456.7, 2.5e-7, None, "sgdr", True)]
    ['0.9877', '0.0003', '7', '123457', '2.5e-07', '-', 'sgdr', 'True']
    """
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.4g}"


def table(title: str, header: Sequence[str], rows: Iterable[Sequence]) -> rich.table.Table:
    """A rich table; numbers stand to the right.

    >>> table("results", ["name", "acc"], [["sgdr", 0.99]]).row_count
    1
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = [list(row) for row in rows]
    made = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD)
    for position, name in enumerate(header):
        made.add_column(Text(str(name)), justify="right" if _is_numeric(rows, position) else "left")
    for row in rows:
        made.add_row(*(Text(cell(value)) for value in row))  # Text: a class called "[red]" is no markup
    return made


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence], file: TextIO | None = None) -> None:
    """Print a table: with rich in a terminal, as bare aligned columns into a file or pipe (default: stdout).

    >>> print_table("results", ["name", "acc"], [["sgdr", 0.99], ["one_cycle", 0.9912]])
    results
    name       acc
    sgdr       0.99
    one_cycle  0.9912
    """
    file = file or sys.stdout
    if file.isatty():
        from rich.console import Console

        Console(file=file).print(table(title, header, rows))
    else:
        print(title, *_aligned(header, rows), sep="\n", file=file)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """The table in GitHub's Markdown, without a line end at the end.

    >>> print(markdown_table(["schedule", "test/acc"], [["sgdr", 0.98765]]))
    | schedule | test/acc |
    | --- | --- |
    | sgdr | 0.9877 |
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_escape(cell(value)) for value in line) + " |" for line in lines)


def _is_numeric(rows: list[list], position: int) -> bool:
    values = [row[position] for row in rows if row[position] is not None]
    return bool(values) and all(isinstance(value, int | float) for value in values)


def _aligned(header: Sequence[str], rows: Iterable[Sequence]) -> list[str]:
    lines = [[cell(value) for value in line] for line in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
