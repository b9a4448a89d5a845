"""A file that is the old one or the whole new one, never half of it: what every room that writes files shares."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a place beside ``path`` to write to; what is there in the end is synced, and takes the name in one step.

    After an error the old file is untouched, and nothing temporary is left.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with whole(path) as beside:
    ...     _ = beside.write_text("done")
    >>> path.read_text(), len(list(path.parent.iterdir()))
    ('done', 1)
    """
    # Not tempfile.mkstemp: its files are private to the user (0600), and a run's results should obey the umask.
    temp = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield temp
        with open(temp, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temp, path)
    finally:
        temp.unlink(missing_ok=True)
