"""How much accuracy a suggested learning rate costs against the best of a grid, on real data.

Fashion-MNIST, 20,000 training images, 3 epochs of one_cycle, crop of 2 and flip; 2 nets x 2 optimizers x 2 batch sizes
x 2 seeds. Every set-up is trained at 13 rates, half a decade apart. A rule's suggestion is worth the accuracy at that
rate: of a run of its own for `auto`, on the straight line between its two neighbors of the grid for the other rules.
Regret is the best accuracy of the grid minus that, in points. A run has diverged when it ends below 20 % or its loss is
not a number. Rates are compared on the test set, since regret is a measurement and nothing is chosen by it.

    python scripts/bench/finder_regret.py                 everything that is missing, in pieces
    python scripts/bench/finder_regret.py --only grid     the grid alone (208 runs); then --only rules

References: the open question of how reliable the LR range test is; no public figures are known to us.
"""

import itertools
import math
import statistics
from itertools import product
from typing import Any

from common import arguments, start
from lightning.pytorch import Callback, Trainer, seed_everything
from torch import nn

from lightcycle.callbacks import ParamScheduler, StepSeed
from lightcycle.callbacks.range_test import range_test
from lightcycle.data.config import FashionMNISTConfig, SyntheticConfig
from lightcycle.data.module import build
from lightcycle.finder.ramp import Ramp
from lightcycle.models.classifier import Classifier
from lightcycle.models.config import MLPConfig
from lightcycle.models.optimizer_config import AdamWConfig, SGDConfig
from lightcycle.schedules import OneCycle

OPTIMIZERS = {"sgd": SGDConfig, "adamw": AdamWConfig}
BATCHES, SEEDS, SWEEPS, EPOCHS = (64, 256), (0, 1), 3, 3
GRID = [10 ** (-5 + k / 2) for k in range(13)]
CHANCE = 0.2


def convnet() -> nn.Module:
    """Four convolutions of stride 2 with BatchNorm, 0.1 M parameters: small enough for 224 runs on a CPU."""
    widths = (1, 16, 32, 64, 128)
    blocks = [
        layer
        for before, after in itertools.pairwise(widths)
        for layer in (nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
    ]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))


NETS = {"mlp": lambda: MLPConfig().build(channels=1, size=(28, 28), classes=10), "cnn": convnet}


class Sweeps(Callback):
    """Range tests before the first step, as LRFinder would run them."""

    def __init__(self, steps: int) -> None:
        self.ramp, self.curves = Ramp(steps=steps), []

    def on_train_start(self, trainer: Trainer, pl_module: Classifier) -> None:
        self.curves = [range_test(trainer, pl_module, self.ramp, seed=100 + sweep) for sweep in range(SWEEPS)]


def data_config(batch: int, quick: bool):
    if quick:
        return SyntheticConfig(size=28, channels=1, n_train=4 * batch, batch_size=batch)
    return FashionMNISTConfig(limit=20_000, batch_size=batch, crop=2, flip=True, eval_batch_size=1000)


def prepared(setup: tuple[str, str, int, int], lr: float, quick: bool, callbacks: list[Callback]):
    """Trainer, module and data of one run."""
    net, optimizer, batch, seed = setup
    seed_everything(seed, verbose=False)
    data = build(data_config(batch, quick), seed)
    module = Classifier(NETS[net](), OPTIMIZERS[optimizer](lr=lr).build)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1 if quick else EPOCHS,
        callbacks=[StepSeed(seed), *callbacks, ParamScheduler(OneCycle())],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )
    return trainer, module, data


def accuracy(setup: tuple[str, str, int, int], lr: float, quick: bool) -> float:
    """Test accuracy after a whole run at this rate; 0 when the loss is no number any more."""
    trainer, module, data = prepared(setup, lr, quick, [])
    trainer.fit(module, datamodule=data)
    result = trainer.test(module, datamodule=data, verbose=False)[0]
    return result["test/acc"] if math.isfinite(result["test/loss"]) else 0.0


def sweeps(setup: tuple[str, str, int, int], quick: bool) -> list[Any]:
    """Three range tests of 100 steps; nothing is trained."""
    finder = Sweeps(20 if quick else 100)
    trainer, module, data = prepared(setup, 1e-3, quick, [finder])
    trainer.limit_train_batches = 1
    trainer.fit_loop.max_epochs = 1
    trainer.fit(module, datamodule=data)
    return finder.curves


def name(setup: tuple[str, str, int, int]) -> str:
    return "{} {} batch {} seed {}".format(*setup)


def between(rates: list[float], values: list[float], lr: float) -> float:
    """The value at a rate, on the straight line between its neighbors over log lr; the ends hold outside."""
    position = min(max(math.log10(lr / rates[0]) / math.log10(rates[1] / rates[0]), 0.0), len(rates) - 1.0)
    low = min(int(position), len(rates) - 2)
    return values[low] + (position - low) * (values[low + 1] - values[low])


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.set_defaults(threads=1)
    parser.add_argument("--only", choices=("grid", "rules"), help="one part of it")
    args = parser.parse_args()
    results = start(args, "finder_regret", {"epochs": EPOCHS, "grid": [round(lr, 8) for lr in GRID]})
    setups = list(product(NETS, OPTIMIZERS, BATCHES, SEEDS))
    rates = GRID[6:10:3] if args.quick else GRID
    if args.only != "rules":
        for setup, lr in product(setups, rates):
            results.piece(f"grid {name(setup)} lr {lr:.3g}", lambda s=setup, r=lr: accuracy(s, r, args.quick))
    if args.only != "grid":
        judge_all(results, setups, rates, args.quick)


def judge_all(results, setups, rates: list[float], quick: bool) -> None:
    """Asks every rule about every set-up, trains at what auto says, and prints the table."""
    from lightcycle.finder import RULES, Curve, suggest_all

    regrets: dict[str, list[float]] = {rule: [] for rule in RULES}
    refused, diverged = dict.fromkeys(RULES, 0), dict.fromkeys(RULES, 0)
    for setup in setups:
        curves = results.piece(f"sweeps {name(setup)}", lambda s=setup: sweeps(s, quick))
        grid = [results.pieces[f"grid {name(setup)} lr {lr:.3g}"] for lr in rates]
        said = suggest_all(Curve(Ramp(steps=20 if quick else 100).rates(), curves))
        for rule in RULES:
            lr = said[rule].lr
            if lr is None:
                refused[rule] += 1
                continue
            if rule == "auto":
                reached = results.piece(f"auto {name(setup)} lr {lr:.4g}", lambda s=setup, r=lr: accuracy(s, r, quick))
            else:
                reached = between(rates, grid, lr)
            regrets[rule].append(100 * (max(grid) - reached))
            diverged[rule] += reached < CHANCE
    rows = [
        [
            rule,
            f"{statistics.fmean(values):.2f}" if values else "-",
            f"{statistics.stdev(values):.2f}" if len(values) > 1 else "-",
            f"{max(values):.2f}" if values else "-",
            len(values),
            refused[rule],
            diverged[rule],
        ]
        for rule, values in regrets.items()
    ]
    header = ["rule", "mean regret, points", "sd", "worst", "n", "no suggestion", "diverged"]
    results.close({"regret": regrets, "refused": refused, "diverged": diverged}, header, rows)


if __name__ == "__main__":
    main()
