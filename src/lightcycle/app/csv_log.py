"""``CSVLog``: metrics.csv, one row per logged step, whole at any moment."""

import csv
import time
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
        share: of the time that writing may take. The file is written whole and swapped in: the longer it is, the less
            often; and with every checkpoint, and at the end.
    """

    def __init__(self, folder: str, share: float = 0.01) -> None:
        super().__init__()
        self.path, self.share = Path(folder) / "metrics.csv", share
        self.rows: dict[int, dict[str, float]] = read_rows(self.path)
        self._rests_until = 0.0

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

    def forget_after(self, step: int) -> None:
        """Drops rows of a run that was cut off behind the checkpoint that is now resumed."""
        self.rows = {at: row for at, row in self.rows.items() if at <= step}

    @rank_zero_only
    def save(self) -> None:
        """Writes, unless it has just done so: Lightning asks for it after every row."""
        if time.perf_counter() >= self._rests_until:
            self.flush()

    @rank_zero_only
    def flush(self) -> None:
        """Writes the rows that there are."""
        if not self.rows:
            return
        began = time.perf_counter()
        names = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        lines = [["step", *names]]
        lines += [[step, *(row.get(name, "") for name in names)] for step, row in sorted(self.rows.items())]
        write_text(self.path, "".join(",".join(map(str, line)) + "\n" for line in lines))
        ended = time.perf_counter()
        self._rests_until = ended + (ended - began) / self.share

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.flush()


def read_rows(path: Path) -> dict[int, dict[str, float]]:
    """The rows of a metrics.csv by step; none where there is no file."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {
            int(row.pop("step")): {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        }
