"""One page, nothing outside it, readable on a phone."""

import base64
import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser

import pytest

from lightcycle.report import Code, Picture, Section, Table, Text, Timeline, draw, report

EVIL = '<script>alert("x")</script>'


@pytest.fixture
def run(tmp_path):
    """The folder of a run with everything that could be too wide or too clever."""
    draw(Timeline("t", 2, [0, 2], {"all": [0.1, 0.2]}), tmp_path / "timeline.png")
    shutil.copy(tmp_path / "timeline.png", tmp_path / "finder.png")
    return tmp_path


def make(run, **more):
    header, rows = ["class", *(f"column {k}" for k in range(30))], [[EVIL, *(k / 7 for k in range(30))]]
    content = {
        "figures": [(f"finder {EVIL}", "finder.png")],
        "tables": [(f"per class {EVIL}", header, rows)],
        "config": f"lr: 0.1\nname: {EVIL}\npath: {'x' * 500}",
        "environment": {f"torch {EVIL}": EVIL, "git_commit": "a" * 300},
        "sections": [Section(f"notes {EVIL}", [Text(EVIL + "y" * 500), Code(EVIL), Table("", ["a"], [[EVIL]])])],
    }
    headline = {"test/acc": 0.98765, EVIL: EVIL, "z" * 100: "w" * 100}
    return report(run, f"sgdr {EVIL} {'t' * 200}", headline, **content | more)


class Reader(HTMLParser):
    """Collects tags with their attributes, and complains about tags that do not close."""

    def __init__(self):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert not reader.open
    return reader


def test_everything_is_escaped_and_said(run):
    page = make(run)
    reader = read(page)
    assert "script" not in {tag for tag, _ in reader.tags}
    assert escape(EVIL) in page.read_text()
    assert reader.text.count(EVIL) == 14
    for text in ("0.9877", "notes", "lr: 0.1", "git_commit", "column 29", "0.1429"):
        assert text in reader.text


def test_nothing_is_fetched_from_anywhere(run):
    page = make(run)
    text = re.sub(r"base64,[^\"]*", "", page.read_text())  # an image's letters may spell anything
    assert "http" not in text
    assert 'src="/' not in text
    assert "url(" not in text
    assert "@import" not in text
    links = [value for _, attrs in read(page).tags for name, value in attrs.items() if name in ("src", "href")]
    assert len(links) == 2
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert base64.b64decode(links[0].partition(",")[2]) == (run / "timeline.png").read_bytes()


def test_phones_readers_and_dark_rooms_are_served(run):
    page = make(run)
    tags = read(page).tags
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in tags
    assert ("meta", {"charset": "utf-8"}) in tags
    assert ("html", {"lang": "en"}) in tags
    assert [attrs["alt"] for tag, attrs in tags if tag == "img"][1] == f"finder {EVIL}"
    assert "prefers-color-scheme: dark" in page.read_text()
    assert re.search(r"<title>sgdr &lt;script", page.read_text())


def test_what_is_not_there_is_not_mentioned(tmp_path):
    reader = read(report(tmp_path, "bare", {}))
    assert {tag for tag, _ in reader.tags} == {"html", "head", "meta", "title", "style", "body", "main", "h1"}


def test_only_images_are_embedded(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"notes\.txt is no image by its name; give a \.png, \.jpg or \.svg file\."):
        Picture("notes", tmp_path / "notes.txt").html()


@pytest.fixture(scope="module")
def chromium():
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip("needs a browser: none of chromium, chromium-browser, google-chrome is installed")
    return found


def overflow(chromium, page, tmp_path, width):
    """Pixels by which the page is wider than a screen of `width`: a frame of that width, measured in a real browser."""
    frame = tmp_path / "frame.html"
    measure = "const d = this.contentDocument.documentElement; document.title = d.scrollWidth + ' ' + d.clientWidth"
    html = escape(page.read_text(encoding="utf-8"))
    style = f"width:{width}px;height:800px;border:0"
    frame.write_text(f'<title>-</title><iframe style="{style}" onload="{measure}" srcdoc="{html}"></iframe>')
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += [
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    command = [chromium, *flags, "--window-size=1200,900", "--dump-dom", frame.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    content, screen = map(int, re.search(r"<title>(\d+) (\d+)</title>", dom).groups())
    assert width - 20 <= screen <= width  # a scroll bar may take its share
    return content - screen


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1100])
def test_no_sideways_scrolling_in_a_browser(chromium, run, tmp_path, width):
    assert overflow(chromium, make(run), tmp_path, width) == 0


@pytest.mark.slow
def test_the_browser_would_see_a_page_that_is_too_wide(chromium, run, tmp_path):
    page = make(run)
    page.write_text(page.read_text().replace("<h1>", '<h1 style="width: 700px">', 1))
    assert overflow(chromium, page, tmp_path, 390) > 200
