"""The command line: Hydra's entry, and errors that teach, each in one line.

Errors are said by ``lightcycle.app.say``; a stack of calls is printed for bugs only, or for everything with
``HYDRA_FULL_ERROR=1``.
"""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from lightcycle.app.processes import job_of_a_sweep
from lightcycle.app.say import is_lesson, sentence
from lightcycle.app.schema import PROJECT, choices, register

FULL = "HYDRA_FULL_ERROR"


def main(config_name: str, job: Callable[[DictConfig], Any]) -> None:
    """Composes ``conf/CONFIG_NAME.yaml`` with the command line and runs the job; ``--help`` is answered at once."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(usage(), end="")
        return
    register()
    decorate = hydra.main(version_base="1.3", config_path=str(PROJECT / "conf"), config_name=config_name)
    if os.environ.get(FULL) == "1":
        decorate(job)()
    else:
        with _variable(FULL, "1"), said():  # with "1" Hydra raises what it would print
            decorate(_said_in_job(job))()


def usage() -> str:
    """conf/help.txt with the options of every group; Hydra's own listing takes seconds with this many schemas."""
    return (PROJECT / "conf" / "help.txt").read_text().format(groups=choices())


@contextmanager
def said() -> Iterator[None]:
    """Turns what the user did wrong into one line and exit code 1; bugs pass."""
    try:
        yield
    except Exception as error:
        if not is_lesson(error):
            raise
        sys.exit("\n".join([f"error: {sentence(error)}", *getattr(error, "__notes__", [])]))


def _said_in_job(job: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """The job, its errors said before Hydra announces them; of a sweep the sweeper is told first."""

    @functools.wraps(job)
    def run(config: DictConfig) -> Any:
        with _variable(FULL, None):  # the processes of DDP are told like this one
            if HydraConfig.get().mode is RunMode.MULTIRUN:
                with job_of_a_sweep():
                    return job(config)
            with said():
                return job(config)

    return run


@contextmanager
def _variable(name: str, value: str | None) -> Iterator[None]:
    """An environment variable, for a while."""
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
