"""A figure as the bytes of a PNG."""

import io
import warnings

from matplotlib.figure import Figure


def png(figure: Figure) -> bytes:
    """The picture of a figure. Letters that no font of this machine has are drawn as boxes, without a warning each.

    >>> png(Figure())[1:4]
    b'PNG'
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
        figure.savefig(buffer, format="png")
    return buffer.getvalue()
