import random

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from lightcycle.data.config import ImageFolderConfig
from lightcycle.data.folder import ImageFiles, Item, center_box, random_box, read_box, read_rgb

COLOR = (200, 100, 50)


def saved(tmp_path, mode, color, suffix="png", **options):
    path = tmp_path / f"image.{suffix}"
    Image.new(mode, (6, 4), color).save(path, **options)
    return str(path)


@pytest.mark.parametrize(
    ("mode", "color", "suffix", "expected"),
    [
        ("RGB", COLOR, "png", COLOR),
        ("L", 77, "png", (77, 77, 77)),
        ("1", 1, "png", (255, 255, 255)),
        ("LA", (77, 255), "png", (77, 77, 77)),
        ("RGBA", (*COLOR, 255), "png", COLOR),
        ("RGBA", (*COLOR, 0), "png", (255, 255, 255)),
        ("I;16", 0x8000, "png", (128, 128, 128)),
        ("I;16", 0xFFFF, "tif", (255, 255, 255)),
        ("F", 64.0, "tif", (64, 64, 64)),
        ("P", 0, "gif", (0, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, mode, color, suffix, expected):
    image = read_rgb(saved(tmp_path, mode, color, suffix))
    assert (image.mode, image.size) == ("RGB", (6, 4))
    assert (np.asarray(image) == expected).all()


def test_cmyk(tmp_path):
    got = np.asarray(read_rgb(saved(tmp_path, "CMYK", (0, 255, 255, 0), "jpg", quality=100)))
    assert np.abs(got.astype(int) - (255, 0, 0)).max() < 5


def test_a_palette_with_a_transparent_color_is_on_white(tmp_path):
    image = Image.new("P", (6, 4), 1)
    image.putpalette([0, 0, 0, *COLOR])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "p.png", transparency=0)
    got = np.asarray(read_rgb(str(tmp_path / "p.png")))
    assert tuple(got[0, 0]) == (255, 255, 255)
    assert tuple(got[1, 1]) == COLOR


def test_an_animation_shows_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "green", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (np.asarray(read_rgb(str(tmp_path / "a.gif"))) == (255, 0, 0)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(tmp_path, orientation):
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = 255  # a white corner, top left
    turns = {1: [], 2: ["LR"], 3: ["180"], 4: ["TB"], 5: ["T"], 6: ["90"], 7: ["TV"], 8: ["270"]}[orientation]
    ops = {
        "LR": Image.Transpose.FLIP_LEFT_RIGHT,
        "TB": Image.Transpose.FLIP_TOP_BOTTOM,
        "180": Image.Transpose.ROTATE_180,
        "T": Image.Transpose.TRANSPOSE,
        "TV": Image.Transpose.TRANSVERSE,
        "90": Image.Transpose.ROTATE_90,
        "270": Image.Transpose.ROTATE_270,
    }
    image = Image.fromarray(upright)
    for turn in turns:
        image = image.transpose(ops[turn])
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(np.asarray(read_rgb(str(tmp_path / "turned.png"))), upright)


@pytest.mark.parametrize(
    ("box", "size", "decoded"),
    [
        ((0, 0, 640, 480), (160, 120), (160, 120)),
        ((0, 0, 640, 480), (161, 120), (320, 240)),
        ((100, 50, 228, 178), (64, 64), (320, 240)),
        ((100, 50, 228, 178), (65, 64), (640, 480)),
        ((0, 0, 640, 480), (8, 8), (80, 60)),
        ((0, 0, 64, 48), (128, 96), (640, 480)),
    ],
)
def test_a_jpeg_is_decoded_small_but_not_below_what_the_box_needs(image, tmp_path, monkeypatch, box, size, decoded):
    path = str(image(tmp_path / "big.jpg", size=(640, 480)))
    resize, seen = Image.Image.resize, []
    monkeypatch.setattr(Image.Image, "resize", lambda self, *args: (seen.append(self.size), resize(self, *args))[1])
    small = np.asarray(read_box(path, lambda width, height: box, size), dtype=float)
    assert seen == [decoded]
    exact = np.asarray(resize(read_rgb(path), size, Image.Resampling.BILINEAR, box), dtype=float)
    assert np.abs(small - exact).mean() < 2  # of 255


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(160, 121), (161, 120)])
def test_the_box_of_a_turned_jpeg_is_of_the_upright_image(image, tmp_path, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = str(tmp_path / "turned.jpg")
    Image.open(image(tmp_path / "x.png", size=size)).save(path, exif=exif, quality=95)
    upright = read_rgb(path)
    seen = []

    def corner(width, height):
        seen.append((width, height))
        return width / 2, 0.0, float(width), height / 2

    small = np.asarray(read_box(path, corner, (16, 16)), dtype=float)
    assert seen == [upright.size]
    exact = upright.resize((16, 16), Image.Resampling.BILINEAR, corner(*upright.size))
    assert np.abs(small - np.asarray(exact, dtype=float)).mean() < 3


def test_items_may_ask_for_their_own_size(image, tmp_path):
    path = image(tmp_path / "x.jpg", size=(80, 60))
    for seed in (None, 0):
        small = ImageFiles([(str(path), 0)], ImageFolderConfig(size=[24, 32]), seed)[Item(2, 0, (12, 16))][0]
        assert torch.equal(small, files(path, seed, size=[12, 16])[(2, 0)][0])


def files(path, seed=None, label=1, **options):
    return ImageFiles([(str(path), label)], ImageFolderConfig(**{"size": 32, **options}), seed)


@pytest.mark.parametrize("size", [(640, 320), (90, 180), (40, 40), (20, 20)])
def test_evaluation_is_resize_and_center_crop(image, tmp_path, size):
    path = image(tmp_path / "x.png", size=size)
    got, label = files(path, size=56)[(0, 0)]
    assert (got.dtype, got.shape, label) == (torch.uint8, (3, 56, 56), 1)
    pixels = v2.functional.pil_to_tensor(Image.open(path))
    theirs = v2.functional.center_crop(v2.functional.resize(pixels, 64, antialias=True), [56, 56])
    assert (got.float() - theirs.float()).abs().max() <= 2  # of 255: rounding


def test_sizes_need_not_be_square(image, tmp_path):
    path = image(tmp_path / "x.jpg", size=(200, 100))
    for seed in (None, 0):
        assert files(path, seed, size=[24, 40])[(0, 0)][0].shape == (3, 24, 40)


def test_randomness_is_keyed_by_seed_epoch_and_index(image, tmp_path):
    path = image(tmp_path / "x.jpg", size=(80, 60))
    one = ImageFiles([(str(path), 0)] * 3, ImageFolderConfig(size=16, erase=0.5), seed=0)
    other = ImageFiles([(str(path), 0)] * 3, ImageFolderConfig(size=16, erase=0.5), seed=1)
    versions = [images[(epoch, i)][0] for images in (one, other) for epoch in (0, 1) for i in range(3)]
    assert len({tuple(v.flatten().tolist()) for v in versions}) == 12
    random.seed(1), torch.manual_seed(1), np.random.seed(1)
    assert torch.equal(one[(1, 2)][0], versions[5])
    middle = files(path, size=16)
    assert torch.equal(middle[(0, 0)][0], middle[(1, 0)][0])


def test_half_are_mirrored_and_some_lose_a_box(image, tmp_path):
    path = image(tmp_path / "x.png", size=(16, 16))
    options = {"size": 16, "scale": [1.0, 1.0], "ratio": [1.0, 1.0]}
    upright = files(path, 0, flip=False, **options)[(0, 0)][0]
    mirrored = [files(path, 0, flip=True, **options)[(e, 0)][0] for e in range(200)]
    kinds = [torch.equal(m, upright) for m in mirrored]
    assert all(k or torch.equal(m, upright.flip(-1)) for k, m in zip(kinds, mirrored, strict=True))
    assert 70 < sum(kinds) < 130
    erased = [files(path, 0, flip=False, erase=0.25, **options)[(e, 0)][0] for e in range(200)]
    assert 30 < sum(not torch.equal(m, upright) for m in erased) < 70  # 50 expected, sd 6


def test_random_boxes_lie_inside_and_are_of_legal_area_and_shape():
    draw = random.Random(0)
    boxes = np.array([random_box(120, 80, [0.35, 1.0], [3 / 4, 4 / 3], draw) for _ in range(3000)])
    left, top, right, bottom = boxes.T
    assert left.min() >= 0
    assert top.min() >= 0
    assert right.max() <= 120 + 1e-9
    assert bottom.max() <= 80 + 1e-9
    area, shape = (right - left) * (bottom - top) / (120 * 80), (right - left) / (bottom - top)
    assert area.min() >= 0.35 - 1e-9
    assert area.max() <= 1 + 1e-9
    assert shape.min() >= 3 / 4 - 1e-9
    assert shape.max() <= 4 / 3 + 1e-9
    theirs = np.array(
        [v2.RandomResizedCrop(8, (0.35, 1.0)).make_params([Image.new("L", (120, 80))]) for _ in range(3000)]
    )
    their_area = np.array([p["height"] * p["width"] for p in theirs]) / (120 * 80)
    assert area.mean() == pytest.approx(their_area.mean(), abs=0.02)
    assert area.std() == pytest.approx(their_area.std(), abs=0.02)


def test_a_box_that_cannot_fit_is_the_largest_middle():
    draw = random.Random(0)
    assert random_box(100, 10, [1.0, 1.0], [1.0, 1.0], draw) == (45, 0, 55, 10)
    assert random_box(10, 100, [1.0, 1.0], [0.5, 1.0], draw) == (0, 40, 10, 60)


def test_center_box_keeps_the_shape():
    left, top, right, bottom = center_box(100, 50, 2.0)
    assert (right - left, bottom - top) == (87.5, 43.75)
    assert (left + right, top + bottom) == (100, 50)
