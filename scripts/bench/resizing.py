"""What progressive resizing saves: imagenette, a small ResNet from scratch, 128 pixels at the end.

Three arms: ``fixed`` trains at the full size; ``progressive`` as many epochs at rising sizes; ``longer`` is progressive
for as many epochs as ``fixed`` has time for, by the ratio that the first seed showed. The arms of a seed share the
initial weights, the order of the photos and their crops, so their differences are taken seed by seed. Settings are the
project's defaults, none was tuned. The test photos (val/) are looked at once, at full size, at the end of each run.
Seconds are those of training alone, without the test: of the process (``cpu``; the photos are decoded in it, so other
programs on the machine do not count), and of the clock.

    python scripts/bench/resizing.py --threads 1     # goal: 30 % less time, or more accuracy in the same time
"""

import argparse
import time
from functools import partial
from pathlib import Path

import torch
from common import arguments, spread, start
from lightning import Trainer
from torch import nn

from lightcycle.app.schema import PROJECT
from lightcycle.callbacks import ParamScheduler, ProgressiveResizing, StepSeed
from lightcycle.data.config import ImageFolderConfig
from lightcycle.data.module import FolderData
from lightcycle.models import Classifier, ResNetConfig, SGDConfig
from lightcycle.schedules import OneCycle

ARMS = ("fixed", "progressive", "longer")
NOT_SETTINGS = ("quick", "threads", "fresh", "out", "seeds")


def make_net(args: argparse.Namespace, classes: int, seed: int) -> nn.Module:
    """The project's ResNet with a stem of stride 2, as nets for photos have it: a quarter of the work."""
    torch.manual_seed(seed)
    net = ResNetConfig(width=args.width).build(channels=3, size=(args.size, args.size), classes=classes)
    net.stem[0].stride = (2, 2)
    return net.to(memory_format=torch.channels_last)


def run(args: argparse.Namespace, arm: str, epochs: int, seed: int) -> dict[str, float]:
    """Accuracy on the test photos at the end of one run, and the seconds of its training."""
    config = ImageFolderConfig(
        root=str(args.photos),
        size=args.size,
        batch_size=args.batch_size,
        limit=args.images,
        check=False,
        num_workers=0,
    )
    data = FolderData(config, seed)
    resizing = [] if arm == "fixed" else [ProgressiveResizing(sizes=args.sizes, fractions=args.fractions)]
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        precision=args.precision,
        callbacks=[StepSeed(seed), *resizing, ParamScheduler(OneCycle())],
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Classifier(make_net(args, data.num_classes, seed), SGDConfig(lr=args.lr).build, label_smoothing=0.1)
    began, cpu = time.perf_counter(), time.process_time()
    trainer.fit(module, datamodule=data)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"epochs": epochs, "seconds": seconds, "cpu": cpu, "accuracy": accuracy(module, data)}


@torch.inference_mode()
def accuracy(module: Classifier, data: FolderData) -> float:
    """The share of the test photos that are named right, in single precision."""
    module.eval()
    hits = [
        module(images).argmax(1) == labels
        for images, labels in (data.on_after_batch_transfer(batch, 0) for batch in data.eval_loader("val"))
    ]
    return torch.cat(hits).float().mean().item()


def summarize(pieces: dict[str, list[dict[str, float]]]) -> tuple[dict, tuple, list[tuple]]:
    """The figures for the JSON, and the head and the rows of the table; lists are in the order of the seeds."""
    found, rows = {}, []
    for arm, runs in pieces.items():
        found[arm] = {name: spread([one[name] for one in runs]) for name in ("epochs", "accuracy", "cpu", "seconds")}
        acc, means = found[arm]["accuracy"], {name: figure["mean"] for name, figure in found[arm].items()}
        rows.append((arm, means["epochs"], *_percent(acc), means["cpu"], means["seconds"]))
    for arm in list(pieces)[1:]:
        pairs = list(zip(pieces[arm], pieces["fixed"], strict=True))
        gain = spread([one["accuracy"] - fixed["accuracy"] for one, fixed in pairs])
        shares = {name: spread([one[name] / fixed[name] for one, fixed in pairs]) for name in ("cpu", "seconds")}
        found[f"{arm} - fixed"] = {"accuracy": gain, **{f"share of {name}": share for name, share in shares.items()}}
        rows.append((f"{arm} - fixed", None, *_percent(gain), shares["cpu"]["mean"], shares["seconds"]["mean"]))
    return found, ("arm", "epochs", "accuracy, %", "sd", "n", "cpu s (or share)", "s (or share)"), rows


def _percent(figure: dict) -> tuple[float, float | None, int]:
    return 100 * figure["mean"], None if figure["sd"] is None else 100 * figure["sd"], figure["n"]


def read_arguments() -> argparse.Namespace:
    parser = arguments("what progressive resizing saves")
    parser.add_argument("--photos", type=Path, default=PROJECT / "data" / "imagenette", help="with train/ and val/")
    parser.add_argument("--images", type=int, default=1500, help="training images")
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96, 128])
    parser.add_argument("--fractions", type=float, nargs="+", default=[0, 0.4, 0.75])
    parser.add_argument("--width", type=int, default=16, help="of the net")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--precision", default="bf16-mixed", help="bf16-mixed, half the time | 32-true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    if args.quick:
        args.images, args.size, args.sizes, args.width, args.batch_size = 16, 32, [16, 24, 32], 4, 4
        args.epochs, args.seeds = 4, [0, 1]
    return args


def main() -> None:
    args = read_arguments()
    chosen = {name: value for name, value in vars(args).items() if name not in NOT_SETTINGS}
    results = start(args, "resizing", {**chosen, "photos": args.photos.name})
    pieces: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    epochs = dict.fromkeys(ARMS, args.epochs)
    for seed in args.seeds:  # whole seeds, so that an interruption leaves pairs
        for arm in ARMS:
            if arm == "longer":
                fixed, progressive = pieces["fixed"][0], pieces["progressive"][0]
                epochs[arm] = round(args.epochs * fixed["cpu"] / progressive["cpu"])
            pieces[arm].append(results.piece(f"{arm}, seed {seed}", partial(run, args, arm, epochs[arm], seed)))
        results.close(*summarize(pieces))


if __name__ == "__main__":
    main()
