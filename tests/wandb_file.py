"""Reads what W&B's client wrote: a log of protocol buffers in blocks of 32 KiB, after a header of 7 bytes."""

import json
import struct
import time
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK = 32 * 1024
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> list[Any]:
    """The records of a ``.wandb`` file, in order."""
    data, at, part, found = path.read_bytes(), 7, b"", []
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:  # a header does not fit in what is left of the block
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        if at + 7 + length > len(data):  # it is still being written
            break
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(part)
            found.append(record)
            part = b""
    return found


def read(folder: Path, ended: bool = True) -> dict[str, Any]:
    """One offline run: ``id``, ``tags``, ``group``, ``job_type``, ``config``, ``history``, ``summary``, ``exit``.

    The client's service may still be writing when its ``finish`` is back: the end of a run that has one is waited for.
    """
    for _ in range(60 if ended else 0):
        if (told := _read(folder))["exit"] is not None:
            return told
        time.sleep(0.5)
    return _read(folder)


def _read(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    told: dict[str, Any] = {"config": {}, "history": [], "summary": {}, "exit": None, "artifacts": []}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            told |= {"id": record.run.run_id, "tags": list(record.run.tags), "group": record.run.run_group}
            told["job_type"] = record.run.job_type
            _update(told["config"], record.run.config.update)
        elif kind == "config":
            _update(told["config"], record.config.update)
        elif kind == "history":
            told["history"].append(_update({}, record.history.item))
        elif kind == "summary":
            _update(told["summary"], record.summary.update)
        elif kind == "artifact":
            told["artifacts"].append((record.artifact.type, list(record.artifact.aliases)))
        elif kind == "exit":
            told["exit"] = record.exit.exit_code
    return told


def _update(into: dict[str, Any], items: Any) -> dict[str, Any]:
    for item in items:
        name = item.key or ".".join(item.nested_key)
        into[name] = json.loads(item.value_json)
    return into
