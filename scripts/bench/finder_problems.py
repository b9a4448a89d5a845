"""Range-test curves whose answer is known, for `finder_curves.py`.

Three families have an answer that comes from elsewhere than a curve:

regression  online linear regression with a power-law spectrum. The expected loss after training has an exact formula,
            so the best rate is computed; the curve is one run of SGD on real batches with a rising rate.
network     a small two-layer classifier in numpy, SGD with momentum or Adam. The best rate is found by training at
            each of a grid of rates on the same data; the curve is one range test from the same start.
textbook    a formula: a fall centered at one rate, an explosion at another. The answer is the geometric mean of the
            steepest point and the minimum of the noise-free formula, what people pick from such a picture.

`hopeless` makes curves that have none. Every curve comes from one seed.

"Best rate" means the peak of a cosine annealing to zero, the default schedule of this project, over HORIZON times as
many steps as a range test took (of 50 steps for the networks). Where several rates end equally well, up to 2 % of what
training gains, the answer is their geometric middle.
"""

import math
from dataclasses import dataclass

import numpy as np

HORIZON = 10
STEPS = (50, 100, 200)


@dataclass
class Problem:
    """A curve to judge; `answer` is None where the only right reply is none.

    Args:
        family, kind: what it is, and which sort of it.
        lrs: the rates of the range test, ascending: `(points,)`.
        losses: the loss of each step, NaN from where it is lost: `(points,)`.
        answer: the rate to find.
    """

    family: str
    kind: str
    lrs: np.ndarray
    losses: np.ndarray
    answer: float | None


FAMILIES = ("regression", "network", "textbook", "hopeless")


def make(family: str, seed: int) -> Problem:
    """The curve of that family with that seed."""
    makers = dict(zip(FAMILIES, (regression, network, textbook, hopeless), strict=True))
    return makers[family](np.random.default_rng([seed, FAMILIES.index(family)]))


def regression(rng: np.random.Generator) -> Problem:
    """Linear regression on Gaussian inputs with covariance diag(i^-power), batch after fresh batch."""
    steps, batch, modes = int(rng.choice(STEPS)), int(rng.choice([256, 1024])), 50
    spectrum = 10 ** rng.uniform(0.5, 2.5) * np.arange(1, modes + 1) ** -rng.uniform(1.2, 2.0)
    weights = rng.normal(size=modes) * spectrum**-0.25  # the tail carries a good part of the loss, and is slow
    label_noise = rng.choice([0.01, 0.1, 0.3]) * (spectrum @ weights**2)
    grid = np.geomspace(1e-5, 1, 51)
    task = spectrum, weights, label_noise
    finals = _regression_losses(grid, batch, HORIZON * steps, task)
    answer = _middle_of_the_best(grid, finals, start=spectrum @ weights**2)
    lrs, ramp = _ramp(rng, steps, *rng.choice([(1e-7, 10.0), (1e-6, 10.0), (1e-5, 3.0)]), answer)
    losses = _disguise(rng, _regression_sweep(rng, lrs, batch, task))
    return Problem("regression", f"{ramp}, batch {batch}", lrs, losses, answer)


def _middle_of_the_best(grid: np.ndarray, finals: np.ndarray, start: float) -> float:
    """The geometric middle of the rates around the best that end as well as it, up to 2 % of what training gains."""
    best = int(np.nanargmin(finals))
    good = finals <= finals[best] + 0.02 * (start - finals[best])
    low = best - int(np.argmin(good[best::-1])) + 1 if not good[: best + 1].all() else 0
    high = best + int(np.argmin(good[best:])) - 1 if not good[best:].all() else len(grid) - 1
    return float(math.sqrt(grid[low] * grid[high]))


def _regression_sweep(rng, lrs, batch, task) -> np.ndarray:
    """Batch losses of SGD with a rising rate, by simulation; `weights` is the distance to the solution."""
    spectrum, weights, label_noise = task
    losses, weights = [], weights.copy()
    for lr in lrs:
        inputs = rng.normal(size=(batch, len(spectrum))) * np.sqrt(spectrum)
        errors = inputs @ weights + rng.normal(size=batch) * math.sqrt(label_noise)
        losses.append(np.mean(errors**2) / 2)
        weights -= lr * inputs.T @ errors / batch
        if not losses[-1] < 1e6 * losses[0]:
            losses[-1] = math.nan
            break
    return _pad(losses, len(lrs))


