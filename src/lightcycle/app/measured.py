"""Measurements of many points that a later run goes on with."""

import io
import time
import zipfile
from pathlib import Path

import numpy as np

from lightcycle.report.files import write_bytes

SAVE = 5.0  # seconds of work that a kill can cost


class Measured:
    """Loss and correctness of every image at every point, in an ``.npz`` written atomically every few seconds.

    Args:
        path: of the file; one with another key is not gone on with.
        key: says, by name, all that the numbers depend on.
        points, images: how many.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "points.npz"
    >>> with Measured(path, "one key", 2, 3) as measured:
    ...     measured.put(0, [1.0, 2.0, 3.0], [True, False, False])
    >>> Measured(path, "one key", 2, 3).left, Measured(path, "another", 2, 3).left
    ([1], [0, 1])
    """

    def __init__(self, path: Path, key: str, points: int, images: int) -> None:
        self.path, self.key = path, key
        self.losses = np.zeros((points, images), np.float32)
        self.right = np.zeros((points, images), bool)
        self.done = np.zeros(points, bool)
        self._saved = time.monotonic()
        self._go_on()

    def __enter__(self) -> "Measured":
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

    @property
    def left(self) -> list[int]:
        """The points that are not measured yet."""
        return np.flatnonzero(~self.done).tolist()

    def put(self, point: int, losses, right) -> None:
        """Keep what was measured at a point."""
        self.losses[point], self.right[point], self.done[point] = losses, right, True
        if time.monotonic() - self._saved > SAVE:
            self.save()

    def save(self) -> None:
        """Write what there is."""
        buffer = io.BytesIO()
        np.savez(buffer, key=self.key, losses=self.losses, right=self.right, done=self.done)
        write_bytes(self.path, buffer.getvalue())
        self._saved = time.monotonic()

    def _go_on(self) -> None:
        try:
            # from bytes: of a damaged file, NumPy would leave the handle open
            with np.load(io.BytesIO(self.path.read_bytes()), allow_pickle=False) as found:
                if found["key"] == self.key:
                    self.losses, self.right, self.done = found["losses"], found["right"], found["done"]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):  # none, or damaged: begin anew
            return
