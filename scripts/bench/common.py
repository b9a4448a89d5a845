"""What the measurements share: pieces that survive an interruption, the machine they ran on, small statistics.

Every script here takes ``--quick`` (tiny sizes, to see that it works), ``--threads`` and ``--fresh``, and writes
``outputs/bench/NAME.json`` (every piece) and ``NAME.md`` (the table). Run again, it goes on where it stopped.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from lightcycle.app import environment, quiet
from lightcycle.app.schema import PROJECT
from lightcycle.report.files import write_json, write_text
from lightcycle.report.table import markdown_table


class Results:
    """The finished pieces of one measurement, in a JSON file that is rewritten after each of them.

    Args:
        path: the JSON file; the table goes beside it.
        settings: what all pieces have in common; a file with others is not continued.
        fresh: forgets what is there.

    Raises:
        ValueError: if the file was measured with other settings.
    """

    def __init__(self, path: Path, settings: dict[str, Any], *, fresh: bool = False) -> None:
        self.path = path
        old = json.loads(path.read_text()) if path.exists() and not fresh else {}
        if old and old["settings"] != settings:
            raise ValueError(f"{path} was measured with {old['settings']}, not {settings}; --fresh starts anew")
        self.pieces: dict[str, Any] = old.get("pieces", {})
        here = describe_environment()
        seen = old.get("environments", [])
        self._saved = {"settings": settings, "environments": seen if here in seen else [*seen, here]}
        print(here)

    def piece(self, key: str, measure: Callable[[], Any]) -> Any:
        """What ``measure()`` returns, asked only if no earlier run has done so."""
        if key in self.pieces:
            print(f"{key}: done before")
            return self.pieces[key]
        began = time.perf_counter()
        self.pieces[key] = measure()
        self._write({})
        print(f"{key}: {time.perf_counter() - began:.1f} s", flush=True)
        return self.pieces[key]

    def close(self, summary: dict[str, Any], header: Sequence[str], rows: Iterable[Sequence]) -> None:
        """Writes the summary into the JSON and the table into the Markdown file, and prints it."""
        self._write({"summary": summary})
        notes = "\n".join(self._saved["environments"])
        text = f"{markdown_table(header, rows)}\n\n{self._saved['settings']}\n\n{notes}\n"
        write_text(self.path.with_suffix(".md"), text)
        print(f"\n{text}")

    def _write(self, more: dict[str, Any]) -> None:
        write_json(self.path, {**self._saved, **more, "pieces": self.pieces})


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with what every script takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes; the figures mean nothing")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch")
    parser.add_argument("--fresh", action="store_true", help="forget the pieces measured before")
    parser.add_argument("--out", type=Path, default=PROJECT / "outputs" / "bench", help="folder of the results")
    return parser


def start(args: argparse.Namespace, name: str, settings: dict[str, Any]) -> Results:
    """Sets the threads, silences greetings and opens the results."""
    torch.set_num_threads(args.threads)
    quiet.silence()
    settings = {**settings, "threads": args.threads}
    return Results(args.out / f"{name}{'-quick' if args.quick else ''}.json", settings, fresh=args.fresh)


def describe_environment() -> str:
    """Device, cores, system, versions and commit, in one line."""
    machine = environment.machine()
    versions = ", ".join(f"{name} {version}" for name, version in environment.versions().items())
    commit = (environment.git_commit() or "none")[:12]
    return f"{machine['device']}, {machine['cores']} cores, {machine['system']}; {versions}; commit {commit}"


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, sample standard deviation (``None`` for a single value) and n.

    >>> spread([1.0, 3.0])
    {'mean': 2.0, 'sd': 1.4142135623730951, 'n': 2}
    """
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": sd, "n": len(values)}
