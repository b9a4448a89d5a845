"""Runs side by side: one row per setting, with mean, sd and number of seeds. Files are read, nothing is trained."""

import math
import os
import statistics
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from lightcycle.app.runs import Run, find
from lightcycle.app.say import yaml
from lightcycle.report.sweep import Setting, write_sweep

IGNORED = ("seed", "sweep", "resume", "on_resume", "tags", "logger", "monitor", "test", "features_cache", "stages")
"""Keys that do not make another setting."""

USAGE = "usage: python scripts/compare.py FOLDER... [by=schedule,lr] [out=FOLDER]"


def main(arguments: Sequence[str]) -> None:
    """``FOLDER... [by=key,key] [out=FOLDER]``: prints the table and writes sweep.csv, sweep.html and sweep.png."""
    folders = [Path(each) for each in arguments if not each.startswith(("by=", "out="))]
    options = dict(each.split("=", 1) for each in arguments if each.startswith(("by=", "out=")))
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return
    if not folders:
        sys.exit(USAGE)
    try:
        by = [key for key in options.get("by", "").split(",") if key] or None
        compare(folders, Path(options["out"]) if "out" in options else usual(folders), by)
    except ValueError as error:
        sys.exit(f"error: {error}")


def usual(folders: Sequence[Path]) -> Path:
    """Where a comparison goes: into the folder that is compared, or for several into one of its own."""
    return folders[0] if len(folders) == 1 else Path("outputs", "compare", f"{datetime.now():%Y-%m-%d_%H-%M-%S.%f}")


def compare(folders: Iterable[Path], out: Path, by: Sequence[str] | None = None) -> list[Run]:
    """Compares all runs in the folders, prints and writes the table, and returns the runs that have no figures.

    Raises:
        ValueError: there is no run in a folder, none has finished, or `by` names what no run has.
    """
    runs = find(folders)
    finished, others = [run for run in runs if not run.problem], [run for run in runs if run.problem]
    if not finished:
        raise ValueError(f"none of the {len(runs)} runs has finished: {_listed(others)}")
    keys = _asked(by, finished) if by else differing(finished)
    metric = finished[0].summary.get("monitor", "val/acc")
    settings = rank(grouped(finished, keys, metric), metric)
    write_sweep(out, settings, keys, metric, [(str(run.folder), run.problem) for run in others])
    return others


def differing(runs: Sequence[Run]) -> list[str]:
    """The keys that tell the settings apart: first those that were typed, then what these do not already settle.

    A schedule brings its own options and an optimizer its own rate; these differ too, and say nothing more.
    """
    typed = list(dict.fromkeys(key for run in runs for key in run.typed))
    keys = dict.fromkeys([*typed, *(key for run in runs for key in run.config)])
    keys = [key for key in keys if not _is_ignored(key, runs) and len(_values(runs, [key])) > 1]
    chosen = [key for key in keys if key in typed]
    for key in keys:
        if len(_values(runs, [*chosen, key])) > len(_values(runs, chosen)):
            chosen.append(key)
    return chosen


def _is_ignored(key: str, runs: Sequence[Run]) -> bool:
    """Whether a key is about the run and not about the setting: the seed, the loggers, or paths in its own folder."""
    if any(key == name or key.startswith(f"{name}.") for name in IGNORED) or key.endswith("dirpath"):
        return True
    return all(Path(str(run.config.get(key))).is_relative_to(run.folder.resolve()) for run in runs)


def _values(runs: Iterable[Run], keys: Sequence[str]) -> set[tuple[str, ...]]:
    return {of(run, keys) for run in runs}


def of(run: Run, keys: Sequence[str]) -> tuple[str, ...]:
    """A run's values, as they are typed on the command line; a dash where it has none."""
    return tuple(yaml(run.config[key]) if key in run.config else "-" for key in keys)


def _asked(by: Sequence[str], runs: Sequence[Run]) -> list[str]:
    for key in by:
        if not any(key in run.config for run in runs):
            raise ValueError(f"by={key} is in no run's config; what differs is: {', '.join(differing(runs)) or '-'}")
    return list(by)


def grouped(runs: Sequence[Run], keys: Sequence[str], metric: str) -> list[Setting]:
    """The runs of each setting put together: figures as lists over the seeds, and their curves."""
    settings: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        settings.setdefault(of(run, keys), []).append(run)
    names = named(runs)
    return [
        Setting(values, _figures(same), [run.curve(metric) for run in same], [names[run.folder] for run in same])
        for values, same in settings.items()
    ]


def named(runs: Sequence[Run]) -> dict[Path, str]:
    """The folder of each run, without what all of them have in front."""
    shared = os.path.commonpath([run.folder.resolve().parent for run in runs])
    return {run.folder: os.path.relpath(run.folder.resolve(), shared) for run in runs}


def _figures(runs: Sequence[Run]) -> dict[str, list[float]]:
    """What every run of a setting has: its metrics, its length and its time."""
    others = ("epochs", "steps", "seconds", "images_per_second")
    names = [name for name in runs[0].summary if ("/" in name and name != "train/loss") or name in others]
    values = {name: [run.summary.get(name) for run in runs] for name in names}
    return {name: v for name, v in values.items() if all(isinstance(each, int | float) for each in v)}


def rank(settings: Sequence[Setting], metric: str) -> list[Setting]:
    """The best first, by the watched metric: the test set chooses nothing."""
    sign = 1 if "loss" in metric else -1
    return sorted(settings, key=lambda s: sign * statistics.fmean(s.figures.get(metric, [sign * math.inf])))


def _listed(runs: Sequence[Run]) -> str:
    return "; ".join(f"{run.folder} ({run.problem})" for run in runs)
