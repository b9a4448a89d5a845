"""What hydra/launcher=joblib brings: the time of a sweep of the main job on digits, beside the same one job by job.

Both are commands of their own, as a user types them: Hydra's launcher runs a job after the other with all cores, joblib
as many at a time as there are cores, with a thread each. The time is that of the whole command, comparison included.

    python scripts/bench/sweep_joblib.py      # goal on two cores: at most 0.6; needs the extra joblib
"""

import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from common import PROJECT, arguments, start

ARMS = {"one after the other": [], "joblib": ["hydra/launcher=joblib"]}
GOAL = "<= 0.6"


def sweep(arm: str, jobs: int, folder: Path, overrides: list[str]) -> float:
    """Seconds of one sweep that leaves nothing behind."""
    seeds = ",".join(map(str, range(jobs)))
    command = [sys.executable, str(PROJECT / "train.py"), "-m", f"seed={seeds}", f"hydra.sweep.dir={folder}"]
    shutil.rmtree(folder, ignore_errors=True)
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    began = time.perf_counter()
    subprocess.run([*command, *ARMS[arm], *overrides], env=environment, stdout=subprocess.DEVNULL, check=True)
    seconds = time.perf_counter() - began
    if (done := len(list(folder.glob("*/summary.json")))) != jobs:
        raise RuntimeError(f"{done} of {jobs} jobs were done")
    shutil.rmtree(folder)
    return seconds


def main() -> None:
    parser = arguments("a sweep through joblib and one job after the other")
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("overrides", nargs="*", help="passed on to train.py")
    args = parser.parse_args()
    if args.quick:
        args.jobs, args.overrides = 2, ["model.width=4", "data.limit=200", "epochs=1"]
    results = start(args, "sweep_joblib", {"jobs": args.jobs, "overrides": args.overrides})
    found = {
        arm: results.piece(arm, partial(sweep, arm, args.jobs, args.out / "sweep_joblib", args.overrides))
        for arm in ARMS
    }
    ratio = found["joblib"] / found["one after the other"]
    rows = [(f"{args.jobs} jobs {arm}, s", seconds, 1, "") for arm, seconds in found.items()]
    results.close({**found, "ratio": ratio}, ("figure", "value", "n", "goal"), [*rows, ("ratio", ratio, 1, GOAL)])


if __name__ == "__main__":
    main()
