"""Files that are either the old one or the whole new one, never half of it."""

import json
import math
import os
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path

from lightcycle.files import whole


def write_bytes(path: str | os.PathLike, data: bytes) -> Path:
    """Write `data` to `path` atomically: a synced temporary file beside it, then one rename.

    A reader, or a machine that loses power, sees the old file or the new one. Missing folders are made.

    Raises:
        OSError: the file cannot be written; the old file is then untouched and no temporary file is left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as beside:
        beside.write_bytes(data)
    return path


def write_text(path: str | os.PathLike, text: str) -> Path:
    """Write `text` to `path` atomically, as UTF-8 with the line ends it has.

    >>> import tempfile
    >>> write_text(Path(tempfile.mkdtemp()) / "note.txt", "done").read_text()
    'done'
    """
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike, data: Mapping) -> Path:
    """Write `data` to `path` atomically as JSON; floats read back bit for bit, NaN and infinities become null.

    Raises:
        TypeError: a value is not plain data (dict, list, tuple, str, number, bool, None, Path); its key is named.

    >>> import tempfile
    >>> path = write_json(Path(tempfile.mkdtemp()) / "summary.json", {"test/acc": 0.1 + 0.2, "loss": float("nan")})
    >>> json.loads(path.read_text())
    {'test/acc': 0.30000000000000004, 'loss': None}
    """
    return write_text(path, json.dumps(_plain(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _plain(value, key: str = ""):
    """The same value in JSON's own types. JSON has no NaN: many readers refuse the file that holds one."""
    match value:
        case None | bool() | str():
            return value
        case Integral():
            return int(value)
        case Real():
            return float(value) if math.isfinite(value) else None
        case os.PathLike():
            return os.fspath(value)
        case Mapping():
            return {str(k): _plain(v, f"{key}.{k}" if key else str(k)) for k, v in value.items()}
        case list() | tuple():
            return [_plain(v, f"{key}[{i}]") for i, v in enumerate(value)]
    raise TypeError(
        f"{key or 'the data'} is a {type(value).__name__}, which JSON cannot hold; "
        "give a dict, list, string, number, bool or None (for a tensor: its .item() or .tolist())."
    )
