"""Whether the input keeps up: images per second in memory and from files, and what a training step waits for data.

In memory: random pixels in the shapes of Fashion-MNIST and CIFAR-10, crop and mirror and normalize, one process,
against what torchvision's sets do with each image (``Image.fromarray``, then transforms on PIL images) in a
``DataLoader`` with two workers, by the wall clock; and both in one process, per core, by its seconds of the processor,
which other work on the machine does not change much. Files: photos, random crop and mirror and normalize in one
process and one thread, against ``ImageFolder`` with ``RandomResizedCrop``; per core too. Arms take turns; a ratio is
that of one turn, and of the ratios there are mean and sample standard deviation. Waiting: the share of a loop of
training steps that is spent in ``next()``, a small ResNet at 128 pixels with two workers, and on 32 x 32 pixels in
memory.

    python scripts/bench/input.py --threads 1     # goals: memory >= 10, files at 64 pixels >= 1.5, waiting < 0.05
"""

import argparse
import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import arguments, spread, start
from PIL import Image
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from lightcycle.app.schema import PROJECT
from lightcycle.data.augment import Augment
from lightcycle.data.batches import TrainBatches
from lightcycle.data.config import ImageFolderConfig
from lightcycle.data.memory import MemoryLoader
from lightcycle.data.module import ImageData, build
from lightcycle.models import ResNetConfig, SGDConfig

SHAPES = {"fashion_mnist": (1, 28, 2), "cifar10": (3, 32, 4)}  # channels, pixels, padding of the crop
SETS = ("imagenette", "dogs-vs-cats")
BATCH = 128


class Pictures(Dataset):
    """Serves arrays as torchvision's MNIST and CIFAR do."""

    def __init__(self, pixels: np.ndarray, transform: Callable) -> None:
        self.pixels, self.transform = pixels, transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), 0


def drain(batches: Iterable) -> int:
    """Takes all batches and counts their images."""
    return sum(len(labels) for _, labels in batches)


def turns(n: int, clock: Callable[[], float], arms: dict[str, Callable[[], int]]) -> list[dict[str, float]]:
    """Images per second of arms that take turns, after a turn that warms up."""
    found = []
    for turn in range(n + 1):
        rates = {}
        for name, run in arms.items():
            began = clock()
            images = run()
            rates[name] = images / (clock() - began)
        found += [rates] if turn else []
    return found


def in_memory(args: argparse.Namespace, channels: int, side: int, padding: int, workers: int) -> list[dict[str, float]]:
    """Images per second of both ways to serve arrays: by the wall clock beside workers, else of the processor."""
    shape = (args.images, side, side, channels) if channels > 1 else (args.images, side, side)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    half = (0.5,) * channels
    transform = transforms.Compose(
        [
            transforms.RandomCrop(side, padding, padding_mode="reflect"),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(half, half),
        ]
    )
    theirs = DataLoader(
        Pictures(pixels, transform),
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    images = torch.from_numpy(pixels.reshape(args.images, side, side, channels)).permute(0, 3, 1, 2).contiguous()
    ours = MemoryLoader(
        images,
        torch.zeros(args.images, dtype=torch.int64),
        TrainBatches(n=args.images, batch_size=BATCH),
        Augment(padding, flip=True),
    )
    scale, shift = torch.full((channels, 1, 1), 1 / 127.5), torch.full((channels, 1, 1), -1.0)

    def normalized() -> Iterable:
        for x, y in ours:
            yield x.to(torch.float32).mul_(scale).add_(shift), y  # as ImageData.normalize does

    clock = time.perf_counter if workers else time.process_time
    return turns(args.turns, clock, {"theirs": lambda: drain(theirs), "ours": lambda: drain(normalized())})


def photos(args: argparse.Namespace, name: str, size: int, workers: int = 0) -> ImageData:
    """Some photos of a set, without looking through all of them first."""
    config = ImageFolderConfig(
        root=str(args.data / name), size=size, batch_size=32, limit=args.photos, num_workers=workers, check=False
    )
    data = build(config)
    data.setup()
    return data


def from_files(args: argparse.Namespace, name: str, size: int) -> list[dict[str, float]]:
    """Images per second of the processor of both ways to serve files."""
    data = photos(args, name, size)
    c = data.config
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, tuple(c.scale), tuple(c.ratio)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(c.mean, c.std),
        ]
    )
    folder = ImageFolder(str(args.data / name / "train"), transform)
    folder.samples = data.files["train"]
    theirs = DataLoader(folder, c.batch_size, shuffle=True, drop_last=True)

    def normalized() -> Iterable:
        for x, y in data.train_loader():
            yield data.normalize(x), y

    return turns(args.turns, time.process_time, {"theirs": lambda: drain(theirs), "ours": lambda: drain(normalized())})


