"""Freed memory is kept where glibc hands it out: what is asked for again needs no new pages from the system."""

import ctypes
import subprocess
import sys

import pytest

from lightcycle.app import memory

PAGES = """
import resource, sys
import numpy
from lightcycle.app.memory import keep_freed

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    numpy.ones(32_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

assert keep_freed(sys.argv[1] == "keep")
first = pages()
print(pages() / first)
"""


def has_glibc():
    try:
        return hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
    except (OSError, TypeError):
        return False


@pytest.mark.skipif(not has_glibc(), reason="needs glibc")
@pytest.mark.parametrize(("word", "least", "most"), [("keep", 0, 0.05), ("usual", 0.9, 1.1)])
def test_pages_are_kept(word, least, most):
    done = subprocess.run([sys.executable, "-c", PAGES, word], capture_output=True, text=True, check=True)
    assert least <= float(done.stdout) <= most


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_freed() is False
