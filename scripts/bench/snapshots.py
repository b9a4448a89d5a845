"""Snapshot ensembles at equal budget: error of the single model and of the ensemble, by the number of members.

Every arm trains the same net for the same number of epochs on the same images, from one base rate:

    cosine      one run, one half cosine (its last weights), and the EMA of that run's weights
    snapshots   one run of M equal cycles, each from the full rate to zero: M members
    fresh       M short runs of their own, a cosine each: M members

The number of members is chosen on validation images; the test set is opened once, when an arm has finished, and nothing
is chosen by it. Nothing was tuned: lr 0.1, weight decay 5e-4 and momentum 0.9 are the usual ones of SGD.

    python scripts/bench/snapshots.py        # about half an hour on two idle cores; goal on CIFAR-10: 0.3 points
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from common import arguments, spread, start
from lightning import Trainer
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging

from lightcycle.app.schema import PROJECT
from lightcycle.callbacks import ParamScheduler, SnapshotEnsemble, StepSeed
from lightcycle.data.config import ArraysConfig, DataConfig, DigitsConfig, FashionMNISTConfig
from lightcycle.data.in_turn import InTurn
from lightcycle.data.module import MemoryData, build
from lightcycle.ensembling import averaged, disagreement, probabilities, snapshots
from lightcycle.ensembling.table import ensemble_table
from lightcycle.models import Classifier, ResNet, SGDConfig
from lightcycle.schedules import SGDR, CosineAnnealing, Schedule

NOT_SETTINGS = ("quick", "threads", "fresh", "out", "seeds", "sets")
PARTS = ("val", "test")
ARMS = ("cosine", "snapshots", "fresh")
GAIN = "gain of the ensemble over one cosine, points"
GOALS = {f"cifar10, {GAIN}": ">= 0.3"}


def run(args: argparse.Namespace, name: str, arm: str, seed: int) -> dict:
    """One arm of one seed: errors in percent on both parts, seconds of training."""
    data = build(data_config(args, name), seed)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        module, states, own = TRAIN[arm](args, data, seed, Path(folder))
        seconds = time.perf_counter() - began
    said = partial(every_part, module, data)
    if arm == "cosine":
        return {"seconds": seconds, "single": errors(data, said(states[0])), "EMA": errors(data, said(own))}
    members = [said(state) for state in states]
    stacked = {part: torch.stack([member[part] for member in members]) for part in PARTS}
    labels = {part: data.labels(part) for part in PARTS}
    singles = (
        {} if arm == "fresh" else {"mean of weights": said(averaged(module, states, images(data, "train", batches=40)))}
    )
    rows = ensemble_table(stacked, labels, range(len(states)), singles)
    found = {row["name"]: {part: 100 * (1 - row[part]) for part in PARTS} for row in rows}
    apart = disagreement(stacked["test"])
    pairs = apart.sum() / (len(apart) * (len(apart) - 1))
    return {
        "seconds": seconds,
        "single": found[f"step {len(states) - 1}"],
        **{key: found[key] for key in ("ensemble", "mean of weights") if key in found},
        "by m": [found[f"last {m}"] for m in range(1, len(states) + 1)],
        "chosen": next(row["members"] for row in rows if row["name"] == "ensemble"),
        "disagreement": 100 * pairs.item(),
    }


def cosine(args: argparse.Namespace, data: MemoryData, seed: int, folder: Path) -> tuple:
    """The live weights at the end of the run, and their moving average, which the module then has."""
    ema = EMAWeightAveraging(decay=args.ema)
    module = fit(args, data, seed, args.epochs, CosineAnnealing(), [SnapshotEnsemble(folder=folder), ema])
    return module, [one.load() for one in snapshots(folder)], None


def cycles(args: argparse.Namespace, data: MemoryData, seed: int, folder: Path) -> tuple:
    """One run of equal cycles."""
    schedule = SGDR(cycles=args.members, cycle_len=None, cycle_mult=1)
    module = fit(args, data, seed, args.epochs, schedule, [SnapshotEnsemble(folder=folder)])
    return module, [one.load() for one in snapshots(folder)], None


def fresh(args: argparse.Namespace, data: MemoryData, seed: int, folder: Path) -> tuple:
    """Short runs, each with weights, order and augmentation of its own."""
    states = []
    for i in range(args.members):
        again = build(data.config, 1000 * (seed + 1) + i)
        epochs = args.epochs // args.members
        module = fit(args, again, 1000 * (seed + 1) + i, epochs, CosineAnnealing(), [])
        states.append({name: tensor.clone() for name, tensor in module.state_dict().items()})
    data.setup()
    return module, states, None


TRAIN = {"cosine": cosine, "snapshots": cycles, "fresh": fresh}


def fit(
    args: argparse.Namespace, data: MemoryData, seed: int, epochs: int, schedule: Schedule, more: list[Callback]
) -> Classifier:
    torch.manual_seed(seed)
    net = ResNet(data.channels, data.num_classes, width=args.width).to(memory_format=torch.channels_last)
    module = Classifier(net, SGDConfig(lr=args.lr, weight_decay=args.weight_decay).build)
    trainer = Trainer(
        max_epochs=epochs,
        precision=args.precision,
        devices=1,
        callbacks=[StepSeed(seed), ParamScheduler(schedule), *more],
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    return module


def every_part(module: Classifier, data: MemoryData, state: dict | None) -> dict[str, torch.Tensor]:
    """Probabilities of the images of both parts, in float32 on the processor."""
    return {part: probabilities(module.cpu(), images(data, part), state) for part in PARTS}


def images(data: MemoryData, part: str, batches: int | None = None):
    """Normalized images in stored order; so many whole batches, or all."""
    rule = InTurn(n=getattr(data.counts, part), batch_size=256)
    for i, (batch, _) in enumerate(data.make_loader(part, rule).load(0, 0)):
        if batches is None or (i < batches and (len(batch) == 256 or i == 0)):
            yield data.normalize(batch).cpu()


def errors(data: MemoryData, said: dict[str, torch.Tensor]) -> dict[str, float]:
    """Error in percent."""
    wrong = {part: said[part].argmax(1) != data.labels(part).cpu() for part in PARTS}
    return {part: 100 * found.double().mean().item() for part, found in wrong.items()}


def data_config(args: argparse.Namespace, name: str) -> DataConfig:
    if args.quick:
        return DigitsConfig(crop=1, limit=args.limit)
    more = {"limit": args.limit, "batch_size": args.batch_size, "flip": True}
    if name == "cifar10":
        return ArraysConfig(path=str(PROJECT / "data" / "cifar10.npz"), crop=4, val_size=5000, **more)
    return FashionMNISTConfig(root=str(PROJECT / "data"), crop=0, **more)


def summarize(pieces: dict[tuple, dict]) -> tuple[dict, tuple, list[tuple]]:
    """The summary for the JSON, and the head and the rows of the table; errors are the test's."""
    found: dict[str, list[float]] = {}
    for (name, arm, seed), piece in pieces.items():
        for key in ("single", "EMA", "ensemble", "mean of weights"):
            if key in piece:
                found.setdefault(f"{name}, {arm}, {key}, error %", []).append(piece[key]["test"])
        for m, row in enumerate(piece.get("by m", []), 1):
            found.setdefault(f"{name}, {arm}, last {m}, error %", []).append(row["test"])
        for key in ("chosen", "disagreement", "seconds"):
            if key in piece:
                found.setdefault(f"{name}, {arm}, {key}", []).append(piece[key])
        if arm == "snapshots":
            gain = pieces[name, "cosine", seed]["single"]["test"] - piece["ensemble"]["test"]
            found.setdefault(f"{name}, {GAIN}", []).append(gain)
    summary = {key: spread(values) for key, values in found.items()}
    rows = [(key, s["mean"], s["sd"], s["n"], GOALS.get(key)) for key, s in summary.items()]
    return summary, ("figure", "mean", "sd", "n", "goal"), rows


