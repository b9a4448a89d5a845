import unicodedata

import pytest

from lightcycle.data.listing import list_images


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names(root, files):
    return [(path.removeprefix(f"{root}/"), label) for path, label in files]


def test_two_parts(tmp_path):
    root = touch(tmp_path, "train/cat/2.JPG", "train/cat/1.png", "train/ant/a.webp", "val/cat/v.jpeg")
    listing = list_images(root)
    assert listing.classes == ("ant", "cat")
    assert names(root, listing.train) == [("train/ant/a.webp", 0), ("train/cat/1.png", 1), ("train/cat/2.JPG", 1)]
    assert names(root, listing.val) == [("val/cat/v.jpeg", 1)]  # no ant in val: that works
    assert (listing.test, listing.flat) == (None, False)


def test_one_folder_with_subfolders(tmp_path):
    root = touch(tmp_path, "b/deep/er/1.jpg", "a/1.gif")
    listing = list_images(root)
    assert names(root, listing.train) == [("a/1.gif", 0), ("b/deep/er/1.jpg", 1)]
    assert (listing.val, listing.test, listing.flat) == (None, None, True)


def test_hidden_files_and_others_are_passed_over(tmp_path):
    root = touch(tmp_path, "a/1.jpg", "a/._1.jpg", "a/notes.txt", "b/1.jpg", "b/Thumbs.db", ".cache/1.jpg", "readme.md")
    assert names(root, list_images(root).train) == [("a/1.jpg", 0), ("b/1.jpg", 1)]


def test_names_in_any_script_and_either_form_of_accents(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    root = touch(
        tmp_path, "train/猫/1.jpg", f"train/{decomposed}/1.jpg", "train/собака/ä ö.jpg", f"val/{composed}/1.jpg"
    )
    listing = list_images(root)
    assert listing.classes == (composed, "собака", "猫")
    assert [label for _, label in listing.val] == [0]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (
            ["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/c/1.jpg"],
            "val must hold only the classes of train (got c)",
        ),
        (["a/1.jpg", "b/note.txt", "c/x.md"], "must hold images in every class folder (empty: b, c); fill or remove."),
        (["a/1.jpg"], "must hold at least 2 class folders (found only a); one folder of images per class."),
        (["1.jpg"], "must hold at least 2 class folders (found none)"),
        (["train/a/1.jpg", "train/b/1.jpg", "val/a/note.txt"], "val must hold images in class folders (found none)"),
    ],
)
def test_errors_teach(tmp_path, files, sentence):
    with pytest.raises(ValueError, match="must hold") as error:
        list_images(touch(tmp_path, *files))
    assert sentence in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_no_such_folder(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"^data.root must be a folder of images \(got .*/x, which is absent\); set"
    ):
        list_images(tmp_path / "x")
