"""One page, nothing outside it, readable on a phone."""

import base64
import io
import json
import random
import re
import shutil
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from lightcycle.report import Chart, Code, Picture, Section, Table, Text, Timeline, draw, records, report
from lightcycle.report.cycles import by_cycle
from lightcycle.report.page import LIGHT
from lightcycle.report.run_page import page_of

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
        if tag not in ("meta", "img"):  # no others in the page are without an end
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

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


STAGES = [
    {"stage": f"first {EVIL}", "val/acc": 0.5, "points": [1, 2, 3]},
    {"stage": "second", "val/acc": 0.75, "time": "3 s"},
]


def test_records_are_tables_and_their_metric_a_chart(tmp_path):
    parts = {"cycles": "Cycles", "groups": "Layer groups", "lr_finds": "Learning rate", "snapshots": "Snapshots"}
    rows = {name: [{"name": f"{name} row", "x": 0.125}] for name in [*parts, "evaluations"]}
    reader = read(report(tmp_path, "all", {}, stages=STAGES, landscape=f"a barrier {EVIL}", **rows))
    for text in ("Stages", "Evaluation", "a barrier", "second", "3 s", "0.75", *parts.values()):
        assert text in reader.text
    assert [f"{name} row" in reader.text for name in rows] == [True] * len(rows)
    assert "points" not in reader.text
    (chart,) = [attrs for tag, attrs in reader.tags if tag == "svg"]  # only the stages have the metric, and twice
    assert chart["aria-label"] == f"val/acc by stage: first {EVIL} 0.5, second 0.75"
    assert [tag for tag, _ in reader.tags].count("circle") == 2


def heights(chart):
    return [float(y) for y in re.findall(r'<circle class="mark" cx="[^"]+" cy="([^"]+)"', chart.html())]


def test_a_chart_is_drawn_to_scale():
    chart = Chart("accuracy", list("abc"), [0.5, 0.6, 1.0])
    low, middle, high = heights(chart)
    assert (low - middle) / (low - high) == pytest.approx(0.2, abs=1e-3)
    across = [float(x) for x in re.findall(r'<circle class="mark" cx="([^"]+)"', chart.html())]
    assert across[1] - across[0] == pytest.approx(across[2] - across[1])


def test_a_chart_of_few_many_equal_and_missing_values():
    assert len(set(heights(Chart("same", list("abc"), [1.0, 1.0, 1.0])))) == 1
    assert "<polyline" not in Chart("one", ["a"], [0.5]).html()
    assert "<text" not in Chart("none", [], []).html()
    gaps = Chart("gaps", list("abcd"), [0.5, None, float("nan"), 0.75]).html()
    assert gaps.count("<circle") == 2
    assert "nan" not in gaps.replace("nan,", "")  # it is read aloud, and not drawn
    many = Chart("many", [f"cycle number {k}" for k in range(40)], [k / 40 for k in range(40)]).html()
    assert many.count("<circle") == 40
    assert many.count("<text") == 4  # the first, which is the lowest, and the last, which is the highest
    with pytest.raises(ValueError, match=r"2 values have 1 labels; give one label per value\."):
        Chart("short", ["a"], [0.5, 0.6])


def boxes(chart):
    """Where the values stand: left, right, top, bottom, for letters of 6 pixels by 8."""
    texts = re.findall(r'<text x="([^"]+)" y="([^"]+)" text-anchor="(\w+)">([^<]+)<', chart.html())
    shift = {"start": 0.0, "middle": 0.5, "end": 1.0}
    for x, y, anchor, value in texts:
        left = float(x) - 6 * len(value) * shift[anchor]
        yield left, left + 6 * len(value), float(y) - 8, float(y)


def crosses(box, line):
    """Whether the line is inside the box anywhere, looked at in every half pixel."""
    (left, right, top, bottom), (x, y) = box, zip(*line, strict=True)
    across = np.arange(max(left, x[0]), min(right, x[-1]), 0.5)
    return bool(((np.interp(across, x, y) > top) & (np.interp(across, x, y) < bottom)).any())


