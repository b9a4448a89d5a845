"""Snapshots on disk: what goes in comes out, and half of one is none."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file

from lightcycle.ensembling import host_copy, load_snapshot, members, save_snapshot, snapshots

STATE = {
    "conv.weight": torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last),
    "half": torch.randn(3).bfloat16(),
    "seen": torch.tensor(7),
    "empty": torch.zeros(0, 2),
}


def test_tensors_and_notes_come_back(tmp_path):
    tied = torch.randn(2, 2)
    state = {**STATE, "tied.a": tied, "tied.b": tied, "part": torch.arange(6.0)[::2]}
    made = save_snapshot(tmp_path / "new", state, {"step": 12, "lr": [0.1], "val/acc": None})
    (found,) = snapshots(tmp_path / "new")
    assert found == made
    assert found.info == {"step": 12, "lr": [0.1], "val/acc": None}
    for name, tensor in state.items():
        for loaded in (found.load(), load_snapshot(found.path), load_file(found.path)):
            assert torch.equal(loaded[name], tensor)
            assert loaded[name].dtype == tensor.dtype
    assert found.note(**{"val/acc": 0.5}).info["val/acc"] == 0.5
    assert snapshots(tmp_path / "new")[0].info["val/acc"] == 0.5


def test_in_the_order_of_their_steps(tmp_path):
    for step in (30, 5, 12_345_678, 100):
        save_snapshot(tmp_path, {"w": torch.zeros(1)}, {"step": step})
    assert [one.step for one in snapshots(tmp_path)] == [5, 30, 100, 12_345_678]


@pytest.mark.parametrize("at", ["tensors", "sync", "rename", "json"])
def test_a_stop_anywhere_leaves_the_old_ones_only(tmp_path, monkeypatch, at):
    save_snapshot(tmp_path, {"w": torch.zeros(1)}, {"step": 1})

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    owner, name = {
        "tensors": (members, "save_file"),
        "sync": (os, "fsync"),
        "rename": (os, "replace"),
        "json": (members, "write_json"),
    }[at]
    monkeypatch.setattr(owner, name, stop)
    with pytest.raises(KeyboardInterrupt):
        save_snapshot(tmp_path, {"w": torch.ones(1)}, {"step": 2})
    assert [one.step for one in snapshots(tmp_path)] == [1]
    assert not list(tmp_path.glob(".*"))


def test_a_snapshot_that_is_written_over_is_never_old_json_beside_new_tensors(tmp_path, monkeypatch):
    save_snapshot(tmp_path, {"w": torch.zeros(1)}, {"step": 1, "cycle": 1})
    monkeypatch.setattr(members, "write_json", lambda *args: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        save_snapshot(tmp_path, {"w": torch.ones(1)}, {"step": 1, "cycle": 2})
    assert snapshots(tmp_path) == []


def test_half_a_snapshot_is_none(tmp_path):
    made = save_snapshot(tmp_path, {"w": torch.zeros(1)}, {"step": 1})
    text = made.path.with_suffix(".json").read_text()
    made.path.with_suffix(".json").write_text(text[: len(text) // 2])
    assert snapshots(tmp_path) == []
    made.path.with_suffix(".json").write_text(json.dumps({"step": 1}))
    assert len(snapshots(tmp_path)) == 1
    made.path.unlink()
    assert snapshots(tmp_path) == []


def test_a_removed_one_is_gone(tmp_path):
    save_snapshot(tmp_path, {"w": torch.zeros(1)}, {"step": 1}).remove()
    assert list(tmp_path.iterdir()) == []


def test_a_copy_is_not_reached_by_what_follows():
    kept = host_copy(STATE)
    for name, tensor in STATE.items():
        assert torch.equal(kept[name], tensor)
        assert kept[name].is_contiguous()
        assert tensor.numel() == 0 or kept[name].data_ptr() != tensor.data_ptr()
