"""Image folders as people have them: each trains from end to end, or is refused in one sentence."""

import io
import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from lightcycle.data.config import ImageFolderConfig
from lightcycle.data.folder import read_rgb
from lightcycle.data.listing import list_images
from lightcycle.data.module import build
from lightcycle.data.scan import find_files, unreadable

TINY = ("data=image_folder", "data.size=8", "data.num_workers=0", "data.batch_size=4", "model=resnet", "model.width=4",
        "trainer.accelerator=cpu", "trainer.progress=false", "schedule=one_cycle", "epochs=1")  # fmt: skip


def photo(seed=0, size=(24, 18)):
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def fill(root, contents, suffix=".jpg"):
    """Photos in folders: ``fill(tmp_path, {"train/cat": 3})``."""
    for where, n in contents.items():
        (root / where).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            photo(seed=len(where) + i).save(root / where / f"{i}{suffix}")
    return root


@pytest.fixture
def photos(tmp_path):
    return tmp_path / "photos"


@pytest.fixture
def train(app, photos, tmp_path):
    def run(*options):
        app(*TINY, f"data.root={photos}", *options, folder=tmp_path / "run")
        return json.loads((tmp_path / "run" / "summary.json").read_text())

    return run


def refusal(call, *options):
    with pytest.raises(SystemExit) as refused:
        call(*options)
    said = str(refused.value)
    assert said.startswith("error: ")
    assert said.count("\n") == 0
    return said


WORLD_CLASS = ("recipe=world_class", "model.weights=null", "data.size=32", "data.num_workers=0", "data.batch_size=4",
               "trainer.accelerator=cpu", "trainer.progress=false")  # fmt: skip


@pytest.fixture
def world_class(app, photos, tmp_path):
    """The eight steps on the photos, with a net that knows nothing."""

    def run(*options):
        where = (f"data.root={photos}", f"features_cache={tmp_path}/cache")
        app(*WORLD_CLASS, *where, *options, folder=tmp_path / "run")
        return json.loads((tmp_path / "run" / "summary.json").read_text())

    return run


# -- too little of something -----------------------------------------------------------------------------------------


def test_one_class(train, photos):
    fill(photos, {"cat": 5})
    assert "must hold at least 2 class folders (found only cat); one folder of images per class." in refusal(train)


def test_empty_classes(train, photos):
    fill(photos, {"cat": 5, "dog": 0, "eel": 0})
    assert "must hold images in every class folder (empty: dog, eel); fill or remove." in refusal(train)


def test_no_images_at_all(train, photos):
    (photos / "cat").mkdir(parents=True)
    (photos / "dog").mkdir()
    (photos / "cat" / "notes.txt").touch()
    assert "must hold images in every class folder (empty: cat, dog)" in refusal(train)


def test_a_file_in_place_of_a_folder(train, photos):
    photos.write_text("not a folder")
    assert "data.root must be a folder of images" in refusal(train)


def test_three_images_cannot_be_split_three_ways(train, photos):
    fill(photos, {"cat": 2, "dog": 1})
    said = refusal(train)
    assert "leaves no training image of cat (1 train, 1 val, 1 test images); add images, or take fewer away" in said


def test_three_images_in_two_parts_train(train, photos):
    fill(photos, {"train/cat": 1, "train/dog": 1, "val/cat": 1})
    assert train()["val/acc"] in (0.0, 1.0)


def test_six_images_of_one_folder_train(train, photos):
    fill(photos, {"cat": 3, "dog": 3})
    train()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore:LR finder")  # on so few images it sometimes has no suggestion
@pytest.mark.parametrize("contents", [{"cat": 3, "dog": 3}, {"train/cat": 1, "train/dog": 1, "val/cat": 1}])
def test_a_recipe_on_a_handful_of_images(world_class, photos, contents):
    fill(photos, contents)
    assert [stage["name"] for stage in world_class()["stages"]] == ["precomputed", "head", "all"]


def test_a_recipe_refuses_in_a_sentence_too(world_class, photos):
    fill(photos, {"cat": 5, "dog": 0})
    assert "must hold images in every class folder (empty: dog); fill or remove." in refusal(world_class)


def test_a_class_whose_images_are_all_unreadable(train, photos):
    fill(photos, {"train/cat": 3, "train/dog": 1, "val/cat": 1, "val/dog": 1})
    (photos / "train/dog/0.jpg").write_bytes(b"")
    with pytest.warns(UserWarning, match="1 unreadable"):
        said = refusal(train, "data.on_bad=skip")
    assert "leaves no training image of dog (3 train, 2 val, 0 test images)" in said


def test_a_validation_whose_images_are_all_unreadable(train, photos):
    fill(photos, {"train/cat": 2, "train/dog": 2, "val/cat": 1})
    (photos / "val/cat/0.jpg").write_bytes(b"nothing")
    with pytest.warns(UserWarning, match="1 unreadable"):
        said = refusal(train, "data.on_bad=skip")
    assert "leaves no validation image (4 train, 0 val, 0 test images); add some, or remove its val/." in said


