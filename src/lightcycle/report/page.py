"""The run's report: one HTML file that needs nothing but itself, on a phone as on a desk."""

import base64
import mimetypes
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Protocol

from lightcycle.report.files import write_text
from lightcycle.report.table import cell


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
    '<pre><code>lr: 0.1</code></pre>'
    """

    text: str

    def html(self) -> str:
        return f"<pre><code>{escape(self.text)}</code></pre>"


@dataclass
class Picture:
    """An image file, embedded; the caption is also its text for who cannot see it.

    Raises:
        ValueError: the file's name does not end as an image's does.
    """

    caption: str
    path: str | os.PathLike

    def html(self) -> str:
        kind = mimetypes.guess_type(self.path)[0] or ""
        if not kind.startswith("image/"):
            raise ValueError(f"{os.fspath(self.path)} is no image by its name; give a .png, .jpg or .svg file.")
        data = base64.b64encode(Path(self.path).read_bytes()).decode("ascii")
        caption = escape(self.caption)
        image = f'<img alt="{caption}" src="data:{kind};base64,{data}">'
        return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


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
        title, body = escape(self.title), "".join(part.html() for part in self.parts)
        if self.folded:
            return f"<details><summary>{title}</summary>{body}</details>"
        return f"<section><h2>{title}</h2>{body}</section>"


def report(
    folder: str | os.PathLike,
    title: str,
    headline: Mapping[str, object],
    *,
    figures: Sequence[tuple[str, str | os.PathLike]] = (),
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence]]] = (),
    config: str = "",
    environment: Mapping[str, object] | None = None,
    sections: Sequence[Section] = (),
) -> Path:
    """Write `folder/report.html`, self-contained, and return its path.

    `folder/timeline.png` comes first where it exists. Parts that are empty are left out.

    Args:
        folder: the run's output folder.
        title: of the page.
        headline: name -> figure, shown large, such as `{"test/acc": 0.991}`.
        figures: (caption, path of an image); a relative path is one inside `folder`.
        tables: (caption, header, rows).
        config: the resolved configuration as YAML.
        environment: name -> value: versions, device, commit.
        sections: what else the run has to tell, after the tables.

    >>> import tempfile
    >>> report(tempfile.mkdtemp(), "sgdr on digits", {"test/acc": 0.991}).name
    'report.html'
    """
    folder = Path(folder)
    images = [("Timeline: what changed during the run", "timeline.png")] if (folder / "timeline.png").exists() else []
    pictures = [Picture(caption, folder / path) for caption, path in [*images, *figures]]
    body = [
        Section("What happened", pictures),
        Section("Results", [Table(*each) for each in tables]),
        *sections,
        Section("Configuration", [Code(config)] if config else [], folded=True),
        Section("Environment", [Table("", [], list(environment.items()))] if environment else [], folded=True),
    ]
    return write_text(folder / "report.html", _page(title, headline, [section for section in body if section.parts]))


def _page(title: str, headline: Mapping[str, object], sections: Sequence[Section]) -> str:
    figures = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(cell(v))}</dd></div>" for name, v in headline.items())
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>",
            f"<h1>{escape(title)}</h1>",
            f"<dl>{figures}</dl>" if headline else "",
            *(section.html() for section in sections),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _row(tag: str, values: Sequence) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell(value))}</{tag}>" for value in values) + "</tr>"


STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #666; --line: #ddd; --paper: #fff; --box: #f6f6f4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e6; --soft: #a5a5a2; --line: #3c3c3c; --paper: #191919; --box: #242424; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0 1rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .5rem; margin: 0; }
dl div { background: var(--box); border-radius: 6px; padding: .5rem .75rem; }
dt { color: var(--soft); font-size: .8rem; }
dd { margin: 0; font-size: 1.25rem; font-weight: 600; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; }
img { display: block; width: 100%; height: auto; background: #fff; border-radius: 6px; }
figcaption, caption { color: var(--soft); font-size: .85rem; text-align: left; padding: .25rem 0; }
.scroll, pre { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; margin: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: normal; }
pre { background: var(--box); border-radius: 6px; padding: .75rem; font-size: .8rem; line-height: 1.4; }
details { margin-top: 1.5rem; border-top: 1px solid var(--line); padding-top: .75rem; }
summary { cursor: pointer; font-weight: 600; }
"""
