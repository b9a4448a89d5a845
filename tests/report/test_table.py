"""Tables a person and a log file can read."""

import io
import math

import pytest
from rich.console import Console

from lightcycle.report.table import cell, markdown_table, print_table, table

HEADER, ROWS = ["name", "test/acc", "seconds"], [["sgdr", 0.98765, 12.0], ["one_cycle", None, 1234.56]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.00012345, "-0.0001234"),
        (999.96, "1000"),
        (1e9, "1e+09"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (5, "5"),
    ],
)
def test_cells(value, text):
    assert cell(value) == text


def test_into_a_file_the_table_is_plain(capsys):
    print_table("results", HEADER, ROWS)
    assert capsys.readouterr().out == (
        "results\nname       test/acc  seconds\nsgdr       0.9877    12\none_cycle  -         1235\n"
    )


def test_in_a_terminal_it_is_rich():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    print_table("results", HEADER, ROWS, file=(out := Terminal()))
    assert "─" in out.getvalue()
    assert "0.9877" in out.getvalue()


def test_brackets_are_text_and_numbers_stand_right():
    made = table("[bold]t", ["[red]", "n"], [["[green]x[/green]", 1], ["[/]", None]])
    assert [column.justify for column in made.columns] == ["left", "right"]
    Console(file=(out := io.StringIO()), width=80).print(made)
    for text in ("[bold]t", "[red]", "[green]x[/green]", "[/]"):
        assert text in out.getvalue()


def test_empty_tables_are_tables(capsys):
    print_table("nothing", ["a", "b"], [])
    assert capsys.readouterr().out == "nothing\na  b\n"
    assert markdown_table(["a"], []) == "| a |\n| --- |"


def test_markdown_escapes_what_would_break_a_row():
    assert markdown_table(["a|b"], [["x\ny"], ["|"]]) == "| a\\|b |\n| --- |\n| x y |\n| \\| |"