def _regression_losses(grid, batch, steps, task) -> np.ndarray:
    r"""Expected loss at the end of a cosine annealing, for each peak rate of the grid; exact for Gaussian inputs.

    $$m_i \leftarrow (1 - \eta \lambda_i)^2 m_i + \eta^2 \lambda_i (\lambda_i m_i + \lambda \cdot m + \sigma^2) / B$$
    """
    spectrum, weights, label_noise = task
    second = np.repeat(weights[None] ** 2, len(grid), axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(steps):
            lr = grid[:, None] * (1 + math.cos(math.pi * step / steps)) / 2
            loss = (second @ spectrum + label_noise)[:, None]
            second = (1 - lr * spectrum) ** 2 * second + lr**2 / batch * (spectrum**2 * second + spectrum * loss)
    losses = second @ spectrum
    return np.where(np.isfinite(losses), losses, np.inf)


def network(rng: np.random.Generator) -> Problem:
    """A small classifier of Gaussian clusters, trained by SGD with momentum or by Adam."""
    steps, batch = int(rng.choice(STEPS[1:])), int(rng.choice([32, 128]))
    optimizer = str(rng.choice(["sgd", "adam"]))
    classes, size = 6, 12
    centers = rng.normal(size=(classes, size)) * rng.uniform(0.5, 1.2)
    mix = rng.normal(size=(size, size)) * np.geomspace(1, rng.choice([0.1, 1.0]), size)[:, None]

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(classes, size=count)
        return ((centers[labels] + rng.normal(size=(count, size))) @ mix).astype(np.float32), labels

    shapes = (size, 24), (24, classes)
    start = [(rng.normal(size=shape) / math.sqrt(shape[0])).astype(np.float32) for shape in shapes]
    low, high = (1e-6, 10.0) if optimizer == "sgd" else (1e-7, 1.0)
    length, test = HORIZON * 50, draw(512)
    grid = np.geomspace(low * 100, high, 21)
    anneal = (1 + np.cos(np.pi * np.arange(length) / length)) / 2
    _, finals = _train(start, [draw(batch) for _ in range(length)], anneal[:, None] * grid, optimizer, test)
    (start_loss,), _ = _classify([layer[None] for layer in start], *test)
    answer = _middle_of_the_best(grid, finals, start_loss)
    lrs, ramp = _ramp(rng, steps, low, high, answer)
    (losses,) = _train(start, [draw(batch) for _ in range(steps)], lrs[:, None], optimizer)[0]
    return Problem("network", f"{ramp}, {optimizer}, batch {batch}", lrs, _disguise(rng, losses), answer)


def _train(start, batches, lrs, optimizer, test=None):
    """Batch losses `(runs, steps)` and test losses `(runs,)` of runs side by side, one per column of `lrs`."""
    runs = lrs.shape[1]
    layers = [np.repeat(layer[None], runs, axis=0) for layer in start]
    first = [np.zeros_like(layer) for layer in layers]
    second = [np.zeros_like(layer) for layer in layers]
    losses = np.empty((runs, len(batches)))
    with np.errstate(all="ignore"):
        for step, (inputs, labels) in enumerate(batches):
            losses[:, step], gradients = _classify(layers, inputs, labels)
            for n, gradient in enumerate(gradients):
                lr = lrs[step][:, None, None].astype(np.float32)
                if optimizer == "sgd":
                    first[n] = 0.9 * first[n] + gradient
                    layers[n] = layers[n] - lr * first[n]
                else:
                    first[n] = 0.9 * first[n] + 0.1 * gradient
                    second[n] = 0.999 * second[n] + 0.001 * gradient**2
                    unbiased = second[n] / (1 - 0.999 ** (step + 1))
                    layers[n] = layers[n] - lr * first[n] / (1 - 0.9 ** (step + 1)) / (np.sqrt(unbiased) + 1e-8)
        return losses, (_classify(layers, *test)[0] if test else None)


def _classify(layers, inputs, labels):
    """Cross entropy of each run `(runs,)` and its gradients by hand."""
    hidden = np.maximum(inputs @ layers[0], 0)
    scores = hidden @ layers[1]
    scores = scores - scores.max(axis=2, keepdims=True)
    logsum = np.log(np.exp(scores).sum(axis=2, keepdims=True))
    rows = np.arange(len(labels))
    losses = (logsum[:, :, 0] - scores[:, rows, labels]).mean(axis=1)
    error = np.exp(scores - logsum)
    error[:, rows, labels] -= 1
    error /= len(labels)
    back = (error @ layers[1].transpose(0, 2, 1)) * (hidden > 0)
    return losses, (inputs.T @ back, hidden.transpose(0, 2, 1) @ error)


TEXTBOOK = ("plain", "late explosion", "two stages", "early dip", "slow start", "no explosion", "bumpy plateau")


def textbook(rng: np.random.Generator) -> Problem:
    """A sigmoid fall and an explosion over log10(lr), with noise of 0 to 0.1 of the fall."""
    steps, kind = int(rng.choice(STEPS)), str(rng.choice(TEXTBOOK))
    low, high = (-5.0, 1.0) if kind == "slow start" else (-7.0, 1.0)
    fall, width = rng.uniform(-4.0, -1.5), rng.uniform(0.15, 0.4)
    explosion = fall + rng.uniform(1.0, 2.0) + (1.0 if kind == "late explosion" else 0.0)
    sharpness = rng.choice([2.0, 5.0]) if kind != "no explosion" else 0.0
    depth = rng.uniform(0.15, 0.5) if kind == "two stages" else 0.0

    def formula(x):
        main = (1 - depth) / (1 + np.exp((x - fall) / width)) + depth / (1 + np.exp((x - fall + 1.5) / width))
        up = np.exp(np.minimum(sharpness * math.log(10) * (x - explosion), 20)) if sharpness else 0 * x
        return main + up

    fine = np.linspace(low, high, 4001)
    true = formula(fine)
    bottom = true.argmin() if sharpness else np.argmax(true < true.min() + 0.02)
    steepest = np.gradient(true, fine)[: bottom + 1].argmin()
    answer = float(10 ** ((fine[bottom] + fine[steepest]) / 2))
    lrs, ramp = _ramp(rng, steps, 10**low, 10**high, answer)
    losses = formula(np.log10(lrs))
    if kind == "early dip":
        losses[: max(3, steps // 25)] -= rng.uniform(0.05, 0.2)
    if kind == "bumpy plateau":
        losses += 0.05 * np.sin(6 * np.log10(lrs)) * (np.log10(lrs) < fall - 0.5)
    noise = rng.choice([0.0, 0.01, 0.03, 0.1])
    losses += noise * rng.normal(size=steps)
    losses[losses > rng.choice([5.0, 100.0, 1e6])] = math.nan
    return Problem("textbook", f"{ramp}, {kind}, noise {noise:g}", lrs, _disguise(rng, _pad(losses, steps)), answer)


HOPELESS = ("flat", "rising", "pure noise", "all nan", "huge noise", "rising late", "too short", "drifting up")


def hopeless(rng: np.random.Generator) -> Problem:
    """A curve from which nothing follows."""
    steps, kind = int(rng.choice(STEPS)), str(rng.choice(HOPELESS))
    lrs, _ = _ramp(rng, steps, 1e-7, 10.0, 0.1)
    x = np.log10(lrs)
    scale = {"pure noise": 0.3, "huge noise": 1.5, "flat": rng.choice([0.0, 1e-6])}.get(kind, 0.02)
    losses = 1 + scale * rng.normal(size=steps)
    match kind:
        case "rising":
            losses += np.exp(np.minimum(2 * (x + 5), 20))
        case "rising late":
            losses += np.exp(np.minimum(6 * x, 20))
        case "drifting up":
            losses += 0.1 * (x + 7)
        case "huge noise":
            losses += 1 / (1 + np.exp((x + 2.5) / 0.3))
        case "all nan":
            losses[:] = math.nan
        case "too short":
            losses[rng.integers(2, 8) :] = math.nan
    return Problem("hopeless", kind, lrs, _disguise(rng, losses), None)


def _ramp(rng: np.random.Generator, steps: int, low: float, high: float, answer: float) -> tuple[np.ndarray, str]:
    """An exponential ramp, or, once in five, a linear one: as those are used, with an end of the right order."""
    if rng.random() < 0.2:
        top = answer * rng.uniform(5, 20)
        return np.linspace(top / steps, top, steps), "linear"
    return np.geomspace(low, high, steps), "exponential"


def _disguise(rng: np.random.Generator, losses: np.ndarray) -> np.ndarray:
    """The same curve in other units, half of the time: scaled, and shifted below zero."""
    return losses if rng.random() < 0.5 else 10 ** rng.uniform(-2, 2) * (losses - rng.uniform(0, 3))


def _pad(losses, steps: int) -> np.ndarray:
    """NaN from the first loss that is lost."""
    padded = np.full(steps, math.nan)
    padded[: len(losses)] = losses
    padded[np.maximum.accumulate(~np.isfinite(padded))] = math.nan
    return padded
