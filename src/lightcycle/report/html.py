"""The shell of a page: one HTML file that needs nothing but itself, on a phone as on a desk, by day and by night."""

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from lightcycle.report.files import write_text
from lightcycle.report.parts import Section
from lightcycle.report.table import cell


def write_page(
    path: str | os.PathLike, title: str, headline: Mapping[str, object], sections: Sequence[Section]
) -> Path:
    """Write a page of sections to `path`, atomically; sections without parts leave no hole.

    Args:
        path: of the HTML file.
        title: of the page.
        headline: name -> figure, shown large, such as `{"test/acc": 0.991}`.
        sections: in the order of reading.

    >>> import tempfile
    >>> write_page(Path(tempfile.mkdtemp()) / "page.html", "digits", {"acc": 0.99}, []).name
    'page.html'
    """
    figures = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(cell(v))}</dd></div>" for name, v in headline.items())
    lines = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>",
        f"<h1>{escape(title)}</h1>",
        f"<dl>{figures}</dl>" if headline else "",
        *(section.html() for section in sections if section.parts),
        "</main>\n</body>\n</html>\n",
    ]
    return write_text(path, "\n".join(lines))


STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #666; --line: #ddd; --paper: #fff; --box: #f6f6f4;
  --mark: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e6; --soft: #a5a5a2; --line: #3c3c3c; --paper: #191919; --box: #242424; --mark: #6cb8e6; }
  img { filter: brightness(.9); }
  img.plot { filter: invert(.9) hue-rotate(180deg); }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0 1rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .5rem; margin: 0; }
dl div { background: var(--box); border-radius: 6px; padding: .5rem .75rem; }
dt { color: var(--soft); font-size: .8rem; }
dd { margin: 0; font-size: 1.25rem; font-weight: 600; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; }
img { display: block; max-width: min(100%, 36rem); height: auto; background: #fff; border-radius: 6px; }
.wide img { width: 100%; min-width: 44rem; max-width: none; }
svg { display: block; width: 100%; max-width: 34rem; height: auto; color: var(--ink);
  font: 11px system-ui, sans-serif; }
svg .mark { fill: var(--mark); }
svg .line { stroke: var(--mark); fill: none; stroke-width: 2; }
svg .rim { stroke: var(--line); }
svg text { fill: currentColor; }
svg .soft { fill: var(--soft); }
figcaption, caption { color: var(--soft); font-size: .85rem; text-align: left; padding: .25rem 0; }
.scroll, pre { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; margin: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: normal; }
pre { background: var(--box); border-radius: 6px; padding: .75rem; font-size: .8rem; line-height: 1.4; }
details { margin-top: 1.5rem; border-top: 1px solid var(--line); padding-top: .75rem; }
summary { cursor: pointer; }
summary h2 { display: inline; font-size: 1rem; }
"""
