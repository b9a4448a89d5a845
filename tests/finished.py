"""The commands that look at a finished run, run inside the test process."""

import sys
from importlib import import_module

from lightcycle.app import command


def ask(monkeypatch, name, *arguments):
    """``ask(monkeypatch, "evaluate", "run=...")`` is scripts/evaluate.py run=...; gives what its job returns."""
    returned = []
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    job = getattr(import_module(f"lightcycle.app.{name}"), name)
    command.main(name, lambda config: returned.append(job(config)))
    return returned[0]
