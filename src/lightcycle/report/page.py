"""The run's report: one page a person would rather look at than a log."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightcycle.report.chart import Chart
from lightcycle.report.html import write_page
from lightcycle.report.parts import Code, Part, Picture, Section, Table, Text, records

PICTURES = {
    "What happened": {"timeline.png": "Timeline: what changed during the run"},
    "Learning rate": {"lr_find*.png": "LR range test", "stages/*/lr_find*.png": "LR range test"},
    "Snapshots": {"snapshots.png": "Accuracy of each snapshot and of their ensemble"},
    "Evaluation": {
        "confusion*.png": "Confusion matrix",
        "reliability*.png": "Reliability: how often it is right when it is so sure",
        "most_wrong*.png": "The images it got most wrong",
    },
    "Loss landscape": {"landscape*.png": "Loss between and around the snapshots"},
}
"""Section -> name of a file in the run's folder -> caption; what is there is shown."""

PHOTOS = ("most_wrong",)  # pictures of images, not of numbers
LIGHT = 2_000_000  # bytes of pictures in one page: more is slow to load on a phone
Records = Sequence[Mapping[str, Any]]


def report(
    folder: str | os.PathLike,
    title: str,
    headline: Mapping[str, object],
    *,
    figures: Sequence[tuple[str, str | os.PathLike]] = (),
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence]]] = (),
    config: str = "",
    environment: Mapping[str, object] | None = None,
    sections: Sequence[Section] = (),
    metric: str = "val/acc",
    stages: Records = (),
    cycles: Records = (),
    groups: Records = (),
    lr_finds: Records = (),
    snapshots: Records = (),
    evaluations: Records = (),
    landscape: str = "",
) -> Path:
    """Write `folder/report.html`, self-contained, and return its path.

    Pictures with the names in `PICTURES` are taken from `folder`. What is empty is left out. Records are mappings of
    column -> value, one per row; columns that hold lists are not shown.

    Args:
        folder: the run's output folder.
        title: of the page.
        headline: name -> figure, shown large, such as `{"test/acc": 0.991}`.
        figures: (caption, path of an image); a relative path is one inside `folder`.
        tables: (caption, header, rows).
        config: the resolved configuration as YAML.
        environment: name -> value: versions, device, commit.
        sections: what else the run has to tell, after the tables.
        metric: the column of `stages` and `cycles` that is drawn.
        stages, cycles: one record per stage and per cycle, such as `{"name": "head", "val/acc": 0.97}`.
        groups: one record per layer group.
        lr_finds: one record per range test.
        snapshots: one record per snapshot.
        evaluations: one record per evaluated weights.
        landscape: what the loss landscape says, in a sentence.

    >>> import tempfile
    >>> report(tempfile.mkdtemp(), "sgdr on digits", {"test/acc": 0.991}).name
    'report.html'
    """
    album = Album(Path(folder), figures)
    body = [
        Section("What happened", [*album.of("What happened"), *album.others()]),
        Section("Stages", [*_chart("by stage", stages, metric), *_table(stages)]),
        Section("Cycles", [*_chart("at the end of each cycle", cycles, metric), *_table(cycles)]),
        Section("Learning rate", [*album.of("Learning rate"), *_table(lr_finds)]),
        Section("Layer groups", _table(groups)),
        Section("Snapshots", [*album.of("Snapshots"), *_table(snapshots)]),
        Section("Evaluation", [*_table(evaluations), *album.of("Evaluation")]),
        Section("Loss landscape", [*([Text(landscape)] if landscape else []), *album.of("Loss landscape")]),
        Section("Figures", [Table(*each) for each in tables]),
        *sections,
        Section("Configuration", [Code(config)] if config else [], folded=True),
        Section("Environment", [Table("", [], list(environment.items()))] if environment else [], folded=True),
    ]
    return write_page(Path(folder) / "report.html", title, headline, body)


class Album:
    """The pictures of a page: those in the run's folder by their names, and others; beyond `LIGHT` they are only named.

    Args:
        folder: the run's output folder.
        figures: (caption, path) of further pictures; one with a name of `PICTURES` goes where those belong.
    """

    def __init__(self, folder: Path, figures: Sequence[tuple[str, str | os.PathLike]] = ()) -> None:
        self.folder = folder
        self.captions = {folder / path: caption for caption, path in figures}
        self.room = LIGHT
        self._placed = {path for section in PICTURES for path, _ in self._found(section)}

    def of(self, section: str) -> list[Part]:
        """The pictures of a section."""
        return [self._part(self.captions.get(path, caption), path) for path, caption in self._found(section)]

    def others(self) -> list[Part]:
        """The pictures that no section asks for, in the order given."""
        return [self._part(caption, path) for path, caption in self.captions.items() if path not in self._placed]

    def _found(self, section: str) -> list[tuple[Path, str]]:
        named = PICTURES[section].items()
        return [(path, caption) for pattern, caption in named for path in sorted(self.folder.glob(pattern))]

    def _part(self, caption: str, path: Path) -> Part:
        picture = Picture(caption, path, photo=path.name.startswith(PHOTOS))
        if (size := len(picture.image[1])) > self.room:
            return Text(f"{caption}: {path.name}, {path.stat().st_size / 1e6:.1f} MB, lies beside this page.")
        self.room -= size
        return picture


def _table(rows: Records) -> list[Part]:
    return [records("", rows)] if rows else []


def _chart(caption: str, rows: Records, metric: str) -> list[Part]:
    """The metric over the records, where at least two have it."""
    table = records("", rows)
    if metric not in table.header:
        return []
    values = [row[table.header.index(metric)] for row in table.rows]
    if sum(value is not None for value in values) < 2:
        return []
    return [Chart(f"{metric} {caption}", [str(row[0]) for row in table.rows], values)]
