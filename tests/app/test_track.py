"""The edges: W&B never asks, metrics.csv continues, a commit is told."""

import json
import subprocess
import sys

import pytest

from lightcycle.app import csv_log, environment, track
from lightcycle.app.csv_log import CSVLog, read_rows
from lightcycle.app.track import FLUSH_SECONDS, has_api_key, run_id, scalars, wandb_logger
from wandb_file import read


def test_an_api_key_is_found_where_wandb_looks(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not has_api_key()
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert has_api_key()
    (tmp_path / ".netrc").write_text("no netrc at all")
    assert not has_api_key()
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert has_api_key()


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No key, a home of its own, and a failure where somebody asks."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "online")  # restored afterwards: the logger sets it
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked for something"))


@pytest.mark.slow
def test_wandb_holds_what_the_run_left(app, small, offline, tmp_path):
    sweep = ("-m", *small, "epochs=2", "logger=[csv,wandb]", "tags=[a,b]", "seed=0,1", "logger.wandb.artifacts=[last]")
    app(*sweep, f"hydra.sweep.dir={tmp_path}/sweep", "hydra.sweep.subdir=${seed}")
    import wandb

    assert wandb.run is None  # else the second run would have gone on in the first
    for seed in "01":
        folder = tmp_path / "sweep" / seed
        told, summary = read(folder), json.loads((folder / "summary.json").read_text())
        assert (told["exit"], told["tags"], told["group"], told["job_type"]) == (0, ["a", "b"], "synthetic", "train")
        assert told["config"]["seed"] == int(seed)
        assert told["config"]["choices"] == summary["choices"]
        assert told["config"]["versions"] == summary["versions"]
        assert told["config"]["git_commit"] == summary["git_commit"]
        assert "${" not in json.dumps(told["config"])
        figures = {name: value for name, value in scalars(summary).items() if isinstance(value, float)}
        assert figures.items() <= told["summary"].items()
        media = {
            name.partition("/")[2].partition(".")[0] for row in told["history"] for name in row if "media/" in name
        }
        assert "timeline" in media
        ((kind, aliases),) = told["artifacts"]
        assert (kind, set(aliases)) == ("model", {"last", "latest"})
        assert any("lr" in row for row in told["history"])


@pytest.mark.slow
def test_a_crash_is_a_crash_and_a_resumed_run_goes_on(app, small, offline, tmp_path, monkeypatch):
    run = (*small, "epochs=2", "logger=wandb", "test=none")
    monkeypatch.setattr("lightcycle.models.classifier.Classifier.on_validation_epoch_end", _crash)
    with pytest.raises(RuntimeError, match="on purpose"):
        app(*run)
    told = read(tmp_path / "run")
    assert told["exit"] == 1
    assert told["config"]["choices"]["data"] == "synthetic"
    assert run_id(tmp_path / "run", str(tmp_path / "run")) == told["id"]
    assert run_id(tmp_path / "run", str(tmp_path / "run" / "checkpoints" / "last.ckpt")) == told["id"]
    assert run_id(tmp_path / "run", None) != told["id"]


def _crash(module):
    raise RuntimeError("on purpose")


@pytest.mark.slow
def test_a_killed_run_leaves_its_config_and_figures(offline, tmp_path):
    script = (
        "import os, time; from lightcycle.app import track\n"
        f"log = track.wandb_logger({str(tmp_path)!r}, 'p', None, 'train', [])\n"
        "track.begin([log], {'lr': 0.1}, {'schedule': 'sgdr'}); log.log_metrics({'lr': 0.5}, step=3)\n"
        f"time.sleep({3 * FLUSH_SECONDS}); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    told = read(tmp_path, ended=False)
    assert told["config"]["lr"] == 0.1
    assert told["config"]["choices"] == {"schedule": "sgdr"}
    assert told["history"][0]["lr"] == 0.5
    assert told["exit"] is None


@pytest.mark.slow
def test_no_way_to_the_server_is_offline_not_the_end(offline, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_API_KEY", 40 * "0")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    script = (
        "from lightcycle.app import track; track.INIT_SECONDS = 3\n"
        f"log = track.wandb_logger({str(tmp_path)!r}, 'p', None, 'train', [])\n"
        "with track.closing(): log.log_metrics({'lr': 0.5}, step=3)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert "W&B records offline (" in done.stdout + done.stderr
    assert f"to upload: wandb sync {tmp_path}/wandb/offline-run-*" in done.stdout + done.stderr
    assert "takes no more figures" not in done.stdout + done.stderr
    told = read(tmp_path)
    assert (told["history"][0]["lr"], told["exit"]) == (0.5, 0)


def test_a_failing_tracker_does_not_end_a_training(offline, monkeypatch, tmp_path):
    log = wandb_logger(str(tmp_path), "p", None, "train", [])
    calls = []
    monkeypatch.setattr(track.WandbLogger, "log_metrics", lambda *_: calls.append(1) or 1 / 0)
    log.log_metrics({"lr": 0.1}, step=0)
    log.log_metrics({"lr": 0.1}, step=1)
    assert len(calls) == 1


def test_what_wandb_throws_ends_no_training(offline, monkeypatch, tmp_path):
    import wandb

    for name in ("setup", "finish"):
        monkeypatch.setattr(wandb, name, lambda *_, **__: 1 / 0)
    monkeypatch.setattr(wandb, "run", object())
    log = wandb_logger(str(tmp_path), "p", None, "train", [])
    with track.closing():
        track.begin([log], {"lr": 0.1}, {})
        log.log_metrics({"lr": 0.1}, step=0)
        log.log_table("curve", columns=["a"], data=[[1]])
        track.finish([log], tmp_path, {"lr": 0.1}, {})
    assert log.lost


def test_a_mode_from_outside_is_kept_and_said(offline, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("WANDB_API_KEY", 40 * "0")
    monkeypatch.setenv("WANDB_MODE", "offline")
    with caplog.at_level("INFO"):
        wandb_logger(str(tmp_path), "p", None, "train", [])
    assert "W&B records offline (WANDB_MODE=offline); to upload: wandb sync" in caplog.text


def test_wandb_still_knows_the_bounds_that_it_is_given():
    import wandb

    assert track._bounds(wandb.Settings) == {"x_transaction_log_flush_interval": 1, "finish_timeout": 300}


def test_an_agent_names_the_run(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_RUN_ID", "named")
    assert run_id(tmp_path, None) == "named"
    assert run_id(tmp_path / "again", str(tmp_path)) == "named"


def test_an_unknown_artifact_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"artifacts must be some of best, last \(got worst\)"):
        wandb_logger(str(tmp_path), "p", None, "train", [], artifacts=["worst"])


def test_metrics_csv_is_one_record_over_resumes(tmp_path):
    log = CSVLog(str(tmp_path))
    log.log_metrics({"lr": 0.1}, step=0)
    assert not log.path.exists()
    log.log_metrics({"lr": 0.2, "val/acc": 0.5}, step=3)
    log.flush()
    assert log.path.read_text() == "step,lr,val/acc\n0,0.1,\n3,0.2,0.5\n"
    again = CSVLog(str(tmp_path))
    again.log_metrics({"val/loss": 1.5}, step=3)
    again.log_metrics({"lr": 0.3}, step=7)
    again.finalize("success")
    assert read_rows(log.path) == {0: {"lr": 0.1}, 3: {"lr": 0.2, "val/acc": 0.5, "val/loss": 1.5}, 7: {"lr": 0.3}}


def test_writing_metrics_csv_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    now, written = 0.0, []

    def write(path, text):  # as long as the file is
        nonlocal now
        written.append(now)
        now += 1e-5 * text.count("\n")

    monkeypatch.setattr(csv_log, "write_text", write)
    monkeypatch.setattr(csv_log.time, "perf_counter", lambda: now)
    log, steps = CSVLog(str(tmp_path), share=0.02), 20_000
    for step in range(steps):
        now += 0.02
        log.log_metrics({"lr": 0.1}, step=step)
        log.save()
    assert 0.015 * now < now - 0.02 * steps < 0.021 * now
    assert len(written) > 20
    log.finalize("success")
    assert written[-1] > now - 1e-5 * (steps + 2)


def test_an_empty_log_writes_no_file(tmp_path):
    CSVLog(str(tmp_path)).finalize("failed")
    assert list(tmp_path.iterdir()) == []


def test_what_a_run_ran_on_can_be_written_down(monkeypatch, tmp_path):
    told = {"versions": environment.versions(), "machine": environment.machine(), "commit": environment.git_commit()}
    assert json.loads(json.dumps(told)) == told
    assert {"python", "torch", "lightning", "lightcycle"} <= set(told["versions"])
    assert set(told["machine"]) == {"device", "cores", "threads", "system"}
    monkeypatch.setattr(environment, "PROJECT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment.git_commit() is None
