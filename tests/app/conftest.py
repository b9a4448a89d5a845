"""The real command line, run inside the test process."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lightcycle.app import cli

TINY = ("data=synthetic", "data.size=6", "data.n_train=40", "data.n_val=12", "data.n_test=12", "data.batch_size=8")
"""Five batches an epoch, and a net that trains them in milliseconds."""
SMALL = (*TINY, "model=mlp", "model.hidden=[8]", "model.dropout=0.2", "trainer.accelerator=cpu")


@pytest.fixture
def small() -> tuple[str, ...]:
    return SMALL


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SimpleNamespace]:
    """``app("schedule=sgdr", folder=...)`` runs train.py's job; gives what it returned and its folder.

    What the command line says when it refuses is ``str(error.value)`` of the SystemExit.
    """

    def run(
        *overrides: str, folder: Path = tmp_path / "run", job: Callable | None = None, config: str = "train"
    ) -> Any:
        from lightcycle.app.run import train

        returned = []

        def call(composed: Any) -> Any:
            returned.append((job or train)(composed))
            return returned[-1]

        monkeypatch.setattr(sys, "argv", [f"{config}.py", *overrides, f"hydra.run.dir={folder}"])
        cli.main(config, call)
        return SimpleNamespace(value=returned[-1], values=returned, folder=folder)

    return run
