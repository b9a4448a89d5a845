"""The bench of finder rules: known answers that are right, references with their known quirks, a run that resumes."""

import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"
MODULES = ("finder_problems", "finder_references")


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(BENCH))
    yield [importlib.import_module(name) for name in MODULES]
    sys.path.remove(str(BENCH))
    for name in MODULES:
        del sys.modules[name]


@pytest.fixture
def problems(modules):
    return modules[0]


@pytest.fixture
def references(modules):
    return modules[1]


def textbook(lowest=-7, points=100, noise=0.0, seed=0):
    """A curve that is steepest at lr 3.4e-3."""
    x = np.linspace(lowest, 0, points)
    loss = 0.4 + 1.9 / (1 + np.exp((x + 2.47) / 0.3)) + np.exp(np.minimum(10 * (x + 0.3), 20))
    return 10**x, loss + noise * np.random.default_rng(seed).normal(size=points)


@pytest.mark.parametrize("seed", range(5))
def test_lightnings_formula_answers_near_the_lowest_rate(references, seed):
    lr = references.lightning(*textbook(-8, noise=0.02, seed=seed), ahead=0)
    assert 4e-8 < lr < 3e-7  # four decades below the answer, 3e-3


def test_lightnings_first_average_is_half_the_loss(references):
    assert references.averaged(np.array([2.0]), ahead=1)[0] == pytest.approx(0.505 * 2.0, rel=1e-3)
    assert references.averaged(np.array([2.0]))[0] == pytest.approx(2.0)


def test_the_average_drags_the_steepest_point_behind(references):
    lrs, losses = textbook()
    assert references.steep(lrs, losses) == pytest.approx(3.4e-3, rel=0.2)
    assert references.fastai(references.steep)(lrs, losses) > 3 * 3.4e-3


def test_fastai_answers_a_flat_curve_and_breaks_on_a_negative_one(references):
    lrs = np.geomspace(1e-7, 10, 100)
    assert references.fastai(references.valley)(lrs, np.full(100, 2.0)) is not None
    assert references.fastai(references.minimum)(lrs, np.full(100, -2.0)) is None


def test_valley_is_the_middle_of_the_longest_falling_run(references):
    losses = np.array([5.0, 5, 5, 4, 3, 2, 1, 0, 6, 7])
    run = 6  # 5 4 3 2 1 0
    start = 7 - run
    assert references.valley(np.arange(10), losses) == start + int(run / 3) + int(run / 3 / 2)


def test_slide_stops_where_two_slopes_15_points_apart_are_alike(references):
    losses = np.concatenate([np.zeros(60), np.arange(40.0)])
    assert references.slide(np.arange(100), losses) == 100 - 16  # alike at once: the first guess
    assert references.minimum(np.array([1.0, 2, 3]), np.array([3.0, 1, 2])) == 0.2


def test_expected_loss_of_the_regression_is_the_mean_of_many_runs(problems):
    rng = np.random.default_rng(0)
    spectrum, weights, label_noise, batch, steps, lr = np.array([4.0, 1.0]), np.array([1.0, -2.0]), 0.5, 8, 30, 0.1
    finals = []
    for _ in range(3000):
        w = weights.copy()
        for step in range(steps):
            inputs = rng.normal(size=(batch, 2)) * np.sqrt(spectrum)
            errors = inputs @ w + rng.normal(size=batch) * math.sqrt(label_noise)
            w -= lr * (1 + math.cos(math.pi * step / steps)) / 2 * inputs.T @ errors / batch
        finals.append(spectrum @ w**2)
    task = spectrum, weights, label_noise
    (expected,) = problems._regression_losses(np.array([lr]), batch, steps, task)
    assert np.mean(finals) == pytest.approx(expected, abs=4 * np.std(finals) / math.sqrt(3000))


def test_gradients_of_the_network_are_those_of_torch(problems):
    import torch

    rng = np.random.default_rng(0)
    layers = [rng.normal(size=(2, 5, 4)), rng.normal(size=(2, 4, 3))]
    inputs, labels = rng.normal(size=(7, 5)), rng.integers(3, size=7)
    losses, gradients = problems._classify(layers, inputs, labels)
    for run in range(2):
        first, second = (torch.tensor(layer[run], requires_grad=True) for layer in layers)
        loss = torch.nn.functional.cross_entropy(
            torch.relu(torch.tensor(inputs) @ first) @ second, torch.tensor(labels)
        )
        loss.backward()
        assert losses[run] == pytest.approx(loss.item())
        np.testing.assert_allclose(gradients[0][run], first.grad, atol=1e-12)
        np.testing.assert_allclose(gradients[1][run], second.grad, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_of_the_network_is_that_of_torch(problems, optimizer):
    import torch

    rng = np.random.default_rng(1)
    start = [rng.normal(size=(5, 4)), rng.normal(size=(4, 3))]
    batches = [(rng.normal(size=(6, 5)), rng.integers(3, size=6)) for _ in range(20)]
    losses, _ = problems._train(start, batches, np.full((20, 1), 0.05), optimizer)
    params = [torch.tensor(layer, requires_grad=True) for layer in start]
    stepper = torch.optim.SGD(params, 0.05, momentum=0.9) if optimizer == "sgd" else torch.optim.Adam(params, 0.05)
    expected = []
    for inputs, labels in batches:
        scores = torch.relu(torch.tensor(inputs) @ params[0]) @ params[1]
        loss = torch.nn.functional.cross_entropy(scores, torch.tensor(labels))
        expected.append(loss.item())
        stepper.zero_grad()
        loss.backward()
        stepper.step()
    np.testing.assert_allclose(losses[0], expected, rtol=1e-5)


def test_the_same_seed_makes_the_same_curve(problems):
    for family in ("textbook", "hopeless"):
        one, two = problems.make(family, 5), problems.make(family, 5)
        np.testing.assert_array_equal(one.losses, two.losses)
        assert (one.answer, one.kind) == (two.answer, two.kind)
        assert (family == "hopeless") == (one.answer is None)


@pytest.mark.slow
def test_bench_runs_and_resumes(tmp_path):
    command = [sys.executable, str(BENCH / "finder_curves.py"), "--quick", "--threads", "1", "--out", str(tmp_path)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    path = tmp_path / "finder_curves-quick.json"
    whole = json.loads(path.read_text())
    assert {"auto", "steepest", "fast.ai valley", "Lightning"} <= set(whole["summary"]["rules"])
    assert "| auto |" in path.with_suffix(".md").read_text()
    second = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert second.stdout.count("done before") == len(whole["pieces"])
    assert json.loads(path.read_text())["summary"] == whole["summary"]
