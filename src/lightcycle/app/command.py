"""The commands that look at a finished run: their help, their options, their bar."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from lightcycle.app import cli
from lightcycle.app.checks import Rule
from lightcycle.app.quiet import is_interactive
from lightcycle.app.say import unknown, yaml
from lightcycle.app.schema import PROJECT

if TYPE_CHECKING:  # torch takes seconds to import
    import torch

PATHS = ("run", "images", "out")
"""Options whose values are paths: what Hydra's grammar takes for its own in them is quoted."""

RUN = Rule(bool, "must be the folder of a finished run", "train.py prints it at its end, such as run=outputs/mine")
DEVICE = Rule(
    lambda v: v is None or isinstance(v, str), "must be cpu, cuda, cuda:1, mps or null", "null takes the best"
)


def main(name: str, job: Callable[[DictConfig], Any]) -> None:
    """Runs a job with ``conf/NAME.yaml`` and the command line; ``--help`` prints that file, which explains itself."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(usage(name), end="")
        return
    sys.argv[1:] = [quoted(argument) for argument in sys.argv[1:]]
    cli.main(name, job)


def usage(name: str) -> str:
    """The options of ``conf/NAME.yaml`` with their comments; what is Hydra's business is left out."""
    text = (PROJECT / "conf" / f"{name}.yaml").read_text()
    return re.sub(r"^(defaults|hydra):\n(^[ ]+.*\n|^\n)*", "", text, flags=re.MULTILINE)


def quoted(argument: str) -> str:
    r"""An argument with its path in quotes, where it needs them: sweeps name folders ``lr=0.1,seed=1``.

    >>> quoted("run=outputs/mine"), quoted("run=outputs/lr=0.1,seed=1"), quoted("part=val")
    ('run=outputs/mine', "run='outputs/lr=0.1,seed=1'", 'part=val')
    """
    key, _, value = argument.partition("=")
    if key not in PATHS or re.fullmatch(r"[\w./-]*|(['\"]).*\1", value):
        return argument
    return f"{key}='{value.replace(chr(39), chr(92) + chr(39))}'"


def check(config: Mapping[str, Any], rules: dict[str, Rule], prefix: str = "") -> None:
    """Holds the options against their rules; the first that is broken, unknown or missing raises ValueError."""
    if extra := [key for key in config if key not in rules]:
        raise ValueError(unknown(f"{prefix}{extra[0]}", rules))
    for name, rule in rules.items():
        if not rule.holds(value := config.get(name)):
            raise ValueError(f"{prefix}{name} {rule.legal} (got {yaml(value)}); {rule.fix}")


def device(wanted: str | None) -> torch.device:
    """Where to compute.

    Raises:
        ValueError: there is no such device here.
    """
    import torch

    best = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    try:
        found = torch.device(wanted) if wanted else best
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device={wanted} cannot be used here ({reason}); device={best} can") from error
    return found


def bar(items: Iterable, text: str, total: int | None = None) -> Iterable:
    """The items, with a progress bar where somebody watches; how many they are, where they have no length."""
    from rich.progress import track

    return track(items, text, total=total, transient=True, disable=not is_interactive())
