"""A contact sheet: many small images on one page, each over a line or two of text."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lightcycle.report.panels import INK, PALE
from lightcycle.report.png import png

COLUMNS = 6
WIDTH = 9.0  # inches of the page
LINE = 0.16  # inches of a line of text
LETTERS = 20  # of a line that fit under an image


def contact_sheet_png(images: Sequence[np.ndarray], captions: Sequence[str], title: str = "") -> bytes:
    """The page as a PNG.

    Args:
        images: uint8, `(channels, height, width)` each, of 1 or 3 channels; they may differ in size.
        captions: a text for each, of one or more lines.
        title: over all.

    Raises:
        ValueError: there is no image, or not one caption for each.

    >>> contact_sheet_png([np.zeros((1, 8, 8), dtype=np.uint8)], ["3, taken for 8"])[1:4]
    b'PNG'
    """
    return png(contact_sheet(images, captions, title))


def contact_sheet(images: Sequence[np.ndarray], captions: Sequence[str], title: str = "") -> Figure:
    """The figure of `contact_sheet_png`."""
    if not len(images) or len(images) != len(captions):
        raise ValueError(
            f"a contact sheet needs a caption for each image (got {len(captions)} for {len(images)} images)"
        )
    rows, side = math.ceil(len(images) / COLUMNS), WIDTH / COLUMNS
    text = LINE * max(caption.count("\n") + 1 for caption in captions) + 0.08
    head = 0.35 if title else 0.05
    height = head + rows * (side + text)
    page = Figure(figsize=(WIDTH, height), dpi=160, facecolor="white")
    page.text(0.08 / WIDTH, 1 - 0.1 / height, title, va="top", fontsize=9.5, color=INK, parse_math=False)
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(number, COLUMNS)
        bottom = height - head - row * (side + text) - side
        box = (column * side + 0.06) / WIDTH, (bottom + 0.06) / height, (side - 0.12) / WIDTH, (side - 0.12) / height
        axes = page.add_axes(box)
        _show(axes, image)
        look = {"va": "top", "fontsize": 7.5, "color": INK, "parse_math": False, "linespacing": 1.15}
        page.text(box[0], (bottom + 0.02) / height, _short(caption), **look)
    return page


def _show(axes, image: np.ndarray) -> None:
    pixels = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest", interpolation_stage="data")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(PALE)
    axes.spines[:].set_linewidth(0.6)


def _short(caption: str) -> str:
    """Each line cut to the width of an image, its end kept: names of files differ there."""
    return "\n".join(s if len(s) <= LETTERS else f"{s[:6]}…{s[-LETTERS + 7 :]}" for s in caption.split("\n"))
