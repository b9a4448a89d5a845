"""The edges: W&B never asks, metrics.csv continues, a commit is told."""

import json

import pytest

from lightcycle.app import environment
from lightcycle.app.csv_log import CSVLog, read_rows
from lightcycle.app.track import has_api_key


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


@pytest.mark.slow
def test_wandb_records_offline_and_never_asks(app, small, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked for something"))
    sweep = ("-m", *small, "epochs=1", "logger=wandb", "tags=[a,b]", "seed=0,1", "test=none")
    app(*sweep, f"hydra.sweep.dir={tmp_path}/sweep", "hydra.sweep.subdir=${seed}")
    import wandb

    assert wandb.run is None  # else the second run would have gone on in the first
    for seed in "01":
        folder = tmp_path / "sweep" / seed
        recorded = list((folder / "wandb").glob("offline-run-*/run-*.wandb"))
        assert len(recorded) == 1
        assert b"val/acc" in recorded[0].read_bytes()
        assert (folder / "metrics.csv").is_file()


def test_metrics_csv_is_one_record_over_resumes(tmp_path):
    log = CSVLog(str(tmp_path), every=2)
    log.log_metrics({"lr": 0.1}, step=0)
    assert not log.path.exists()
    log.log_metrics({"lr": 0.2, "val/acc": 0.5}, step=3)
    assert log.path.read_text() == "step,lr,val/acc\n0,0.1,\n3,0.2,0.5\n"
    again = CSVLog(str(tmp_path))
    again.log_metrics({"val/loss": 1.5}, step=3)
    again.log_metrics({"lr": 0.3}, step=7)
    again.finalize("success")
    assert read_rows(log.path) == {0: {"lr": 0.1}, 3: {"lr": 0.2, "val/acc": 0.5, "val/loss": 1.5}, 7: {"lr": 0.3}}


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