def waiting(args: argparse.Namespace, loader, normalize: Callable, side: int) -> list[float]:
    """Share of each epoch of training that is spent in ``next()``, but for the first step, which starts workers."""
    net = ResNetConfig().build(channels=3, size=(side, side), classes=10)
    optimizer = SGDConfig(lr=0.01).build(net.parameters())
    shares = []
    for epoch in range(args.turns):
        loader.sampler.set_epoch(epoch)
        iterator, waited, began = iter(loader), 0.0, None
        for step in range(min(args.steps, len(loader))):
            asked = time.perf_counter()
            x, y = next(iterator)
            x = normalize(x)
            if step:
                waited += time.perf_counter() - asked
            cross_entropy(net(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
            began = began or time.perf_counter()
        shares.append(waited / (time.perf_counter() - began))
    return shares


def waiting_for_files(args: argparse.Namespace) -> list[float]:
    """Of photos at 128 pixels, read by workers."""
    data = photos(args, SETS[0], args.sizes[-1], args.workers)
    try:
        return waiting(args, data.train_loader(), data.normalize, args.sizes[-1])
    finally:
        data.teardown("fit")


def waiting_for_memory(args: argparse.Namespace) -> list[float]:
    """Of 32 x 32 pixels in memory, where the step itself makes the batch."""
    images = torch.randint(0, 256, (args.images, 3, 32, 32), dtype=torch.uint8)
    batches = TrainBatches(n=args.images, batch_size=BATCH)
    loader = MemoryLoader(images, torch.arange(args.images) % 10, batches, Augment(4, flip=True))
    return waiting(args, loader, lambda x: x.to(torch.float32).mul_(1 / 127.5).sub_(1), 32)


def summarize(pieces: dict) -> tuple[dict, tuple, list[tuple]]:
    """The figures for the JSON, and the head and the rows of the table."""
    found, rows = {}, []
    for name, values in pieces.items():
        if name.startswith("waiting"):
            found[name] = spread(values)
            rows.append((name, found[name]["mean"], found[name]["sd"], found[name]["n"], None, None, "< 0.05"))
            continue
        ratio = spread([turn["ours"] / turn["theirs"] for turn in values])
        rates = {arm: spread([turn[arm] for turn in values])["mean"] for arm in ("ours", "theirs")}
        found[name] = {"ratio": ratio, **rates}
        goal = ">= 10" if name.startswith("memory") else ">= 1.5" if name.endswith(" 64") else None
        rows.append((name, ratio["mean"], ratio["sd"], ratio["n"], rates["ours"], rates["theirs"], goal))
    return found, ("figure", "mean", "sd", "n", "images/s", "theirs", "goal"), rows


def main() -> None:
    parser = arguments("whether the input keeps up")
    parser.add_argument("--data", type=Path, default=PROJECT / "data", help="holds imagenette and dogs-vs-cats")
    parser.add_argument("--images", type=int, default=12800, help="in memory")
    parser.add_argument("--photos", type=int, default=640, help="of each set")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128], help="pixels of the photos")
    parser.add_argument("--steps", type=int, default=12, help="of training, in each turn")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), help="while training from files")
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    if args.quick:
        args.images, args.photos, args.sizes, args.steps, args.turns, args.workers = 256, 64, [16, 32], 2, 2, 0
    measures = {f"memory {name}": partial(in_memory, args, *shape, workers=2) for name, shape in SHAPES.items()}
    measures |= {f"core, {name}": partial(in_memory, args, *shape, workers=0) for name, shape in SHAPES.items()}
    measures |= {f"files {name} {size}": partial(from_files, args, name, size) for name in SETS for size in args.sizes}
    measures |= {"waiting, files": partial(waiting_for_files, args)}
    measures |= {"waiting, memory": partial(waiting_for_memory, args)}
    names = ("images", "photos", "sizes", "steps", "workers", "turns")
    results = start(args, "input", {name: getattr(args, name) for name in names})
    results.close(*summarize({name: results.piece(name, measure) for name, measure in measures.items()}))


if __name__ == "__main__":
    main()
