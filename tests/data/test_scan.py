import pytest

from lightcycle.data.config import ImageFolderConfig
from lightcycle.data.module import build
from lightcycle.data.scan import find_files, unreadable


@pytest.fixture
def spoiled(folder):
    """A folder with one empty, one truncated, one that is text, and one bad header."""
    root = folder({"train/a": 8, "train/b": 8, "val/a": 3, "val/b": 3})
    (root / "train/a/0.jpg").write_bytes(b"")
    whole = (root / "train/b/1.jpg").read_bytes()
    (root / "train/b/1.jpg").write_bytes(whole[:-60])
    (root / "val/a/2.jpg").write_text("not an image")
    (root / "val/b/0.jpg").write_bytes(b"\xff\xd8\xff" + bytes(100))
    return root


BAD = ("train/a/0.jpg", "train/b/1.jpg", "val/a/2.jpg", "val/b/0.jpg")


def test_all_bad_images_are_named_in_one_error(spoiled):
    data = build(ImageFolderConfig(root=str(spoiled), size=8, num_workers=0))
    with pytest.raises(ValueError, match="cannot be read") as error:
        data.setup("fit")
    first, *lines = str(error.value).splitlines()
    assert first == (
        f"4 image(s) under {spoiled} cannot be read; repair or remove them, or leave them out with data.on_bad=skip:"
    )
    assert [line.split(":")[0].strip() for line in lines] == [str(spoiled / name) for name in BAD]
    assert lines[0].endswith("0.jpg: empty file")
    assert "truncated" in lines[1]
    assert all(len(line.split(": ", 1)[1]) > 5 for line in lines)


def test_bad_images_are_skipped_and_counted(spoiled):
    data = build(ImageFolderConfig(root=str(spoiled), size=8, num_workers=0, on_bad="skip", drop_last=False))
    with pytest.warns(UserWarning, match=r"^4 unreadable image\(s\) under .* left out \(data.on_bad=skip\).$"):
        data.setup("fit")
    assert data.skipped == [str(spoiled / name) for name in BAD]
    assert (data.counts.train, data.counts.val) == (14, 4)
    assert sum(len(y) for _, y in data.train_dataloader()) == 14
    assert sum(len(y) for _, y in data.val_dataloader()) == 4


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".bmp", ".webp", ".tif"])
def test_truncation_is_found_in_every_format(folder, suffix):
    root = folder({"a": 2, "b": 1}, suffix)
    path = root / f"a/1{suffix}"
    path.write_bytes(path.read_bytes()[:-60])
    assert list(unreadable([str(p) for p in sorted(root.rglob("*.*"))])) == [str(path)]


def test_without_a_check_nothing_is_opened(spoiled):
    files, skipped = find_files(ImageFolderConfig(root=str(spoiled), check=False))
    assert (len(files["train"]), len(files["val"]), files["test"], skipped) == (16, 6, [], [])


def test_one_folder_is_split_three_ways_by_seed(folder):
    root = folder({"a": 20, "b": 10})

    def parts(**options):
        return find_files(ImageFolderConfig(root=str(root), check=False, **options))[0]

    first = parts()
    assert sorted(f for part in first.values() for f in part) == sorted({f for part in first.values() for f in part})
    assert sum(map(len, first.values())) == 30
    assert [[label for _, label in first[part]].count(1) for part in ("train", "val", "test")] == [8, 1, 1]
    assert parts() == first
    assert parts(split_seed=1)["val"] != first["val"]
    assert parts(limit=6)["train"] == [f for f in first["train"] if f in parts(limit=6)["train"]]
    assert [label for _, label in parts(limit=6)["train"]] == [0, 0, 0, 0, 1, 1]
