"""A run with a range test in it is the run without it, bit for bit: weights, state, randomness, data, metrics, logs."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from torch.utils.data import BatchSampler, DataLoader, SubsetRandomSampler, TensorDataset, WeightedRandomSampler

from lightcycle.callbacks.range_test import range_test
from lightcycle.finder.ramp import Ramp
from toys import quiet_trainer, toy_loader
from witness import Careful, run, same

RAMP = Ramp(min_lr=1e-4, max_lr=100.0, steps=15)


class RangeTests(Callback):
    """Runs the range test before the given steps, and catches what it raises."""

    def __init__(self, *steps, expect=None):
        self.steps, self.expect, self.curves = set(steps), expect, []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step not in self.steps:
            return
        self.steps.discard(trainer.global_step)
        if self.expect is None:
            self.curves.append(range_test(trainer, pl_module, RAMP, seed=7))
        else:
            pl_module.broken = True
            with pytest.raises(self.expect):
                range_test(trainer, pl_module, RAMP, seed=7)
            pl_module.broken = False


def scaled():
    """float16 with a scaler that sees overflows, on a CPU."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14, growth_interval=3)
    return MixedPrecision("16-mixed", "cpu", scaler=scaler)


SETUPS = {
    "plain": dict,
    "adamw": lambda: {"module": Careful(optimizer="adamw", groups=2)},
    "workers": lambda: {"loader": toy_loader(shuffle=True, num_workers=2)},
    "persistent workers": lambda: {"loader": toy_loader(shuffle=True, num_workers=2, persistent_workers=True)},
    "accumulation": lambda: {"accumulate_grad_batches": 4},
    "bf16": lambda: {"precision": "bf16-mixed"},
    "fp16 with a scaler": lambda: {"plugins": [scaled()]},
    "clipping": lambda: {"gradient_clip_val": 0.1},
    "own generator": lambda: {"loader": toy_loader(shuffle=True, generator=torch.Generator().manual_seed(1))},
}


class OwnRandomness(TensorDataset):
    """A data set that draws noise from generators of its own."""

    def __init__(self, *tensors):
        super().__init__(*tensors)
        self.numpy, self.torch = numpy.random.default_rng(0), torch.Generator().manual_seed(0)
        self.python, self.old, self.reads = random.Random(0), numpy.random.RandomState(0), 0

    def __getitem__(self, index):
        self.reads += 1
        x, y = super().__getitem__(index)
        noise = self.numpy.normal() + self.python.gauss(0, 1) + self.old.randn() + torch.randn((), generator=self.torch)
        return x + 0.01 * noise, y


def own_randomness():
    return DataLoader(OwnRandomness(*toy_loader().dataset.tensors), batch_size=8, shuffle=True)


class Collecting(Careful):
    """Lightning's own idiom: outputs are collected, and used up at the end of the epoch."""

    def __init__(self, **options):
        super().__init__(**options)
        self.outputs, self.by_class = [], {}

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.outputs.append(loss.detach())
        self.by_class[batch_idx] = loss.item()
        return loss

    def on_train_epoch_end(self):
        self.log("mean", torch.stack(self.outputs).mean())
        self.log("seen", float(len(self.by_class)))
        self.outputs.clear()


SETUPS |= {
    "data with its own randomness": lambda: {"loader": own_randomness()},
    "lists on the module": lambda: {"module": Collecting(groups=2)},
    "some batches only": lambda: {"limit_train_batches": 3},
}
SLOW = {"workers", "persistent workers"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in SETUPS])
def test_the_run_is_the_same_with_range_tests_in_it(name):
    torch.manual_seed(0)
    without = run(**SETUPS[name]())
    torch.manual_seed(0)
    finder = RangeTests(0, 1, 4)
    same(run(finder, **SETUPS[name]()), without)
    assert len(finder.curves) == 3
    assert all(len(losses) > 5 for losses in finder.curves)


def test_the_range_test_really_trains():
    finder = RangeTests(0)
    torch.manual_seed(0)
    run(finder, module=Careful(lrs=(0.1, 0.05)))
    losses = finder.curves[0]
    assert max(losses) > 5 * losses[0], "rates up to 100 must make this loss explode"


def test_after_a_resume(tmp_path):
    save = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    run(save, enable_checkpointing=True)
    with pytest.warns(UserWarning, match="not resumable"):
        without = run(ckpt=tmp_path / "step=7.ckpt")
    with pytest.warns(UserWarning, match="not resumable"):
        same(run(RangeTests(7, 9), ckpt=tmp_path / "step=7.ckpt"), without)


class Breaking(Careful):
    """Does something bad in the middle of a sweep, when told to."""

    broken = False
    bad = None

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if self.broken and batch_idx == 5:
            loss = self.bad(loss)
        return loss


