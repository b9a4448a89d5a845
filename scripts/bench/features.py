"""What cached features save: an epoch of the head, the pass that fills the cache, a step of the head alone.

Dogs and cats, a mobilenet_v2 with ImageNet's weights at 160 pixels, one process. An epoch is timed by Lightning's own
hooks, from its first batch to its last, without validation; a live one trains the head of a body that is frozen and in
evaluation mode, on unchanged images. Filling and a plain forward pass take turns over the same images and the same
loader; so do steps of the head and of the whole net. Medians of the turns.

    python scripts/bench/features.py --threads 1     # goals: epoch >= 20, filling <= 1.1, step <= 0.45
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from common import arguments, start
from lightning import Trainer
from lightning.pytorch import Callback
from torch import nn
from torch.nn.functional import cross_entropy

from lightcycle.app.schema import PROJECT
from lightcycle.data.config import ImageFolderConfig
from lightcycle.data.features import FeatureData
from lightcycle.data.in_turn import ImagesInTurn
from lightcycle.data.module import FolderData
from lightcycle.models import Classifier, SGDConfig, TorchvisionConfig, head_name, weights_stats
from lightcycle.transfer.cut import HeadOnly, split_head
from lightcycle.transfer.features import FeatureCache

EPOCH, FILL, STEP = "epoch: live / cached", "filling / forward pass", "step: head alone / whole net"
GOALS = {EPOCH: ">= 20", FILL: "<= 1.1", STEP: "<= 0.45"}
WEIGHTS = PROJECT / "data" / "weights" / "mobilenet_v2-imagenet.pth"
PHOTOS = PROJECT / "data" / "dogs-vs-cats"


class Epochs(Callback):
    """Seconds of each epoch, and the body in evaluation mode where there is one."""

    def __init__(self, frozen: nn.Module | None = None) -> None:
        self.frozen, self.seconds = frozen, []

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        if self.frozen is not None:
            self.frozen.eval()
        self.began = time.perf_counter()

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        self.seconds.append(time.perf_counter() - self.began)


def config(args: argparse.Namespace) -> ImageFolderConfig:
    return ImageFolderConfig(
        root=str(args.photos),
        size=args.size,
        batch_size=args.batch_size,
        limit=args.images,
        check=False,
        flip=False,
        num_workers=args.workers,
    )


def parts(args: argparse.Namespace) -> tuple[FolderData, nn.Module, str]:
    """The photos, the net and the name of its head."""
    model = TorchvisionConfig(name="mobilenet_v2", weights=str(WEIGHTS) if WEIGHTS.exists() else None)
    torch.manual_seed(0)
    net = model.build(channels=3, size=(args.size, args.size), classes=2)
    return Unchanged(config(args), stats=weights_stats(model)), net, head_name(net)


class Unchanged(FolderData):
    """Photos in the order of training, not augmented."""

    def make_loader(self, part, batches):
        loader = super().make_loader(part, batches)
        loader.images.seed = None
        return loader


def epochs(args: argparse.Namespace, kind: str) -> list[float]:
    """Seconds of the epochs of one kind, live or cached; the first of several warms up and is left out."""
    images, net, head = parts(args)
    n = args.cached_epochs if kind == "cached" else args.live_epochs
    with tempfile.TemporaryDirectory() as folder:
        data = FeatureData(images, net, head, folder) if kind == "cached" else images
        head_only = HeadOnly(net, head)  # freezes the body for both
        timer = Epochs(None if kind == "cached" else net)
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=n,
            callbacks=[timer],
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Classifier(head_only if kind == "cached" else net, SGDConfig(lr=0.01).build), datamodule=data)
    return timer.seconds[1:] if n > 1 else timer.seconds


def turns(n: int, arms: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds of arms that take turns, after a turn that warms up."""
    seconds = {name: [] for name in arms}
    for turn in range(n + 1):
        for name, run in arms.items():
            began = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def filling(args: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of filling a cache, and of a forward pass over the same images."""
    images, net, head = parts(argparse.Namespace(**{**vars(args), "images": args.fill_images}))
    images.setup()
    body, _ = split_head(net, head)
    net.eval()
    all_of_them = ImagesInTurn(images, "train")

    def fill() -> None:
        with tempfile.TemporaryDirectory() as folder:
            FeatureCache(folder, {"dtype": "fp32"}).fill(body, all_of_them, len(all_of_them))
        images.teardown("fit")

    def forward() -> None:
        with torch.inference_mode():
            for batch in all_of_them():
                net(batch)
        images.teardown("fit")

    return turns(args.turns, {"filling": fill, "forward": forward})


def steps(args: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of an optimizer step of the head alone, and of the whole net, on one batch in memory."""
    _, net, head = parts(args)
    images, labels = torch.randn(args.batch_size, 3, args.size, args.size), torch.arange(args.batch_size) % 2
    optimizer = SGDConfig(lr=1e-5).build(net.parameters())

    def step(head_only: bool) -> None:
        net.requires_grad_(not head_only).train(not head_only)
        net.get_submodule(head).requires_grad_(True)
        cross_entropy(net(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return turns(args.turns, {"head": partial(step, True), "whole": partial(step, False)})


def summarize(pieces: dict) -> tuple[dict, tuple, list[tuple]]:
    """The figures for the JSON, and the head and the rows of the table."""
    median = {
        "cached epoch": statistics.median(pieces["cached"]),
        "live epoch": statistics.median(pieces["live"]),
        **{name: statistics.median(seconds) for name, seconds in {**pieces["filling"], **pieces["steps"]}.items()},
    }
    found = {
        EPOCH: median["live epoch"] / median["cached epoch"],
        FILL: median["filling"] / median["forward"],
        STEP: median["head"] / median["whole"],
    }
    rows = [(name, ratio, GOALS[name]) for name, ratio in found.items()]
    rows += [(f"{name}, s", seconds, None) for name, seconds in median.items()]
    return {**found, **median}, ("figure", "measured", "goal"), rows


def main() -> None:
    parser = arguments("what cached features save")
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder with train/ and val/")
    parser.add_argument("--images", type=int, default=1000, help="training images of an epoch")
    parser.add_argument("--fill-images", type=int, default=200, help="in each turn of filling and forward pass")
    parser.add_argument("--size", type=int, default=160, help="pixels")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1, help="processes that read images")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--live-epochs", type=int, default=2)
    parser.add_argument("--cached-epochs", type=int, default=10)
    args = parser.parse_args()
    if args.quick:
        args.images, args.fill_images, args.size, args.turns, args.cached_epochs = 32, 16, 32, 1, 3
        args.live_epochs, args.batch_size = 1, 8
    names = ("images", "fill_images", "size", "batch_size", "workers", "turns", "live_epochs", "cached_epochs")
    results = start(args, "features", {name: getattr(args, name) for name in names})
    measures = {"cached": partial(epochs, args, "cached"), "live": partial(epochs, args, "live")}
    measures |= {"filling": partial(filling, args), "steps": partial(steps, args)}
    results.close(*summarize({name: results.piece(name, measure) for name, measure in measures.items()}))


if __name__ == "__main__":
    main()
