"""The pages in a real browser: nothing complains, nothing is wider than the screen."""

import re
import shutil
import subprocess
from html import escape

import pytest

from lightcycle.report import Timeline, draw, report
from lightcycle.report.sweep import Setting, write_sweep

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"),
]


@pytest.fixture(scope="module")
def chromium():
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip("needs a browser: none of chromium, chromium-browser, google-chrome is installed")
    return found


@pytest.fixture
def page(tmp_path):
    """A run's page with every section, and names that are too long."""
    for name in ("timeline", "lr_find", "snapshots", "confusion_test", "most_wrong_test", "landscape"):
        draw(Timeline("t", 2, [0, 2], {"all": [0.1, 0.2]}), tmp_path / f"{name}.png")
    rows = [{"name": f"{'long ' * 9}{'w' * 60} {k}", "val/acc": k / 20, **dict.fromkeys("abcdefghij", 0.1234)}
            for k in range(20)]  # fmt: skip
    many = dict.fromkeys(["stages", "cycles", "groups", "lr_finds", "snapshots", "evaluations"], rows)
    headline = {"test/acc": 0.98765, "z" * 100: "w" * 100}
    config, environment = f"path: {'x' * 500}", {"git commit": "a" * 300}
    return report(tmp_path, "t" * 200, headline, config=config, environment=environment, landscape="u" * 300, **many)


@pytest.fixture
def sweep(tmp_path, capsys):
    settings = [
        Setting((f"schedule_{k}", "v" * 90), {"val/acc": [0.1 * k, 0.2], "seconds": [1.0, 2.0]}, [[(1.0, 0.1)]] * 2)
        for k in range(7)
    ]
    write_sweep(tmp_path, settings, ["schedule", "data.root"], "val/acc", [("f" * 200, "failed: " + "e" * 300)])
    return tmp_path / "sweep.html"


def browse(chromium, tmp_path, address):
    """The page's elements after all has run, and what the browser said about it."""
    command = [chromium, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,900", "--dump-dom"]
    done = subprocess.run([*command, address.as_uri()], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def overflow(chromium, page, tmp_path, width):
    """Pixels by which the page is wider than a screen of `width`: a frame of that width, measured in a real browser."""
    frame = tmp_path / "frame.html"
    measure = "const d = this.contentDocument.documentElement; document.title = d.scrollWidth + ' ' + d.clientWidth"
    html = escape(page.read_text(encoding="utf-8"))
    style = f"width:{width}px;height:800px;border:0"
    frame.write_text(f'<title>-</title><iframe style="{style}" onload="{measure}" srcdoc="{html}"></iframe>')
    dom, complaints = browse(chromium, tmp_path, frame)
    assert not complaints
    content, screen = map(int, re.search(r"<title>(\d+) (\d+)</title>", dom).groups())
    assert width - 20 <= screen <= width  # a scroll bar may take its share
    return content - screen


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_a_run_fits_the_screen(chromium, page, tmp_path, width):
    assert overflow(chromium, page, tmp_path, width) == 0


@pytest.mark.slow
def test_a_sweep_fits_a_phone(chromium, sweep, tmp_path):
    assert overflow(chromium, sweep, tmp_path, 390) == 0


@pytest.mark.slow
def test_every_picture_is_shown_and_nothing_complains(chromium, page, tmp_path):
    count = "document.title = [...document.images].filter(i => i.complete && i.naturalWidth > 0).length"
    page.write_text(page.read_text().replace("</body>", f"<script>{count}</script></body>"))
    dom, complaints = browse(chromium, tmp_path, page)
    assert re.search(r"<title>(\d+)</title>", dom)[1] == "6"
    assert complaints == []


@pytest.mark.slow
def test_the_browser_would_see_a_page_that_is_too_wide_or_wrong(chromium, page, tmp_path):
    page.write_text(page.read_text().replace("<h1>", '<h1 style="width: 700px">', 1))
    assert overflow(chromium, page, tmp_path, 390) > 200
    page.write_text(page.read_text().replace("</body>", "<script>nonsense()</script></body>"))
    assert len(browse(chromium, tmp_path, page)[1]) == 1
