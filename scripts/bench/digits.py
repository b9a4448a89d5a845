"""The main job's figures: ``python train.py schedule=sgdr`` on digits, as a command of its own for each seed.

python scripts/bench/digits.py      # seeds 0 to 4; goals: mean test/acc >= 0.988, <= 30 s for the command
"""

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from common import PROJECT, arguments, spread, start

GOALS = {"test/acc": ">= 0.988", "seconds": "<= 30"}
FIGURES = ("test/acc", "val/acc", "seconds")


def run(seed: int, folder: Path, overrides: list[str], threads: int) -> dict[str, float]:
    """One command from its start to its end, and what its summary says."""
    command = [sys.executable, str(PROJECT / "train.py"), "schedule=sgdr", f"seed={seed}", f"hydra.run.dir={folder}"]
    began = time.perf_counter()
    subprocess.run(
        [*command, *overrides],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    seconds = time.perf_counter() - began
    summary = json.loads((folder / "summary.json").read_text())
    return {"test/acc": summary["test/acc"], "val/acc": summary["val/acc"], "seconds": seconds}


def main() -> None:
    parser = arguments("the main job on digits: accuracy and seconds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("overrides", nargs="*", help="passed on to train.py")
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.overrides = [0, 1], ["model.width=4", "data.limit=200"]
    results = start(args, "digits", {"overrides": args.overrides})
    runs = [
        results.piece(f"seed {seed}", partial(run, seed, args.out / f"digits-{seed}", args.overrides, args.threads))
        for seed in args.seeds
    ]
    summary = {name: spread([one[name] for one in runs]) for name in FIGURES}
    rows = [(name, s["mean"], s["sd"], s["n"], GOALS.get(name)) for name, s in summary.items()]
    results.close(summary, ("figure", "mean", "sd", "n", "goal"), rows)


if __name__ == "__main__":
    main()
