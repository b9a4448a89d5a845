import numpy as np
import pytest

from lightcycle.app.measured import Measured


def test_what_was_measured_is_there_again(tmp_path):
    path = tmp_path / "points.npz"

    def stopped():
        with Measured(path, "key", 3, 2) as measured:
            measured.put(1, [0.1, 0.2], [True, False])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    again = Measured(path, "key", 3, 2)
    assert again.left == [0, 2]
    assert again.losses[1].tolist() == np.float32([0.1, 0.2]).tolist()
    assert again.right[1].tolist() == [True, False]
    assert [file.name for file in tmp_path.iterdir()] == ["points.npz"]


@pytest.mark.parametrize(
    "damage",
    [lambda p: p.write_bytes(b""), lambda p: p.write_bytes(p.read_bytes()[:-40]), lambda p: p.write_text("no")],
)
def test_a_damaged_file_is_begun_anew(tmp_path, damage):
    path = tmp_path / "points.npz"
    with Measured(path, "key", 2, 1) as measured:
        measured.put(0, [1.0], [True])
    damage(path)
    assert Measured(path, "key", 2, 1).left == [0, 1]


def test_another_key_is_another_measurement(tmp_path):
    path = tmp_path / "points.npz"
    with Measured(path, "key", 2, 1) as measured:
        measured.put(0, [1.0], [True])
    assert Measured(path, "keys", 3, 5).left == [0, 1, 2]


def test_it_is_saved_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr("lightcycle.app.measured.SAVE", -1.0)
    measured = Measured(tmp_path / "points.npz", "key", 2, 1)
    measured.put(1, [1.0], [True])  # a kill -9 now leaves this
    assert Measured(tmp_path / "points.npz", "key", 2, 1).left == [0]
