"""What the documents say can be done: every command composes and passes the checks, every link leads somewhere."""

import ast
import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from hydra.core.hydra_config import HydraConfig

from documents import commands, fenced, of_help, read
from lightcycle.app.schema import PROJECT, register

DOCS = sorted((PROJECT / "docs").glob("*.md"))
PAGES = [PROJECT / "README.md", *DOCS]
HELP = PROJECT / "conf" / "help.txt"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder where the paths that the documents use exist."""
    register()
    monkeypatch.chdir(tmp_path)
    for folder in ("outputs/mine", "photos/cats", "photos/dogs"):
        Path(folder).mkdir(parents=True)
    torch.save({}, "weights.pth")
    yield tmp_path
    HydraConfig.instance().cfg = None


# -- commands ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [*PAGES, HELP], ids=lambda path: path.name)
def test_every_command_composes(source, elsewhere):
    failed = {}
    for line in dict.fromkeys(of_help(HELP.read_text()) if source == HELP else commands(source)):
        try:
            read(line, elsewhere)
        except Exception as error:
            failed[line] = f"{type(error).__name__}: {error}"
    assert failed == {}


def test_commands_are_found():
    assert len(of_help(HELP.read_text())) > 15
    assert sum(len(commands(page)) for page in PAGES) > 80


@pytest.mark.parametrize("line", ["python train.py schedule=nope", "python train.py epochs=-1", "python nope.py"])
def test_a_wrong_command_is_noticed(line, elsewhere):
    with pytest.raises(Exception, match=r"nope|epochs must be > 0"):
        read(line, elsewhere)


COMPLETE = """
eval "$(python train.py -sc install=bash)"
COMP_LINE="$1" COMP_POINT=${#1} COMP_CWORD=$2
hydra_bash_completion
echo "${COMPREPLY[*]}"
"""
"""What bash does when <TAB> is pressed."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("python train.py schedule=s", "schedule=sgdr schedule=snapshot schedule=step"),
        ("python train.py schedule=one_cycle schedule.p", "schedule.pct_start="),
        ("python train.py +callbacks=pro", "+callbacks=progressive_resizing"),
        ("python scripts/evaluate.py ru", "run="),
    ],
)
def test_tab_completes(line, offered):
    place = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ask = ["bash", "-c", COMPLETE, "bash", line, str(len(line.split()) - 1)]
    done = subprocess.run(ask, cwd=PROJECT, env=place, capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.strip() == offered


# -- Python ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_imports_and_arguments_exist(page):
    """Of the Python in every document: what is imported is there, and calls of it use arguments that it has."""
    for block in fenced(page.read_text(encoding="utf-8"), "python"):
        tree = ast.parse(block)
        froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        known = {name.name: getattr(import_module(node.module), name.name) for node in froms for name in node.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in known:
                positional = [argument for argument in node.args if not isinstance(argument, ast.Starred)]
                keywords = {keyword.arg: None for keyword in node.keywords if keyword.arg}
                inspect.signature(known[node.func.id]).bind_partial(*positional, **keywords)


# -- links -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_and_paths_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    paths = re.findall(r"\b(?:docs|scripts|conf|src|tests)/[\w/]+\.(?:md|py|yaml|txt|ipynb)\b", text)
    lost = [link for link in links if not (page.parent / link).exists()]
    lost += [path for path in paths if not (PROJECT / path).exists() and not path.endswith("/mine.yaml")]
    assert lost == []


def test_the_index_lists_every_card():
    index = (PROJECT / "docs" / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\]\(([\w.]+)\)", index))
    assert listed == {path.name for path in [*DOCS, *(PROJECT / "docs").glob("*.ipynb")]} - {"README.md"}
