import numpy as np
import pytest

from lightcycle.data.npz import read_arrays, read_header


def test_reads_what_was_written(npz):
    path = npz(classes=np.array(["a", "b", "c"]))
    with np.load(path) as stored:
        x_train, y_train, x_test, y_test, classes = read_arrays(path)
        assert np.array_equal(x_train.transpose(0, 2, 3, 1), stored["x_train"])
        assert np.array_equal(x_test.transpose(0, 2, 3, 1), stored["x_test"])
        assert np.array_equal(y_train, stored["y_train"])
        assert np.array_equal(y_test, stored["y_test"])
    assert (y_train.dtype, classes) == (np.int64, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((6, 5), (1, 6, 5)),
        ((6, 5, 1), (1, 6, 5)),
        ((6, 5, 3), (3, 6, 5)),
        ((1, 6, 5), (1, 6, 5)),
        ((3, 6, 5), (3, 6, 5)),
    ],
)
def test_layouts(npz, shape, expected):
    path = npz(x_train=np.zeros((30, *shape), np.uint8), x_test=np.zeros((9, *shape), np.uint8))
    header = read_header(path)
    assert (header.train, header.test, header.classes) == (30, 9, ("0", "1", "2"))
    assert (header.channels, header.height, header.width) == expected
    assert read_arrays(path)[0].shape == (30, *expected)


def test_compressed_files_work(tmp_path, npz):
    with np.load(npz()) as stored:
        np.savez_compressed(tmp_path / "small.npz", **stored)
    assert read_header(tmp_path / "small.npz") == read_header(npz())


@pytest.mark.parametrize(
    ("replaced", "sentence"),
    [
        (
            {"x_test": None, "y_test": None},
            "must hold x_train, y_train, x_test, y_test (missing x_test, y_test; found ",
        ),
        (
            {"x_train": np.zeros((30, 6, 5, 3))},
            "must be uint8, 0 to 255 (got float64); (255 * x).astype('uint8') makes it.",
        ),
        ({"x_train": np.zeros((30, 6, 5, 2), np.uint8)}, "must have 1 or 3 channels (got shape (30, 6, 5, 2))"),
        (
            {"x_train": np.zeros((30, 6), np.uint8)},
            "must have 1 or 3 channels (got shape (30, 6)); (n, height, width, 3)",
        ),
        (
            {"x_test": np.zeros((9, 5, 5, 3), np.uint8)},
            "must be of one shape (got (channels, height, width) (3, 6, 5) and",
        ),
        ({"y_train": np.arange(29)}, "must have one label per image, (30,) (got shape (29,))."),
        ({"y_train": np.eye(30)}, "must be whole numbers from 0 (got float64); one per class."),
        ({"y_test": np.full(9, -1)}, "must be whole numbers from 0 (got int64); one per class."),
        ({"classes": np.array(["a", "b"])}, "must name every label (got 2 names, labels up to 2)."),
    ],
)
def test_errors_teach(npz, replaced, sentence):
    path = npz(**replaced)
    with pytest.raises(ValueError, match="must") as error:
        read_header(path)
    assert sentence in str(error.value)
    assert str(path) in str(error.value)


def test_what_is_no_npz(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"data.path must be an .npz file \(got .*, which is not there\); set data"
    ):
        read_header(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match=r"data.path must be an .npz file .*; numpy.savez writes one."):
        read_header(tmp_path / "text.npz")


def test_pickled_objects_are_refused(npz):
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_header(npz(y_train=np.array([None] * 30)))
