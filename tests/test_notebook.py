"""The notebook runs from top to bottom, and what it says of its run is so."""

import json
import logging
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "your_own_module.ipynb"


def code() -> list[str]:
    """The sources of the code cells."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.fixture
def pictures(monkeypatch):
    """Jupyter's part: the pictures that the cells show, each read when it is shown."""
    shown = []
    display = ModuleType("IPython.display")
    display.Image = lambda path, width: shown.append(Path(path).read_bytes())
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


@pytest.fixture
def quiet():
    """The level of Lightning's log is left as it was."""
    log = logging.getLogger("lightning.pytorch")
    before = log.level
    yield
    log.setLevel(before)


@pytest.mark.slow
def test_the_notebook_runs(pictures, quiet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "notebook"}
    for number, cell in enumerate(code()):
        exec(compile(cell, f"{NOTEBOOK.name}, code cell {number}", "exec"), names)
    assert len(pictures) == 4
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    # the plan is what the optimizer got
    plan, rate = names["plan"], names["found"]["applied"]
    assert plan.cycle_ends == (19, 57, 133)
    applied = [lrs for _, lrs, _, _ in names["recorder"].points]
    assert applied == [pytest.approx([rate * plan.factor(step)] * 3) for step in range(133)]
    # the snapshots are those of the cycle ends, the last one the model's own
    assert [one.step for one in names["snapshots"](f"{names['FOLDER']}/snapshots")] == list(plan.cycle_ends)
    assert torch.equal(names["members"][-1]["head.2.weight"], names["net"].head[2].weight)
    # the first stage of the recipe trained the head alone, at the rate that was found; the second all, by its rates
    head, everything = names["records"]
    assert (head.depth, everything.depth) == ([(0, 1)], [])
    assert head.lr_find[0]["applied"] == head.rates[-1][1]
    assert everything.ratios == pytest.approx([0.1, 0.1**0.5, 1.0])
    # it learns: chance is 0.2
    assert names["accuracy"](names["net"], names["data"]) > 0.95
    assert min(names["accuracy"](names[module], names["few"]) for module in ("fine", "staged")) > 0.8


def test_the_notebook_is_stored_without_outputs():
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs"), "clear the outputs: they would rot"