@pytest.mark.parametrize("count", range(2, 9))
def test_no_line_goes_through_a_value(count):
    numbers = random.Random(count)
    for _ in range(200):
        values = [numbers.choice([0.1111, 0.2222, 0.8888, 0.9999, numbers.random()]) for _ in range(count)]
        chart = Chart("t", ["a"] * count, values)
        (points,) = re.findall(r'points="([^"]+)"', chart.html())
        line = [tuple(map(float, point.split(","))) for point in points.split()]
        assert not any(crosses(box, line) for box in boxes(chart)), values


def test_values_of_a_long_line_do_not_lie_on_each_other():
    rising = [k / 40 for k in range(38)] + [0.99, 0.98]  # the highest is beside the last
    assert "0.99<" not in Chart("many", [str(k) for k in range(40)], rising).html()
    early = [0.5, *[k / 80 for k in range(20)], 0.99, *[0.3] * 18]
    assert Chart("many", [str(k) for k in range(40)], early).html().count("<text") == 6  # first, last, highest


def test_pictures_are_found_by_their_names_and_shown_once(run):
    for name in ("lr_find-1.png", "snapshots.png", "confusion_test.png", "most_wrong_test.png"):
        shutil.copy(run / "timeline.png", run / name)
    reader = read(report(run, "pictures", {}, figures=[("range test, mine", "lr_find-1.png"), ("other", "finder.png")]))
    images = [attrs for tag, attrs in reader.tags if tag == "img"]
    assert [image["alt"] for image in images] == [
        "Timeline: what changed during the run",
        "other",
        "range test, mine",
        "Accuracy of each snapshot and of their ensemble",
        "Confusion matrix",
        "The images it got most wrong",
    ]
    assert [image.get("class") for image in images] == ["plot"] * 5 + [None]  # photos keep their colors at night
    assert (images[0]["width"], images[0]["height"]) == png_pixels(run / "timeline.png")


def test_photos_are_embedded_as_jpeg(run):
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    Image.fromarray(noise).save(run / "most_wrong_test.png")
    assert (run / "most_wrong_test.png").stat().st_size > LIGHT
    (timeline, *_, photo) = [attrs for tag, attrs in read(report(run, "photos", {})).tags if tag == "img"]
    assert timeline["src"].startswith("data:image/png;base64,")
    kind, _, data = photo["src"].partition(";base64,")
    assert kind == "data:image/jpeg"
    with Image.open(io.BytesIO(base64.b64decode(data))) as shown:
        assert shown.size == (900, 900)
        assert shown.format == "JPEG"


def png_pixels(path):
    with Image.open(path) as image:
        return tuple(map(str, image.size))


