"""Tracking: what the loggers are told at the start and at the end of a run, and the one place that knows W&B."""

import netrc
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only

from lightcycle.app import environment
from lightcycle.report.files import write_text

if TYPE_CHECKING:  # a second to import, and most runs do without
    from wandb.sdk.wandb_run import Run

ARTIFACTS = ("best", "last")
INIT_SECONDS = 30  # after which the run is recorded offline; W&B's own 90 look like a hang
SERVICE = "WANDB_SERVICE"  # in the environment: the W&B service of a parent process, shared with its children
FINISH_SECONDS = 300  # after which the end of a run does not wait for its upload any more; W&B has no bound of its own
FLUSH_SECONDS = 1  # W&B keeps up to 15 s of a run in memory, which a killed run would lose


def wandb_logger(
    folder: str,
    project: str,
    group: str | None,
    job_type: str,
    tags: list[str],
    offline: bool | None = None,
    artifacts: Sequence[str] = (),
    resume: str | None = None,
) -> "Tracker":
    """The W&B logger of a run, offline where there is no API key or no way to the server: it never asks, never hangs.

    Args:
        folder: the run's output folder; W&B's files go to ``wandb/`` in it.
        project, group, job_type, tags: as W&B names them.
        offline: ``None`` decides by ``WANDB_MODE`` and the API key.
        artifacts: checkpoints that are uploaded at the end: some of ``best`` and ``last``.
        resume: the checkpoint or folder that is resumed; its W&B run is continued.

    Raises:
        ValueError: for an unknown artifact.
    """
    if unknown := set(artifacts) - set(ARTIFACTS):
        raise ValueError(f"artifacts must be some of {', '.join(ARTIFACTS)} (got {', '.join(sorted(unknown))})")
    return Tracker(
        offline=not has_api_key() or os.environ.get("WANDB_MODE") == "offline" if offline is None else offline,
        artifacts=artifacts,
        id=run_id(Path(folder), resume),
        save_dir=folder,
        name=Path(folder).name,
        project=project,
        group=group,
        job_type=job_type,
        tags=list(tags),
    )


class Tracker(WandbLogger):
    """Lightning's ``WandbLogger``, which goes offline where it cannot reach its server, and never fails a training."""

    def __init__(self, *, offline: bool, artifacts: Sequence[str] = (), save_dir: str, **options: Any) -> None:
        super().__init__(save_dir=save_dir, offline=offline, **options)
        self.folder, self.artifacts = Path(save_dir), tuple(artifacts)
        self._begun = self.lost = False
        if offline:
            asked = "WANDB_MODE=offline" if os.environ.get("WANDB_MODE") == "offline" else "as asked"
            self._say_offline(asked if has_api_key() else "no API key")

    @property
    @rank_zero_experiment
    def experiment(self) -> "Run":
        """The W&B run, begun at first use."""
        if not self._begun:
            self._begin()
        return super().experiment

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._hand_over(super().log_metrics, metrics, step)

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        self._hand_over(super().log_hyperparams, params)

    @rank_zero_only
    def log_table(self, key: str, *args: Any, **kwargs: Any) -> None:
        self._hand_over(super().log_table, key, *args, **kwargs)

    def _hand_over(self, call: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        """Tells W&B; when it fails, the run goes on without it."""
        if self.lost:
            return
        try:
            call(*args, **kwargs)
        except Exception as error:  # whatever the tracker throws, it is not worth a training
            self.lost = True
            rank_zero_info(f"W&B takes no more figures ({_line(error)}); metrics.csv has them all")

    def _begin(self) -> None:
        import wandb

        self._begun = True
        os.environ.setdefault("WANDB_SILENT", "true")
        wandb.setup(settings=wandb.Settings(init_timeout=INIT_SECONDS, **_bounds(wandb.Settings)))
        try:
            _ = super().experiment
        except Exception as error:
            self._say_offline(_line(error))
            self._begin_offline(wandb)

    def _begin_offline(self, wandb: Any) -> None:
        """Begins anew, with a service of its own: one that other runs share goes on holding the name of this one."""
        wandb.teardown()
        os.environ.pop(SERVICE, None)
        wandb.setup(settings=wandb.Settings(**_bounds(wandb.Settings)))
        _ = super().experiment

    def _say_offline(self, why: str) -> None:
        os.environ["WANDB_MODE"] = "offline"
        rank_zero_info(f"W&B records offline ({why}); to upload: wandb sync {self.folder / 'wandb'}/offline-run-*")


def _bounds(settings: Any) -> dict[str, float]:
    """Frequent writes and an end in finite time, where W&B knows the options: their names are its own and may go."""
    wanted = {"x_transaction_log_flush_interval": FLUSH_SECONDS, "finish_timeout": FINISH_SECONDS}
    return {name: value for name, value in wanted.items() if name in settings.model_fields}


def run_id(folder: Path, resume: str | None) -> str:
    """The name by which W&B knows a run: that of the resumed one, kept in ``wandb/id``, or a new one."""
    resumed = Path(resume) if resume else None
    for place in [] if resumed is None else [resumed, *resumed.parents[:2]]:
        if (place / "wandb" / "id").is_file():
            return (place / "wandb" / "id").read_text().strip()
    new = os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)  # a sweep's agent has named it already
    if rank_zero_only.rank == 0:
        write_text(folder / "wandb" / "id", new)
    return new


