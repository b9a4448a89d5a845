"""docs/migrating.md: our commands and our Python say the same, and the same as the others' formulas."""

import math
from pathlib import Path

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import LightningDataModule

from documents import fenced, read, rows
from lightcycle.app.schema import PROJECT, register
from lightcycle.app.settings import fitted
from lightcycle.callbacks import ParamScheduler
from toys import Toy, learnable_loader

TEXT = (PROJECT / "docs" / "migrating.md").read_text(encoding="utf-8")
ROWS = list(rows(TEXT))


class Data(LightningDataModule):
    """`data`, as the document calls it."""

    def train_dataloader(self):
        return learnable_loader()

    def val_dataloader(self):
        return learnable_loader()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder where the paths that the document uses exist."""
    register()
    monkeypatch.chdir(tmp_path)
    for folder in ("outputs/mine", "photos/cats", "photos/dogs"):
        Path(folder).mkdir(parents=True)
    yield tmp_path
    HydraConfig.instance().cfg = None


@pytest.fixture(scope="module")
def names():
    """What the Python column may use: the public names, and a run's snapshots."""
    known = {"math": math}
    for room in ("callbacks", "schedules", "ensembling"):
        exec(f"from lightcycle.{room} import *", known)
    known["snapshots"] = lambda folder: [type("Kept", (), {"load": lambda self: {"w": torch.ones(1)}})()]
    return known


def test_the_tables_are_read():
    assert len(ROWS) > 65
    assert sum(len(found) for _, found, _ in ROWS) > 60
    assert sum(len(calls) for _, _, calls in ROWS) > 35


@pytest.mark.parametrize(("theirs", "found", "calls"), ROWS, ids=[row[0] for row in ROWS])
def test_a_row_can_be_run_and_says_one_thing(theirs, found, calls, names, elsewhere):
    stages = [read(line, elsewhere) for line in found]
    made = [eval(call, names) for call in calls]
    for callback in made:
        if isinstance(callback, ParamScheduler):
            typed = stages[0][0]
            assert typed.schedule == fitted(callback.schedule, typed.config.epochs)[0]


@pytest.mark.slow
@pytest.mark.parametrize("block", fenced(TEXT, "python"))
def test_the_python_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {"__name__": "migrating", "module": Toy(groups=2), "data": Data()}
    exec(compile(block, "docs/migrating.md", "exec"), names)
    if "records" in names:
        assert [(record.name, record.epochs) for record in names["records"]] == [("frozen", 1.0), ("all", 3.0)]
    if "trainer" in names:
        assert names["trainer"].current_epoch == 4
    if "values" in names:
        assert names["values"] == pytest.approx([1.0] * 20 + [0.9 ** (step / 20) for step in range(20)])


# -- the others' formulas ----------------------------------------------------------------------------------------------


def clr(t, div=32, cut=5):
    """fast.ai 0.7, CircularLR."""
    part = t * cut if t <= 1 / cut else 1 - (t - 1 / cut) / (1 - 1 / cut)
    return (1 + part * (div - 1)) / div


def clr_beta(t, div=10, pct=10):
    """fast.ai 0.7, CircularLR_beta."""
    half = (1 - pct / 100) / 2
    if t > 2 * half:
        return (1 + (t - 2 * half) / (1 - 2 * half) * (1 - 100) / 100) / div
    part = t / half if t <= half else 1 - (t - half) / half
    return (1 + part * (div - 1)) / div


def restarts(t, epochs=7, mult=2, shrink=0.5):
    """Keras, CosineDecayRestarts, whose first cycle is an epoch."""
    cycle = math.floor(math.log2(t * epochs + 1) + 1e-9)
    place = (t * epochs - (mult**cycle - 1)) / mult**cycle
    return 0.5 * shrink**cycle * (1 + math.cos(math.pi * place))


FORMULAS = [
    ("use_clr=(32", 5, clr),
    ("use_clr_beta", 5, clr_beta),
    ("`CosineDecay(", 5, lambda t: 0.99 * 0.5 * (1 + math.cos(math.pi * t)) + 0.01),
    ("CosineDecayRestarts", 7, restarts),
    ("ExponentialDecay(", 5, lambda t: 0.9 ** (5 * t)),
    ("InverseTimeDecay(", 5, lambda t: 1 / (1 + 0.5 * 5 * t)),
    ("PolynomialDecay(", 5, lambda t: (0.1 - 0.001) / 0.1 * (1 - t) ** 2 + 0.001 / 0.1),
    ("PiecewiseConstantDecay", 10, lambda t: 0.1 ** ((t >= 0.3) + (t >= 0.5))),
]


@pytest.mark.parametrize(("call", "epochs", "formula"), FORMULAS, ids=[formula[0] for formula in FORMULAS])
def test_a_schedule_is_the_others_formula(call, epochs, formula, names):
    ours = _schedule(call, names)
    for t in (k / 100 for k in range(100)):
        assert ours(t, epochs=epochs) == pytest.approx(formula(t), abs=1e-9), t


TIMM = [
    ("--sched cosine --lr-cycle-limit", 7, {"sched": "cosine", "num_epochs": 1, "cycle_limit": 3, "cycle_mul": 2}),
    ("--sched step", 90, {"sched": "step", "decay_epochs": 30, "decay_rate": 0.1}),
    ("--sched multistep", 90, {"sched": "multistep", "decay_milestones": [30, 60], "decay_rate": 0.1}),
    ("--sched poly", 20, {"sched": "poly", "decay_rate": 0.9}),
    ("--min-lr", 20, {"sched": "cosine", "min_lr": 5e-4}),
]


@pytest.mark.parametrize(("call", "epochs", "options"), TIMM, ids=[case[0] for case in TIMM])
def test_a_schedule_is_timms(call, epochs, options, names):
    timm = pytest.importorskip("timm.scheduler", reason="the extra lightcycle[timm] is not installed")
    options = {"cycle_decay": 0.5} | {"num_epochs": epochs} | options
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.05)
    theirs, _ = timm.create_scheduler_v2(optimizer, **options)
    ours = _schedule(call, names)
    for epoch in range(epochs):
        theirs.step(epoch)
        expected = optimizer.param_groups[0]["lr"]
        assert 0.05 * ours(epoch / epochs, epochs=epochs) == pytest.approx(expected, abs=1e-9), epoch


def _schedule(call, names):
    """The schedule of the row whose first column says this."""
    (python,) = [calls[0] for theirs, _, calls in ROWS if call in theirs]
    return eval(python, names).schedule
