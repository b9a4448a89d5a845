"""An array on disk is whole or absent, and a killed process costs what it did since the last sync."""

import json

import numpy as np
import pytest
import torch

from lightcycle.transfer import npy
from lightcycle.transfer.npy import GrowingArray, damage, read, read_json, write_json

ROWS = np.arange(24, dtype="float32").reshape(8, 3)


def grow(folder, dtype="float32", rows=8):
    return GrowingArray(folder / "x.part", rows, np.dtype(dtype))


def written(folder):
    with grow(folder) as array:
        array.append(ROWS[:5])
        array.append(ROWS[5:])
        return folder / "x.npy", array.close_as(folder / "x.npy")


def test_numpy_reads_the_file(tmp_path):
    path, seal = written(tmp_path)
    assert np.array_equal(np.load(path, allow_pickle=False), ROWS)
    assert seal["bytes"] == path.stat().st_size
    assert [file.name for file in tmp_path.iterdir()] == ["x.npy"]


def test_the_tensor_is_mapped_and_cannot_change_the_file(tmp_path):
    path, seal = written(tmp_path)
    tensor = read(path)
    tensor[0] = -1
    assert np.array_equal(np.load(path), ROWS)
    assert damage(path, seal) == ""


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rows_have_the_dtype_asked_for(tmp_path, dtype):
    with grow(tmp_path, dtype) as array:
        array.append(ROWS)
        array.close_as(tmp_path / "x.npy")
    assert read(tmp_path / "x.npy").dtype == getattr(torch, dtype)


def test_a_cut_or_changed_file_is_told(tmp_path):
    path, seal = written(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    assert damage(path, seal) == f"is cut off ({len(whole) - 4} of {len(whole)} bytes)"
    path.write_bytes(whole[:-1] + b"\x01")
    assert damage(path, seal) == "is damaged (its checksum has changed)"
    path.unlink()
    assert damage(path, seal) == f"is cut off (0 of {len(whole)} bytes)"


@pytest.mark.parametrize("rows", [7, 9])
def test_missing_or_surplus_rows_are_refused(tmp_path, rows):
    with grow(tmp_path, rows=rows) as array:
        array.append(ROWS)
        with pytest.raises(ValueError, match=rf"features of {rows} images \(got 8\)"):
            array.close_as(tmp_path / "x.npy")
    assert not (tmp_path / "x.npy").exists()


def test_after_a_kill_it_goes_on_behind_what_is_surely_there(tmp_path, monkeypatch):
    monkeypatch.setattr(npy, "SYNC", 0)
    with grow(tmp_path) as array:
        array.append(ROWS[:2])
        array.append(ROWS[2:4])
        monkeypatch.setattr(npy, "SYNC", 60)
        array.append(ROWS[4:6] + 100)  # written, but nobody has noted it
    with grow(tmp_path) as array:
        assert array.rows == 4
        array.append(ROWS[4:])
        seal = array.close_as(tmp_path / "x.npy")
    assert np.array_equal(np.load(tmp_path / "x.npy"), ROWS)
    assert damage(tmp_path / "x.npy", seal) == ""


def test_a_beginning_of_another_length_or_shorter_than_noted_is_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(npy, "SYNC", 0)
    with grow(tmp_path) as array:
        array.append(ROWS[:4])
    with grow(tmp_path, rows=9) as array:
        assert array.rows == 0
    with grow(tmp_path) as array:
        array.append(ROWS[:4])
    with open(tmp_path / "x.part", "r+b") as file:
        file.truncate(140)
    with grow(tmp_path) as array:
        assert array.rows == 0


def test_json_is_the_old_or_the_new(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    monkeypatch.setattr(npy.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_json(path, {"a": 2})
    assert read_json(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]
    path.write_text(json.dumps({"a": 1})[:-1])
    assert read_json(path) == {}