def begin(loggers: Iterable[Logger], config: dict[str, Any], choices: dict[str, str]) -> None:
    """Tells the loggers what is run: the resolved config, the option chosen in each group, versions and commit."""
    told = {"choices": choices, "versions": environment.versions(), "git_commit": environment.git_commit()}
    for logger in loggers:
        logger.log_hyperparams({**config, **told})


def finish(loggers: Iterable[Logger], folder: Path, summary: dict[str, Any], checkpoints: dict[str, str]) -> None:
    """Tells W&B what a run left: the figures of summary.json, its pictures, and the checkpoints that were asked for."""
    for logger in loggers:
        if isinstance(logger, Tracker) and not logger.lost:
            try:
                _finish(logger, folder, summary, checkpoints)
            except Exception as error:  # as above
                rank_zero_info(f"W&B did not take all that the run left ({_line(error)}); it is in {folder}")


def _finish(logger: Tracker, folder: Path, summary: dict[str, Any], checkpoints: dict[str, str]) -> None:
    import wandb

    run = logger.experiment
    run.summary.update(scalars(summary))
    for path in sorted([*folder.glob("*.png"), *folder.glob("stages/*/*.png")]):
        name = path.relative_to(folder).with_suffix("").as_posix().removeprefix("stages/")
        run.log({f"media/{name}": wandb.Image(str(path))})
    if members := summary.get("snapshots"):
        names = list(dict.fromkeys(name for member in members for name in member))
        rows = [[member.get(name) for name in names] for member in members]
        run.log({"snapshots": wandb.Table(columns=names, data=rows)})
    for name in logger.artifacts:
        if path := checkpoints.get(name):
            artifact = wandb.Artifact(f"{run.id}-{name}", type="model", metadata=scalars(summary))
            artifact.add_file(path)
            run.log_artifact(artifact, aliases=[name])


def scalars(summary: dict[str, Any]) -> dict[str, Any]:
    """The figures and words of a summary, nested ones with dotted names; lists are left out.

    >>> scalars({"test/acc": 0.9, "choices": {"schedule": "sgdr"}, "stages": []})
    {'test/acc': 0.9, 'choices.schedule': 'sgdr'}
    """
    flat = {}
    for name, value in summary.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": inner for key, inner in scalars(value).items()}
        elif isinstance(value, str | int | float):
            flat[name] = value
    return flat


@contextmanager
def closing() -> Iterator[None]:
    """Ends W&B's run with ours, as crashed after an error: the next run of a sweep would go on in it."""
    code = 1
    try:
        yield
        code = 0
    finally:
        if (wandb := sys.modules.get("wandb")) and wandb.run is not None:
            try:
                wandb.finish(exit_code=code)
            except Exception as error:  # as above
                rank_zero_info(f"W&B did not end the run ({_line(error)}); what it was told lies in the run's folder")


def has_api_key() -> bool:
    """Whether W&B would find a key: in the environment or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return any("wandb" in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
