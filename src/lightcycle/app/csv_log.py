"""``CSVLog``: metrics.csv, one row per logged step, whole at any moment."""

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lightcycle.report.files import write_text


class CSVLog(Logger):
    """Writes ``metrics.csv`` into a folder: a column for each metric, a row for each step, empty where nothing came.

    Lightning's own CSVLogger deletes the file it finds; this one continues it, so that a resumed run has one record.

    Args:
        folder: where ``metrics.csv`` goes.
        every: rows between two writes; the file is written whole and swapped in, and once more at the end.
    """

    def __init__(self, folder: str, every: int = 50) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self.every = every
        self.rows: dict[int, dict[str, float]] = read_rows(self.path)
        self._unwritten = 0

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Does nothing: config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = self.rows.setdefault(step or 0, {})
        row.update({name: float(value) for name, value in metrics.items()})
        self._unwritten += 1
        if self._unwritten >= self.every:
            self.save()

    def forget_after(self, step: int) -> None:
        """Drops rows of a run that was cut off behind the checkpoint that is now resumed."""
        self.rows = {at: row for at, row in self.rows.items() if at <= step}

    @rank_zero_only
    def save(self) -> None:
        if not self.rows:
            return
        names = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        lines = [["step", *names]]
        lines += [[step, *(row.get(name, "") for name in names)] for step, row in sorted(self.rows.items())]
        write_text(self.path, "".join(",".join(map(str, line)) + "\n" for line in lines))
        self._unwritten = 0

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()


def read_rows(path: Path) -> dict[int, dict[str, float]]:
    """The rows of a metrics.csv by step; none where there is no file."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {
            int(row.pop("step")): {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        }
