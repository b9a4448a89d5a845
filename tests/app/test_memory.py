"""Freed memory is kept where glibc hands it out: what is asked for again needs no new pages from the system."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from lightcycle.app import memory

PAGES = """
import resource, sys
from lightcycle.app.memory import keep_freed

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(b"x") * 64_000_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

for word in sys.argv[1:]:
    if word != "untouched":
        assert keep_freed(word == "keep") == (word == "keep")
    first, *others = [pages() for _ in range(5)]
    print(max(others) / max(first, 1), min(others) / max(first, 1))
"""


@pytest.mark.skipif(not memory.can_keep(), reason="needs glibc")
@pytest.mark.parametrize("words", [["keep"], ["untouched"], ["keep", "usual"]])
def test_pages_are_kept_for_as_long_as_asked(words):
    done = subprocess.run([sys.executable, "-c", PAGES, *words], capture_output=True, text=True, check=True)
    most, least = map(float, done.stdout.splitlines()[-1].split())
    assert most < 0.05 if words[-1] == "keep" else least > 0.5


def test_a_process_that_keeps_nothing_is_left_alone(monkeypatch):
    told = []
    monkeypatch.setitem(memory._now, "keeps", False)
    library = SimpleNamespace(mallopt=lambda *each: told.append(each) or 1, malloc_trim=lambda room: None)
    monkeypatch.setattr(memory, "_glibc", lambda: library)
    assert memory.keep_freed(False) is False
    assert told == []
    assert memory.keep_freed() is True
    assert memory.keep_freed(False) is False
    assert told == [*memory.KEEPING.items(), *memory.USUAL.items()]


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setitem(memory._now, "keeps", False)
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.can_keep() is False
    assert memory.keep_freed() is False