def test_a_class_in_val_that_train_lacks(train, photos):
    fill(photos, {"train/cat": 2, "train/dog": 2, "val/cat": 1, "val/eel": 1})
    assert "val must hold only the classes of train (got eel); rename or remove." in refusal(train)


def test_a_class_in_train_that_val_lacks(train, photos):
    fill(photos, {"train/cat": 4, "train/dog": 4, "val/cat": 2})
    train()


# -- images of every kind --------------------------------------------------------------------------------------------


def lab():
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    return ImageCms.applyTransform(photo(), to_lab)


def deep(dtype, scale):
    return Image.fromarray((np.asarray(photo().convert("L"), dtype=np.float64) * scale).astype(dtype))


def with_nan():
    pixels = np.asarray(photo().convert("L"), dtype=np.float32).copy()
    pixels[0, 0] = np.nan
    return Image.fromarray(pixels)


ANIMATED = {"save_all": True, "append_images": [photo(1), photo(2)]}
KINDS = {
    "gray.jpg": (lambda: photo().convert("L"), {}),
    "gray.png": (lambda: photo().convert("LA"), {}),
    "bilevel.tif": (lambda: photo().convert("1"), {}),
    "transparent.png": (lambda: photo().convert("RGBA"), {}),
    "palette.png": (lambda: photo().quantize(16), {}),
    "palette.bmp": (lambda: photo().quantize(16), {}),
    "cmyk.jpg": (lambda: photo().convert("CMYK"), {}),
    "cmyk.tif": (lambda: photo().convert("CMYK"), {}),
    "ycbcr.tif": (lambda: photo().convert("YCbCr"), {}),
    "lab.tif": (lab, {}),
    "16bit.png": (lambda: deep(np.uint16, 257), {}),
    "16bit.tif": (lambda: deep(np.uint16, 257), {}),
    "32bit.tif": (lambda: deep(np.int32, 257), {}),
    "float.tif": (lambda: deep(np.float32, 1), {}),
    "nan.tif": (with_nan, {}),
    "animated.gif": (photo, ANIMATED),
    "animated.webp": (photo, ANIMATED),
    "animated.png": (photo, ANIMATED),
    "pages.tif": (photo, ANIMATED),
    "lying.jpg": (photo, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"}),
    "garbled.jpg": (photo, {"exif": b"Exif\0\0this is no exif"}),
    "one_pixel.png": (lambda: photo(size=(1, 1)), {}),
    "thin.png": (lambda: photo(size=(300, 1)), {}),
    "PHOTO.JPEG": (photo, {}),
}


def test_all_kinds_train_together(train, photos):
    fill(photos, {"plain": len(KINDS)})
    (photos / "odd").mkdir()
    for name, (make, options) in KINDS.items():
        make().save(photos / "odd" / name, **options)
    photo().save(photos / "odd" / "misnamed.gif", format="JPEG")
    summary = train("data.val_size=8", "data.test_size=8")
    assert np.isfinite(summary["test/loss"])
    assert len(list_images(photos).train) == 2 * len(KINDS) + 1


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore:LR finder")
def test_all_kinds_go_through_a_recipe(world_class, photos):
    fill(photos, {"plain": len(KINDS)})
    (photos / "odd").mkdir()
    for name, (make, options) in KINDS.items():
        make().save(photos / "odd" / name, **options)
    assert np.isfinite(world_class("data.val_size=8", "data.test_size=8")["test/loss"])


@pytest.mark.parametrize("name", ["16bit.png", "16bit.tif", "32bit.tif", "float.tif", "gray.png", "nan.tif"])
def test_depth_does_not_change_what_is_seen(photos, name):
    photos.mkdir()
    make, options = KINDS[name]
    make().save(photos / name, **options)
    seen, wanted = np.asarray(read_rgb(str(photos / name)), int), np.asarray(photo().convert("L"), int)[..., None]
    assert np.abs(seen - wanted)[1:].max() <= 1


def test_what_the_check_accepts_can_be_read(photos, monkeypatch):
    """A file that decodes, and cannot be made RGB, must be met before training, and by name."""
    fill(photos, {"cat": 2})
    real = Image.Image.convert

    def convert(image, mode=None, *args, **options):
        if image.mode == "CMYK":
            raise ValueError("conversion from CMYK to RGB not supported")
        return real(image, mode, *args, **options)

    photo().convert("CMYK").save(photos / "cat" / "1.jpg")
    monkeypatch.setattr(Image.Image, "convert", convert)
    bad = unreadable([path for path, _ in list_images_of(photos / "cat")])
    assert bad == {str(photos / "cat" / "1.jpg"): "conversion from CMYK to RGB not supported"}


def list_images_of(folder):
    return [(str(path), 0) for path in sorted(folder.iterdir())]


# -- names and links -------------------------------------------------------------------------------------------------

NAMES = ["猫", "собака", "قط", "कुत्ता", "🦊 fox", "café", "[red]x", "$a_b$", "a=b,c", "{x}", "'q\"", "-n", "100%s"]


def test_names_in_any_script(train, photos, tmp_path):
    fill(photos, {f"{part}/{name}": 1 for part in ("train", "val") for name in NAMES})
    train()
    assert build(ImageFolderConfig(root=str(photos))).classes == tuple(sorted(NAMES))


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_names_that_are_no_text(train, photos, capsys):
    for name in (b"\xff\xfe", b"caf\xe9"):  # Latin-1 on a file system of UTF-8
        folder = os.path.join(os.fsencode(photos), name)
        os.makedirs(folder)
        for i in range(4):
            buffer = io.BytesIO()
            photo(i).save(buffer, "PNG")
            Path(os.fsdecode(os.path.join(folder, b"\xe9%d.png" % i))).write_bytes(buffer.getvalue())
    train()
    assert list_images(photos).classes == ("\\xff\\xfe", "caf\\xe9")
    data = build(ImageFolderConfig(root=str(photos), size=8, num_workers=0))
    data.setup("fit")
    assert len(data.fingerprint("train")) == 64


def test_one_class_in_two_spellings_is_one(photos):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    fill(photos, {composed: 2, decomposed: 3, "thé": 1})
    listing = list_images(photos)
    assert listing.classes == (composed, "thé")
    assert [label for _, label in listing.train] == [0] * 5 + [1]


def paths(listing, root):
    return [path.removeprefix(f"{root}/") for path, _ in listing.train]


def test_links_that_lead_back_are_not_followed(train, photos):
    fill(photos, {"cat": 4, "dog/young": 4})
    (photos / "cat" / "self").symlink_to(photos / "cat")
    (photos / "dog" / "young" / "up").symlink_to(photos / "dog")
    (photos / "dog" / "root").symlink_to(photos)  # would make cats into dogs
    (photos / "dog" / "ring").symlink_to(photos / "dog" / "ring")
    (photos / "eel").symlink_to(photos / "eel")
    listing = list_images(photos)
    assert paths(listing, photos) == [f"cat/{i}.jpg" for i in range(4)] + [f"dog/young/{i}.jpg" for i in range(4)]
    train()


def test_two_folders_that_link_to_each_other(photos):
    fill(photos, {"cat/a": 1, "cat/b": 1, "dog": 1})
    (photos / "cat" / "a" / "to_b").symlink_to(photos / "cat" / "b")
    (photos / "cat" / "b" / "to_a").symlink_to(photos / "cat" / "a")
    assert paths(list_images(photos), photos) == ["cat/a/0.jpg", "cat/a/to_b/0.jpg", "dog/0.jpg"]


def test_links_elsewhere_are_followed(photos, tmp_path):
    fill(tmp_path / "far", {"dogs": 2})
    fill(photos, {"cat": 1})
    (photos / "dog").symlink_to(tmp_path / "far" / "dogs")
    (photos / "cat" / "linked.jpg").symlink_to(tmp_path / "far" / "dogs" / "0.jpg")
    assert paths(list_images(photos), photos) == ["cat/0.jpg", "cat/linked.jpg", "dog/0.jpg", "dog/1.jpg"]


def test_a_folder_found_by_a_link_first_loses_nothing(photos):
    fill(photos, {"cat/z/deep": 1, "cat/z": 1, "dog": 1})
    (photos / "cat" / "a").symlink_to(photos / "cat" / "z" / "deep")
    assert paths(list_images(photos), photos) == ["cat/a/0.jpg", "cat/z/0.jpg", "dog/0.jpg"]


def test_a_link_to_nothing_is_named(train, photos):
    fill(photos, {"cat": 3, "dog": 3})
    (photos / "cat" / "gone.jpg").symlink_to(photos / "nowhere.jpg")
    said = refusal(train)
    assert "1 image(s) under" in said
    assert "gone.jpg: " in said
    assert "No such file" in said
    with pytest.warns(UserWarning, match="1 unreadable"):
        files, skipped = find_files(ImageFolderConfig(root=str(photos), on_bad="skip", val_size=1, test_size=1))
    assert (sum(map(len, files.values())), len(skipped)) == (6, 1)


def test_hidden_folders_are_passed_over(photos):
    fill(photos, {"cat/.ipynb_checkpoints": 2, "cat": 1, "dog": 1, ".thumbnails": 3})
    assert paths(list_images(photos), photos) == ["cat/0.jpg", "dog/0.jpg"]


def test_a_folder_that_may_not_be_read(train, photos, monkeypatch):
    fill(photos, {"cat": 1, "dog": 1})
    real = os.scandir

    def scandir(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert f"{photos}/dog cannot be listed (Permission denied); make it readable, or remove it" in refusal(train)