def test_a_page_stays_light(run):
    for number in range(3):
        (run / f"lr_find-{number}.png").write_bytes((run / "timeline.png").read_bytes() + bytes(LIGHT // 2))
    page = report(run, "heavy", {})
    assert page.stat().st_size < 3_000_000
    assert "LR range test: lr_find-1.png, 1.0 MB, lies beside this page." in read(page).text
    assert len([tag for tag, _ in read(page).tags if tag == "img"]) == 2


def test_cycles_end_with_their_last_validation():
    seen = [(5, 0.1), (10, 0.5), (15, 0.4), (28, 0.7)]
    rows = by_cycle([10, 13, 30], seen, "val/acc")
    assert [(row["cycle"], row["steps"], row["val/acc"]) for row in rows] == [(1, 10, 0.5), (2, 13, None), (3, 30, 0.7)]


def test_a_page_of_records_escapes_and_aligns():
    table = records(EVIL, [{"a": 1, "deep": {"b": EVIL}}, {"c": None}])
    assert (table.header, table.rows) == (["a", "b", "c"], [[1, EVIL, None], [None, None, None]])
    assert EVIL not in table.html()


def stage(index, name, **more):
    base = {"index": index, "name": name, "first_step": 20 * index, "steps": 20, "epochs": 2.0, "seconds": 61.0}
    base |= {
        "groups": ["body/decay", "body/no_decay", "head/decay"],
        "ratios": [0.25, 0.25, 1.0],
        "rates": [[0, 9.0], [0, 0.5]],
    }
    base |= {"cycle_ends": [10, 20], "validations": [[20 * index + 10, 0.25], [20 * index + 20, 0.625]]}
    return base | {"figures": {"val/acc": 0.625, "train/loss": 9.0}, "points": [[0, [0.1], None, 2.0]]} | more


@pytest.fixture
def folder(tmp_path):
    """A run's folder with all that the rest of the project writes."""
    summary = {"monitor": "val/acc", "val/acc": 0.625, "test/acc": 0.875, "test/acc_ensemble": 0.9375, "seconds": 12.88}
    summary |= {"choices": {"schedule": "sgdr", "data": "digits"}, "seed": 3, "train/loss": 7.5, "parameters": 1234567}
    summary |= {"versions": {"torch": "2.x"}, "machine": {"cores": 2}, "git_commit": "abc", "lr_find": []}
    found = {"images": 360, "rows": [{"weights": "last", "tta": None, "acc": 0.875}]}
    files = {
        "summary.json": summary,
        "stages/0-head.json": stage(0, "head"),
        "stages/1-all.json": stage(1, "all", rates=[[20, 0.125]]),
        "snapshots/table.json": {"rows": [{"name": "step 20", "kind": "member", "val": 0.625}]},
        "evaluate.json": {"test": found},
        "landscape.json": {"verdict": "one valley"},
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "config.yaml").write_text("lr: 0.5\n")
    return tmp_path


def cells(page):
    return re.findall(r"<t[dh]>(.*?)</t[dh]>", page.read_text())


def test_a_folder_becomes_a_page(folder):
    page = page_of(folder)
    text, rows = read(page).text, ",".join(cells(page))
    assert text.count("sgdr · digits · seed 3") == 2  # the title and the heading
    assert "stage,epochs,steps,val/acc,time,head,2,20,0.625,1 min 1 s,all,2,20,0.625,1 min 1 s" in rows
    assert "cycle,stage,steps,val/acc,1,head,10,0.25,2,head,20,0.625,3,all,30,0.25,4,all,40,0.625" in rows
    assert "group,lr, head,lr, all,body,0.125,0.03125,head,0.5,0.125" in rows
    assert "name,val,step 20,0.625" in rows
    assert "images,weights,tta,acc,360 test,last,-,0.875" in rows
    assert "parameters,1,234,567" in rows
    assert "7.5" not in text  # the loss of one batch
    for said in ("one valley", "lr: 0.5", "12.9 s", "0.9375", "torch", "abc"):
        assert said in text


def test_the_stages_of_the_summary_say_more(folder):
    path = folder / "summary.json"
    stages = [{"name": name, "schedule": "SGDR", "lr": 0.5, "seconds": 1.0, "val/acc": 0.75} for name in ("a", "b")]
    found = [{"stage": "a", "epoch": 0, "suggestion": 0.5, "applied": None, "reason": "low", "sweeps": [1]}]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"stages": stages, "lr_find": found, "title": "mine"}))
    (folder / "stages" / "0-head").mkdir()
    draw(Timeline("t", 2, [0, 2], {"all": [0.1, 0.2]}), folder / "stages" / "0-head" / "lr_find.png")
    page = page_of(folder)
    rows = ",".join(cells(page))
    assert "stage,schedule,lr,val/acc,time,a,SGDR,0.5,0.75,1.0 s,b,SGDR,0.5,0.75,1.0 s" in rows
    assert "stage,epoch,suggested,applied,reason,a,0,0.5,-,low" in rows
    assert [attrs["alt"] for tag, attrs in read(page).tags if tag == "img"] == ["LR range test"]
    assert read(page).text.count("mine") == 2


def test_a_run_without_layer_groups_has_no_table_of_them(folder):
    for path in (folder / "stages").iterdir():
        path.write_text(json.dumps(json.loads(path.read_text()) | {"groups": ["decay", "no_decay", "head"]}))
    assert "Layer groups" not in read(page_of(folder)).text


def test_a_bare_folder_becomes_a_page_too(tmp_path):
    reader = read(page_of(tmp_path))
    assert reader.text.count(tmp_path.name) == 2
    assert "h2" not in {tag for tag, _ in reader.tags}


def test_snapshots_speak_for_themselves_without_a_table(folder):
    (folder / "snapshots" / "table.json").unlink()
    (folder / "snapshots" / "step-0000020.json").write_text(json.dumps({"step": 20, "cycle": 1, "lr": [0.1]}))
    assert "step,cycle,20,1" in ",".join(cells(page_of(folder)))
