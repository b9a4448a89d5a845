"""Atomic files: the old one or the new one, never half of it."""

import json
import math
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from lightcycle.report.files import write_bytes, write_json, write_text


def test_replaces_the_old_file_and_leaves_nothing_else(tmp_path):
    write_text(tmp_path / "note.txt", "old")
    assert write_text(tmp_path / "note.txt", "new ·\r\n") == tmp_path / "note.txt"
    assert (tmp_path / "note.txt").read_bytes() == "new ·\r\n".encode()
    assert os.listdir(tmp_path) == ["note.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_midway_keeps_the_old_file(tmp_path, monkeypatch, step):
    write_text(tmp_path / "summary.json", "old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(tmp_path / "summary.json", "new")
    assert (tmp_path / "summary.json").read_text() == "old"
    assert os.listdir(tmp_path) == ["summary.json"]


def test_is_synced_before_it_is_renamed(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("fsync"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    write_bytes(tmp_path / "a", b"1")
    assert calls == ["fsync", "replace"]


def test_makes_folders_and_obeys_the_umask(tmp_path):
    path = write_text(tmp_path / "a" / "b" / "note.txt", "x")
    plain = tmp_path / "plain"
    plain.write_text("x")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_json_keeps_floats_exact_and_writes_null_for_what_json_lacks(tmp_path):
    floats = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0]
    data = {"floats": floats, "bad": [math.nan, math.inf, -math.inf, np.float32("nan")], "n": np.int64(3), "ok": True}
    data |= {"f32": np.float32(0.1), "where": Path("a/b"), "deep": {"none": None, 1: (1, 2)}, "name": "é"}
    text = write_json(tmp_path / "s.json", data).read_text(encoding="utf-8")
    back = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [value.hex() for value in back["floats"]] == [value.hex() for value in floats]
    assert back["bad"] == [None] * 4
    assert (back["n"], back["ok"], back["f32"], back["where"]) == (3, True, float(np.float32(0.1)), "a/b")
    assert back["deep"] == {"none": None, "1": [1, 2]}
    assert "é" in text


def test_json_names_the_key_it_cannot_write_and_keeps_the_old_file(tmp_path):
    write_json(tmp_path / "s.json", {"a": 1})
    with pytest.raises(TypeError, match=r"a\.b\[1\] is a set, which JSON cannot hold; give a dict, list"):
        write_json(tmp_path / "s.json", {"a": {"b": [1, {2}]}})
    assert json.loads((tmp_path / "s.json").read_text()) == {"a": 1}