def read_arguments() -> argparse.Namespace:
    parser = arguments("snapshot ensembles at equal budget")
    parser.add_argument("--sets", nargs="+", default=["fashion_mnist", "cifar10"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--members", type=int, default=4, help="cycles of one run, or short runs")
    parser.add_argument("--epochs", type=int, default=20, help="of every arm")
    parser.add_argument("--limit", type=int, default=10_000, help="training images")
    parser.add_argument("--width", type=int, default=8, help="of the ResNet")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--ema", type=float, default=0.99, help="decay of the moving average, a step")
    parser.add_argument("--precision", default="bf16-mixed", help="bf16-mixed | 32-true")
    args = parser.parse_args()
    if args.quick:
        args.sets, args.seeds, args.members, args.epochs, args.limit, args.width = ["digits"], [0], 2, 4, 300, 4
    return args


def main() -> None:
    args = read_arguments()
    results = start(args, "snapshots", {name: value for name, value in vars(args).items() if name not in NOT_SETTINGS})
    pieces = {}
    for seed in args.seeds:
        for name in args.sets:
            for arm in ARMS:
                piece = partial(run, args, name, arm, seed)
                pieces[name, arm, seed] = results.piece(f"{name}, {arm}, seed {seed}", piece)
    results.close(*summarize(pieces))


if __name__ == "__main__":
    main()
