"""The parts of a page: text, code, pictures, tables and the sections that hold them, each with its words escaped."""

import base64
import io
import mimetypes
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from lightcycle.report.table import cell

WIDE = 1200  # pixels from which a picture is too wide for a phone: there it scrolls in its own box


class Part(Protocol):
    """Anything that can say itself in HTML, with every text in it escaped."""

    def html(self) -> str: ...


@dataclass
class Text:
    """A paragraph.

    >>> Text("acc < 1").html()
    '<p>acc &lt; 1</p>'
    """

    text: str

    def html(self) -> str:
        return f"<p>{escape(self.text)}</p>"


@dataclass
class Code:
    """Text whose line ends and blanks count, such as YAML.

    >>> Code("lr: 0.1").html()
    '<pre tabindex="0"><code>lr: 0.1</code></pre>'
    """

    text: str

    def html(self) -> str:
        return f'<pre tabindex="0"><code>{escape(self.text)}</code></pre>'


@dataclass
class Picture:
    """An image file, embedded; the caption is also its text for who cannot see it.

    Args:
        caption: below it.
        path: of the file.
        photo: it keeps its colors in dark rooms, where a plot's white becomes dark.

    Raises:
        ValueError: the file's name does not end as an image's does.
    """

    caption: str
    path: str | os.PathLike
    photo: bool = False

    def html(self) -> str:
        kind, data = self.image
        caption = escape(self.caption)
        source = f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
        width, height = png_size(Path(self.path).read_bytes())
        room = f' width="{width}" height="{height}"' if width else ""  # the text below does not jump
        look = "" if self.photo else ' class="plot"'
        image = f'<img alt="{caption}"{look}{room} src="{source}">'
        if width >= WIDE:
            image = f'<div class="scroll wide" tabindex="0">{image}</div>'
        return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"

    @cached_property
    def image(self) -> tuple[str, bytes]:
        """Kind and bytes of what is embedded: photos as JPEG, a fifth of their PNG; all else as it is."""
        kind = mimetypes.guess_type(self.path)[0] or ""
        if not kind.startswith("image/"):
            raise ValueError(f"{os.fspath(self.path)} is no image by its name; give a .png, .jpg or .svg file.")
        if self.photo and kind == "image/png":
            return "image/jpeg", _jpeg(self.path)
        return kind, Path(self.path).read_bytes()


def _jpeg(path: str | os.PathLike) -> bytes:
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels from the head of a PNG file; zeros where it is none.

    >>> png_size(b"GIF89a")
    (0, 0)
    """
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 24:
        return 0, 0
    return struct.unpack(">II", data[16:24])


@dataclass
class Table:
    """Rows under a header; a wide one scrolls in its own box.

    >>> "<td>0.99</td>" in Table("results", ["schedule", "acc"], [["sgdr", 0.99]]).html()
    True
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence]

    def html(self) -> str:
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        head = f"<thead>{_row('th', self.header)}</thead>" if self.header else ""
        body = "".join(_row("td", row) for row in self.rows)
        return f'<div class="scroll" tabindex="0"><table>{caption}{head}<tbody>{body}</tbody></table></div>'


def _row(tag: str, values: Sequence) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell(value))}</{tag}>" for value in values) + "</tr>"


def records(caption: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """The table of some records: a column for each key in the order of their coming, a dash where one has no value.

    A mapping inside a record gives its keys as columns; a list or a tuple inside is no cell, and is left out.

    >>> table = records("stages", [{"name": "head", "figures": {"val/acc": 0.9}, "points": [1, 2]}, {"name": "all"}])
    >>> table.header, table.rows
    (['name', 'val/acc'], [['head', 0.9], ['all', None]])
    """
    flat = [_flat(row) for row in rows]
    header = list(dict.fromkeys(key for row in flat for key in row))
    return Table(caption, header, [[row.get(key) for key in header] for row in flat])


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            cells |= _flat(value)
        elif not isinstance(value, list | tuple):
            cells[key] = value
    return cells


@dataclass
class Section:
    """A heading and its parts; `folded` hides them until the heading is touched.

    >>> Section("Notes", [Text("done")]).html()
    '<section><h2>Notes</h2><p>done</p></section>'
    """

    title: str
    parts: Sequence[Part] = field(default_factory=list)
    folded: bool = False

    def html(self) -> str:
        title, body = f"<h2>{escape(self.title)}</h2>", "".join(part.html() for part in self.parts)
        if self.folded:
            return f"<details><summary>{title}</summary>{body}</details>"
        return f"<section>{title}{body}</section>"
