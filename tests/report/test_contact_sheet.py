"""A contact sheet shows the pixels and the texts it was given, none over another."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from lightcycle.report.contact_sheet import COLUMNS, LETTERS, contact_sheet, contact_sheet_png


def pictures(n, channels=3, height=5, width=7):
    return list(np.random.default_rng(0).integers(0, 256, (n, channels, height, width), dtype=np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_pixels_are_those_of_the_images(channels):
    images = pictures(4, channels)
    page = contact_sheet(images, ["a", "b", "c", "d"])
    for axes, image in zip(page.axes, images, strict=True):
        shown = axes.get_images()[0].get_array()
        assert np.array_equal(shown, image[0] if channels == 1 else np.moveaxis(image, 0, -1))


def test_gray_is_not_stretched():
    (axes,) = contact_sheet([np.full((1, 4, 4), 100, dtype=np.uint8)], ["gray"]).axes
    assert axes.get_images()[0].get_clim() == (0, 255)


@pytest.mark.parametrize("n", [1, COLUMNS, COLUMNS + 1, 30])
def test_texts_overlap_neither_each_other_nor_the_images(n):
    page = contact_sheet(pictures(n), [f"is $x_{i}$ (0.01)\n{'n' * 60}{i}.png" for i in range(n)], "digits: the worst")
    page.draw_without_rendering()
    boxes = [text.get_window_extent() for text in page.texts] + [axes.get_window_extent() for axes in page.axes]
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    width, height = page.get_size_inches() * page.dpi
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)


def test_a_long_line_keeps_its_end():
    page = contact_sheet(pictures(1), ["some/long/path/to/a/photograph_0017.jpg\nshort"])
    first, second = page.texts[-1].get_text().split("\n")
    assert first.endswith("0017.jpg")
    assert len(first) == LETTERS
    assert second == "short"


def test_images_may_differ_in_size():
    assert imread(io.BytesIO(contact_sheet_png([*pictures(1), *pictures(1, height=20)], ["a", "b"]))).shape[1] == 1440


@pytest.mark.parametrize(("n", "captions"), [(0, []), (2, ["only one"])])
def test_every_image_needs_a_caption(n, captions):
    with pytest.raises(ValueError, match=rf"a caption for each image \(got {len(captions)} for {n} images\)"):
        contact_sheet(pictures(n) if n else [], captions)
