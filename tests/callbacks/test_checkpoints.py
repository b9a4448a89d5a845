"""LastCheckpoint: two whole files, whatever happens while one is written."""

import pytest
import torch

from lightcycle.callbacks import LastCheckpoint, checkpoints
from toys import Toy, quiet_trainer, toy_loader


def fit(folder, epochs=3, **options):
    trainer = quiet_trainer(callbacks=[LastCheckpoint(folder, **options)], max_epochs=epochs, enable_checkpointing=True)
    trainer.fit(Toy(), toy_loader(), toy_loader())
    return trainer


def steps(folder):
    return {p.name: torch.load(p, weights_only=True)["global_step"] for p in folder.iterdir()}


def test_the_latest_and_the_one_before_it(tmp_path):
    fit(tmp_path)
    assert steps(tmp_path) == {"last.ckpt": 15, "previous.ckpt": 10}


def test_every_so_many_epochs_and_at_the_end(tmp_path):
    fit(tmp_path, epochs=5, every_n_epochs=2)
    assert steps(tmp_path) == {"last.ckpt": 25, "previous.ckpt": 20}


def test_max_steps_end_a_fit_once(tmp_path):
    trainer = quiet_trainer(callbacks=[LastCheckpoint(tmp_path)], max_steps=7, enable_checkpointing=True)
    trainer.fit(Toy(), toy_loader())
    assert steps(tmp_path) == {"last.ckpt": 7, "previous.ckpt": 5}


@pytest.mark.parametrize("call", range(4))
def test_a_whole_one_is_there_at_every_moment(call, tmp_path, monkeypatch):
    """Killed in front of any rename: behind the first save, one of the two can always be loaded."""

    class Killed(BaseException):
        pass

    done, replace = [], checkpoints.os.replace

    def counted(*paths):
        if len(done) == call + 1:
            raise Killed
        done.append(paths)
        replace(*paths)

    monkeypatch.setattr(checkpoints.os, "replace", counted)
    with pytest.raises(Killed):
        fit(tmp_path, epochs=4)
    monkeypatch.undo()
    there = {path.name for path in tmp_path.iterdir()} & {"last.ckpt", "previous.ckpt"}
    found = [torch.load(tmp_path / name, weights_only=True)["global_step"] for name in there]
    assert found
    assert max(found) >= 5 * ((call + 1) // 2)


def test_epochs_below_one_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"every_n_epochs must be a whole number >= 1 \(got 0\)"):
        LastCheckpoint(tmp_path, every_n_epochs=0)
