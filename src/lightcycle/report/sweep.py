"""A comparison of settings over seeds, from plain numbers: a table, a CSV file, a picture and a page."""

import csv
import io
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightcycle.report.files import write_text
from lightcycle.report.html import write_page
from lightcycle.report.parts import Picture, Section, Table, Text
from lightcycle.report.table import cell, print_table

Curve = list[tuple[float, float]]


@dataclass
class Setting:
    """What the runs of one setting reached, one number per seed.

    Args:
        values: what makes the setting, in the order of the sweep's keys.
        figures: name -> one number per run.
        curves: per run, (epochs done, watched metric).
        runs: the name of each.

    >>> setting = Setting(("sgdr",), {"val/acc": [0.9, 0.92]})
    >>> setting.said("val/acc"), setting.said("test/acc"), setting.name(["schedule"])
    ('0.91 ± 0.014', '-', 'sgdr')
    """

    values: tuple[str, ...]
    figures: Mapping[str, Sequence[float]] = field(default_factory=dict)
    curves: Sequence[Curve] = field(default_factory=list)
    runs: Sequence[str] = ()

    def mean(self, figure: str) -> float | None:
        """Over the runs; None where the figure is missing."""
        return statistics.fmean(self.figures[figure]) if figure in self.figures else None

    def sd(self, figure: str) -> float | None:
        """Sample standard deviation (n - 1); None of fewer than two runs."""
        values = self.figures.get(figure, ())
        return statistics.stdev(values) if len(values) > 1 else None

    def said(self, figure: str) -> str:
        """Mean and sd as a person reads them."""
        mean, sd = self.mean(figure), self.sd(figure)
        return cell(mean) if sd is None else f"{cell(mean)} ± {sd:.2g}"

    @property
    def n(self) -> int:
        """The number of runs."""
        return max((len(values) for values in self.figures.values()), default=0)

    @property
    def run(self) -> str | None:
        """The name of its run; None where there are several."""
        return self.runs[0] if len(self.runs) == 1 else None

    def name(self, keys: Sequence[str]) -> str:
        """The setting in a legend: its value, or key=value where several differ."""
        if len(keys) == 1:
            return self.values[0]
        pairs = zip(keys, self.values, strict=True)
        return ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in pairs) or "all runs"


def write_sweep(
    folder: str | os.PathLike,
    settings: Sequence[Setting],
    keys: Sequence[str],
    metric: str,
    others: Sequence[tuple[str, str]] = (),
) -> None:
    """Write `sweep.csv`, `sweep.png` and `sweep.html` into `folder`, and print the table.

    Args:
        folder: where they go.
        settings: in the order of the table, the best first.
        keys: what differs between the settings.
        metric: the watched metric, whose curves are drawn.
        others: (folder, reason) of the runs that have no figures.
    """
    from lightcycle.report.sweep_picture import draw_sweep

    folder, what = Path(folder), ", ".join(keys) or "seeds only"
    write_text(folder / "sweep.csv", as_csv(settings, keys))
    draw_sweep(settings, keys, metric, folder / "sweep.png")
    shown = [name for name in dict.fromkeys(["test/acc", metric, "seconds"]) if _any_has(settings, name)]
    header, rows = [*keys, "n", *shown], table(settings, shown)
    if any(setting.run for setting in settings):
        header, rows = [*header, "run"], [[*row, each.run] for row, each in zip(rows, settings, strict=True)]
    body = [
        Section("Settings", [Table("mean ± sd over the seeds, n runs each", header, rows)]),
        Section("Curves", [Picture(f"{metric}, mean and sd over the seeds, and against time", folder / "sweep.png")]),
        Section("Without figures", [Table("", ["run", "why"], others)] if others else []),
        Section("How to read it", [Text(ORDER.format(metric=metric))]),
    ]
    headline = {f"best {metric}": settings[0].said(metric), "settings": len(settings), "runs": _runs(settings)}
    write_page(folder / "sweep.html", f"Comparison: {what}", headline, body)
    print_table(f"{what} · best {metric} first", header, rows)
    if others:
        print_table("without figures", ["run", "why"], others)
    print(folder / "sweep.html")


ORDER = (
    "Settings are in the order of {metric}, the metric that was watched; the test set chooses nothing. The sd is that "
    "of a sample (n - 1), and one run has none. Means that lie closer than their sd need more seeds to be told apart."
)


def table(settings: Sequence[Setting], figures: Sequence[str]) -> list[list[Any]]:
    """A row per setting: its values, n, then mean and sd of each figure.

    >>> table([Setting(("sgdr",), {"val/acc": [0.9]})], ["val/acc"])
    [['sgdr', 1, '0.9']]
    """
    return [[*setting.values, setting.n, *(setting.said(figure) for figure in figures)] for setting in settings]


def as_csv(settings: Sequence[Setting], keys: Sequence[str]) -> str:
    """A row per setting: its values, n, mean and sd of every figure with all their digits, and its run if it is one.

    >>> print(as_csv([Setting(("sgdr",), {"val/acc": [0.5, 1.0]})], ["schedule"]), end="")
    schedule,n,val/acc_mean,val/acc_sd,run
    sgdr,2,0.75,0.3535533905932738,
    """
    names = list(dict.fromkeys(name for setting in settings for name in setting.figures))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*keys, "n", *(f"{name}_{what}" for name in names for what in ("mean", "sd")), "run"])
    for each in settings:
        numbers = [v for name in names for v in (each.mean(name), each.sd(name))]
        writer.writerow([*each.values, each.n, *numbers, each.run])
    return file.getvalue()


def _any_has(settings: Sequence[Setting], figure: str) -> bool:
    return any(figure in setting.figures for setting in settings)


def _runs(settings: Sequence[Setting]) -> int:
    return sum(setting.n for setting in settings)