def _raise(error):
    raise error


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt()], ids=["raises", "Ctrl-C"])
@pytest.mark.parametrize("setup", ["plain", "fp16 with a scaler"])
def test_when_a_step_raises(error, setup):
    def module():
        torch.manual_seed(0)
        made = Breaking(groups=2)
        made.bad = lambda loss: _raise(error)
        return made

    without = run(module=module(), **SETUPS[setup]())
    same(run(RangeTests(0, 4, expect=type(error)), module=module(), **SETUPS[setup]()), without)


def test_when_the_loss_is_not_a_number():
    class Nan(Breaking):
        broken = True

        def training_step(self, batch, batch_idx):
            loss = Careful.training_step(self, batch, batch_idx)
            return loss * float("nan") if self.trainer.optimizers[0].param_groups[0]["lr"] > 1 else loss

    def module():
        torch.manual_seed(0)
        return Nan(groups=2)

    finder = RangeTests(0, 4)
    without = run(module=module())
    same(run(finder, module=module()), without)
    assert all(losses[-1] != losses[-1] for losses in finder.curves)


def test_group_ratios_hold_in_the_sweep():
    class Spy(Careful):
        rates: list = []

        def on_before_optimizer_step(self, optimizer):
            self.rates.append([group["lr"] for group in optimizer.param_groups])

    finder = RangeTests(0)
    run(finder, module=Spy(groups=2))
    for fast, slow in Spy.rates[:15]:
        assert slow == pytest.approx(fast / 10)
    assert [rates[0] for rates in Spy.rates[: len(finder.curves[0])]] == RAMP.rates()[: len(finder.curves[0])]


def test_the_second_loader_has_the_samples_of_the_first():
    """Weights, subsets and batch samplers stay: only the seed is another."""
    dataset = TensorDataset(torch.arange(40.0).repeat(6, 1).T, torch.zeros(40, dtype=torch.long))
    weights = WeightedRandomSampler([1.0] * 10 + [0.0] * 30, 40)
    loaders = {
        "weighted": (DataLoader(dataset, batch_size=8, sampler=weights), 10),
        "in batches": (DataLoader(dataset, batch_sampler=BatchSampler(weights, 8, drop_last=False)), 10),
        "subset": (DataLoader(dataset, batch_size=8, sampler=SubsetRandomSampler(range(20))), 20),
        "all": (DataLoader(dataset, batch_size=8), 40),
    }
    for name, (loader, below) in loaders.items():
        seen = set()

        class Spy(Careful):
            def training_step(self, batch, batch_idx, seen=seen):
                seen |= set(batch[0][:, 0].tolist())
                return super().training_step((batch[0] / 40, batch[1]), batch_idx)

        run(RangeTests(0), module=Spy(), loader=loader, limit_train_batches=5)
        assert max(seen) < below, name


def test_refusals():
    class Manual(Careful):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            self.optimizers().step()

    class Only(RangeTests):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            range_test(trainer, pl_module, RAMP, seed=0)

    with pytest.raises(ValueError, match=r"Manual does so too \(automatic_optimization=False\); choose lr by hand"):
        quiet_trainer(max_epochs=1, callbacks=[Only()]).fit(Manual(), toy_loader())

    class Mute(Careful):
        def training_step(self, batch, batch_idx):
            return None

    with pytest.raises(ValueError, match=r"Mute.training_step returned no loss"):
        quiet_trainer(max_epochs=1, callbacks=[Only()]).fit(Mute(), toy_loader())

    class Steps(Careful):
        def optimizer_step(self, *args, **kwargs):
            return super().optimizer_step(*args, **kwargs)

    with pytest.raises(
        ValueError, match=r"Steps has an optimizer_step of its own, which the range test would pass over"
    ):
        quiet_trainer(max_epochs=1, callbacks=[Only()]).fit(Steps(), toy_loader())

    with pytest.raises(ValueError, match=r"cannot make a second loader beside a list"):
        quiet_trainer(max_epochs=1, callbacks=[Only()]).fit(Careful(), list(toy_loader()))


@pytest.mark.slow
def test_two_processes(tmp_path):
    """DDP over gloo: both ranks see one curve, and the run is the run without the test."""
    script = Path(__file__).with_name("ddp_range_test.py")
    env = {**os.environ, "PYTHONPATH": str(script.parents[1])}
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, timeout=240, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = {path.stem: torch.load(path, weights_only=True) for path in tmp_path.glob("*.pt")}
    assert runs["with-0"]["curve"] == runs["with-1"]["curve"]
    assert len(runs["with-0"]["curve"]) > 5
    for rank in "01":
        for mine, theirs in zip(runs[f"with-{rank}"]["weights"], runs[f"without-{rank}"]["weights"], strict=True):
            assert torch.equal(mine, theirs)
    for a, b in zip(runs["with-0"]["weights"], runs["with-1"]["weights"], strict=True):
        assert torch.equal(a, b)
