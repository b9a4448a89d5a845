"""``Sweep``: what happens around the jobs of a multirun, so that one failure ends nothing and nothing is done twice."""

import math
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lightcycle.app.say import is_lesson, sentence

if TYPE_CHECKING:  # the table and the picture are made at the end of a sweep only
    from lightcycle.app.runs import Run


JOB_DIR = "hydra.run.dir=${hydra.sweep.dir}/${hydra.sweep.subdir}"
"""The folder that Lightning tells a job's other processes: without it they would look for one of their own."""


class Sweep(Callback):
    """Names the folders of a sweep after what differs, keeps it going past a failed job, and compares at its end.

    Switched on in conf/train.yaml::

        hydra:
          callbacks:
            sweep:
              _target_: lightcycle.app.sweep.Sweep
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Makes the sweep's folder, for a study in it, and leaves what all jobs share out of their folders' names."""
        Path(config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        config.hydra.overrides.hydra.append(JOB_DIR)
        names = config.hydra.job.config.override_dirname
        if shared := shared_keys(config):
            listed = ",".join(f"'{key}'" for key in dict.fromkeys([*names.exclude_keys, *shared]))
            config.hydra.overrides.hydra.append(f"hydra.job.config.override_dirname.exclude_keys=[{listed}]")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Writes down why a job failed, and hands None to the sweeper: told of an error, it would end the sweep."""
        if config.hydra.mode is not RunMode.MULTIRUN:
            return
        from lightcycle.app.runs import FAILED
        from lightcycle.report.files import write_json

        path = Path(config.hydra.runtime.output_dir) / FAILED
        if job_return.status is JobStatus.COMPLETED:
            path.unlink(missing_ok=True)
            return
        job_return.status = JobStatus.COMPLETED
        error = job_return.return_value
        job_return.return_value = None
        overrides, stack = list(job_return.overrides or []), "".join(traceback.format_exception(error))
        write_json(path, {"error": said(error), "overrides": overrides, "stack": stack})
        print(f"failed: {' '.join(overrides)}\n{said(error) if is_lesson(error) else stack}", file=sys.stderr)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Leaves sweep.csv, sweep.html and sweep.png in the sweep's folder; exits with 1 if a job failed."""
        end(Path(config.hydra.sweep.dir))


def end(folder: Path) -> None:
    """Compares the runs of a sweep's folder.

    Raises:
        SystemExit: a run has failed; every one is named, with its error.
    """
    from lightcycle.app.compare import compare
    from lightcycle.app.runs import find

    try:
        runs = find([folder])
    except ValueError:  # jobs that leave no runs, such as plans, have nothing to compare
        return
    if any(not run.problem for run in runs):
        compare([folder], folder)
    if failed := [run for run in runs if run.problem.startswith("failed: ")]:
        again = f"the same command with hydra.sweep.dir={folder} makes only these again"
        sys.exit("\n".join([*_by_error(failed, folder), f"{len(failed)} of {len(runs)} runs failed; {again}"]))


def _by_error(failed: "list[Run]", folder: Path) -> list[str]:
    """A line for each error, with the runs that met it."""
    met: dict[str, list[str]] = {}
    for run in failed:
        met.setdefault(run.problem.removeprefix("failed: "), []).append(str(run.folder.relative_to(folder)))
    return [f"error: {error} ({'; '.join(runs)})" for error, runs in met.items()]


def finished(config: DictConfig) -> float | None:
    """What a job of a sweep returned when it ran before in the same folder with the same config; None: it must run.

    Args:
        config: the job's, as composed.
    """
    hydra = HydraConfig.get()
    if hydra.mode is not RunMode.MULTIRUN:
        return None
    from lightcycle.app.runs import read

    folder = Path(hydra.runtime.output_dir)
    run = read(folder)
    if run.problem or not _same(config, folder / "config.yaml"):
        (folder / "summary.json").unlink(missing_ok=True)  # of another run: cut off now, this one would look finished
        return None
    print(f"{folder} is done already, and skipped")
    return run.summary.get(run.summary["monitor"], math.nan)


def _same(config: DictConfig, path: Path) -> bool:
    """Whether a saved config says what this one says; it may say more, such as what a finder found."""
    if not path.exists():
        return False
    saved = OmegaConf.to_container(OmegaConf.load(path))
    asked = OmegaConf.to_container(OmegaConf.create(OmegaConf.to_yaml(config, resolve=True)))
    return all(key in saved and saved[key] == value for key, value in asked.items())


def shared_keys(config: DictConfig) -> list[str]:
    """The keys that every job of a multirun is given with the same value; none where nothing differs.

    Args:
        config: of the multirun, as the sweeper gets it.
    """
    params = config.hydra.sweeper.get("params") or {}
    typed = [f"{key}={value}" for key, value in params.items()] + list(config.hydra.overrides.task)
    overrides = OverridesParser.create().parse_overrides(typed)
    swept = {each.key_or_group: each.is_sweep_override() for each in overrides}  # what is typed wins over the params
    return [key for key, several in swept.items() if not several] if any(swept.values()) else []


def said(error: BaseException) -> str:
    """An error in one line: the lesson, or the kind of the bug and its words."""
    return sentence(error) if is_lesson(error) else f"{type(error).__name__}: {' '.join(str(error).split())}"
