"""The eight steps in one command against fine_tune and plain 1cycle: dogs and cats, a mobilenet_v2, 160 pixels.

Each piece is the real command, ``python train.py recipe=world_class data.root=FOLDER``, with the recipe's own settings,
and nothing is tuned: the recipes watch validation images (they stop at over-fitting, and choose the ensemble's size),
so a tenth of the training photos is held out for that, 100 of each class, drawn by seed 0; the 2,000 photos of val/ are
the test set, opened once at the end of each run. ``one_cycle`` trains the whole net of ``world_class`` from the start,
with a rate of its own finder, for so many epochs that its stage takes as long as the stages of ``world_class`` took on
average (``epochs_in``); hence its arm comes last.

Seconds begin with the command. A stage is over when its record is written; what comes behind the last one (the test,
TTA, the ensemble) is evaluation. Processor seconds are those of the command and of the processes that read photos:
where other work shares the machine (``load``: processes that run or wait), they say more than the wall clock.

    python scripts/bench/world_class.py --threads 2   # goals: >= 98.0 % in <= 280 s; a useful model in < 60 s
    python scripts/bench/world_class.py --threads 2 --arms ulmfit progressive        # other recipes, as they come
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from common import Results, arguments, spread, start
from features import PHOTOS, WEIGHTS

from lightcycle.app.schema import PROJECT

ARMS = ("world_class", "fine_tune", "one_cycle")
OTHERS = ("freeze_unfreeze_one_cycle", "ulmfit", "progressive")
HELD_OUT = 0.1
TTA = "tta={n: 4, beta: 0.25, views: augment}"
STAGE = "{name: all, epochs: EPOCHS, lr: auto, schedule: {name: one_cycle}, callbacks: {lr_finder: FINDER}}"
FINDER = "{sweeps: 1, num_steps: 50}"  # as in the last stage of world_class
FIGURES = {
    "test/acc": "accuracy, %",
    "test/acc_tta": "accuracy with TTA, %",
    "test/acc_ensemble": "accuracy of the ensemble, %",
    "test/acc_ensemble_tta": "accuracy of the ensemble with TTA, %",
    "val/acc": "accuracy on the photos held out, %",
}
FIRST, TRAINING, EVALUATION = "first useful model", "training", "evaluation"
CLOCKS = ("wall", "processor")
GOALS = {
    ("world_class", "accuracy, %"): ">= 98.0",
    ("world_class", f"s, {FIRST}, wall"): "< 60",
    ("world_class", f"s, {TRAINING}, wall"): "<= 280",
}
REFERENCES = [
    ("logistic regression on frozen features", "accuracy, %", 97.55, None, None, None),
    ("fast.ai 2.8.12 fine_tune(3)", "accuracy, %", 91.9, None, None, None),
    ("fast.ai 2.8.12 fine_tune(3)", "accuracy with TTA, %", 93.7, None, None, None),
    ("fast.ai 2.8.12 fine_tune(3)", "s, training, wall", 280.0, None, None, None),
]
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def lay_out(photos: Path, folder: Path, limit: int | None) -> None:
    """Links to the photos: train and val are nine tenths and one tenth of train/, test is val/."""
    shutil.rmtree(folder, ignore_errors=True)
    draw = random.Random(0)
    for place in sorted(path for path in (photos / "train").iterdir() if path.is_dir()):
        files = draw.sample(found := images(place), min(len(found), limit or len(found)))
        held_out = round(HELD_OUT * len(files)) or 1
        link(files[held_out:], folder / "train" / place.name)
        link(files[:held_out], folder / "val" / place.name)
        link(images(photos / "val" / place.name)[:limit], folder / "test" / place.name)


def images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))


def link(files: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for file in files:
        (folder / file.name).symlink_to(file.resolve())


def run(args: argparse.Namespace, home: Path, arm: str, seed: int, options: list[str]) -> dict[str, Any]:
    """Figures and seconds of one run of the command.

    Raises:
        RuntimeError: if it fails; with the end of what it said.
    """
    folder = home / f"{arm}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, str(PROJECT / "train.py"), *options, *common_options(args, home, folder, seed)]
    threads = {name: str(args.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    with (folder / "said.txt").open("w") as said:
        process = subprocess.Popen(command, cwd=PROJECT, env=os.environ | threads, stdout=said, stderr=said)
        try:
            ends = watch(process, folder)
        finally:
            process.kill()  # of a measurement that is stopped; one that is over does not mind
            process.wait()
    if process.returncode:
        raise RuntimeError(f"{arm}, seed {seed} failed:\n{(folder / 'said.txt').read_text()[-3000:]}")
    shutil.rmtree(folder / "cache", ignore_errors=True)
    found = measured(read(folder / "summary.json"), ends, swept(folder))
    print({name: found[name] for name in ("figures", "seconds", "load")}, flush=True)
    return found


def common_options(args: argparse.Namespace, home: Path, folder: Path, seed: int) -> list[str]:
    """What all arms are told; a cache of its own, so that filling it counts in every run."""
    return [
        f"data.root={home / 'photos'}",
        f"model.weights={WEIGHTS if WEIGHTS.exists() else 'null'}",
        f"data.size={args.size}",
        f"seed={seed}",
        f"hydra.run.dir={folder}",
        f"features_cache={folder / 'cache'}",
        "trainer.progress=false",
        *(["data.batch_size=4", "trainer.accelerator=cpu"] if args.quick else []),
    ]


def watch(process: subprocess.Popen, folder: Path) -> list[dict[str, float | None]]:
    """(wall, processor) seconds at the end of each stage, and at that of the command."""
    began, ends, stages, now = time.perf_counter(), [], 0, dict.fromkeys(CLOCKS, 0.0)
    while process.poll() is None:
        now = {"wall": time.perf_counter() - began, "processor": processor_seconds(process.pid)}
        written = len(list((folder / "stages").glob("*.json")))
        ends += [now] * (written - stages)
        stages = written
        time.sleep(0.25)
    return [*ends, now]


def processor_seconds(pid: int) -> float | None:
    """Of a process and of all below it, those that have ended too; `None` where the system has no /proc."""
    seen = {child: (parent, ticks) for child, parent, ticks in processes()}
    if pid not in seen:
        return None
    below, ticks = [pid], 0
    for one in below:
        ticks += seen[one][1]
        below += [child for child, (parent, _) in seen.items() if parent == one]
    return ticks / TICKS


def processes() -> Iterator[tuple[int, int, int]]:
    """(its number, its parent's, clock ticks of it and of its ended children) of every process; see proc(5)."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        yield int(path.parent.name), int(fields[1]), sum(map(int, fields[11:15]))


def swept(folder: Path) -> int:
    """Steps that the finder took in the run's last stage."""
    last = max((folder / "stages").glob("*.json"), default=folder).with_suffix("")
    return sum(len(sweep) for path in last.glob("lr_find*.json") for sweep in read(path)["sweeps"])


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def measured(summary: dict[str, Any], ends: list[dict[str, float | None]], sweep_steps: int) -> dict[str, Any]:
    """What the measurement keeps of a run."""
    *stages, over = ends
    parts = {FIRST: stages[0], TRAINING: stages[-1], EVALUATION: {c: less(over[c], stages[-1][c]) for c in CLOCKS}}
    before = [dict.fromkeys(CLOCKS, 0.0), *stages]
    taken = [{c: less(end[c], began[c]) for c in CLOCKS} for began, end in zip(before, stages, strict=False)]
    return {
        "figures": {name: summary[name] for name in FIGURES if name in summary},
        "members": summary.get("ensemble_members"),
        "seconds": parts,
        "stages": [
            {**stage, "from the end of the one before": t} for stage, t in zip(summary["stages"], taken, strict=True)
        ],
        "sweep_steps": sweep_steps,
        "load": os.getloadavg()[0],
    }


def less(end: float | None, began: float | None) -> float | None:
    return None if end is None or began is None else end - began


def epochs_in(runs: list[dict[str, Any]]) -> int:
    """Epochs of the whole net, behind a sweep of the finder, in the seconds of all stages of ``world_class``.

    A step of the last stage costs its seconds over its steps, those of its finder among them; processor seconds where
    there are any. Start-up and the check of the photos are in both arms and not counted.
    """
    lasts, sweeps = [one["stages"][-1] for one in runs], fmean(one["sweep_steps"] for one in runs)
    costs = [fmean(seconds(stage) for stage in lasts), fmean(sum(map(seconds, one["stages"])) for one in runs)]
    steps = fmean(stage["steps"] for stage in lasts)
    affordable = costs[1] / costs[0] * (steps + sweeps) - sweeps
    return max(1, round(affordable / (steps / fmean(stage["epochs"] for stage in lasts))))


def seconds(stage: dict[str, Any]) -> float:
    """Seconds of a stage: of the processor, or of the run's own clock for want of those.

    The first stage's are taken from the run's clock, scaled: in front of it is the start of the program.
    """
    own, since = stage["seconds"], stage["from the end of the one before"]
    return own if since["processor"] is None else own * since["processor"] / since["wall"]


def options_of(results: Results, arm: str) -> list[str]:
    """What makes the arm; raises ValueError where it needs another one's seconds."""
    if arm != "one_cycle":
        return [f"recipe={arm}", *([] if arm in OTHERS else [TTA])]
    runs = [piece for key, piece in results.pieces.items() if key.startswith("world_class")]
    if not runs:
        raise ValueError("the arm one_cycle is as long as world_class, which has not run; add it: --arms world_class")
    stage = STAGE.replace("EPOCHS", str(epochs_in(runs))).replace("FINDER", FINDER)
    return ["recipe=world_class", f"recipe.stages=[{stage}]"]


def summarize(pieces: dict[str, list[dict[str, Any]]]) -> tuple[dict, tuple, list[tuple]]:
    """The figures for the JSON, and the head and the rows of the table."""
    found = {arm: dict(of_arm(runs)) for arm, runs in pieces.items() if runs}
    rows = [
        (arm, what, s["mean"], s["sd"], s["n"], GOALS.get((arm, what)))
        for arm, figures in found.items()
        for what, s in figures.items()
    ]
    return found, ("arm", "what", "mean", "sd", "n", "goal"), [*rows, *REFERENCES]


def of_arm(runs: list[dict[str, Any]]) -> Iterator[tuple[str, dict]]:
    for name, text in FIGURES.items():
        if name in runs[0]["figures"]:
            yield text, spread([100 * one["figures"][name] for one in runs])
    for part, clock in ((part, clock) for part in (FIRST, TRAINING, EVALUATION) for clock in CLOCKS):
        if runs[0]["seconds"][part][clock] is not None:
            yield f"s, {part}, {clock}", spread([one["seconds"][part][clock] for one in runs])
    for number, stage in enumerate(runs[0]["stages"]):
        yield f"s, stage {stage['name']}, wall", spread([one["stages"][number]["seconds"] for one in runs])
    yield "epochs", spread([sum(stage["epochs"] for stage in one["stages"]) for one in runs])
    yield "load", spread([one["load"] for one in runs])


def read_arguments() -> argparse.Namespace:
    parser = arguments("the recipe world_class against fine_tune and plain 1cycle")
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder with train/ and val/")
    parser.add_argument("--size", type=int, default=160, help="pixels")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=[*ARMS, *OTHERS], default=list(ARMS))
    args = parser.parse_args()
    args.images = 10 if args.quick else None
    if args.quick:
        args.size, args.seeds = 32, [0]
    return args


def main() -> None:
    args = read_arguments()
    name = "world_class"
    results = start(args, name, {"size": args.size, "images": args.images})
    home = args.out.absolute() / f"{name}{'-quick' if args.quick else ''}"
    lay_out(args.photos, home / "photos", args.images)
    pieces: dict[str, list[dict[str, Any]]] = {arm: [] for arm in args.arms}
    for arm in args.arms:
        for seed in args.seeds:
            options = options_of(results, arm)
            pieces[arm].append(results.piece(f"{arm}, seed {seed}", partial(run, args, home, arm, seed, options)))
            results.close(*summarize(pieces))


if __name__ == "__main__":
    main()
