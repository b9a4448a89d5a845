"""Pictures, tables and pages, drawn from plain data: no torch, no Lightning, no Hydra in this room.

Names are loaded on first use, so that importing the room costs nothing.

>>> from lightcycle.report import markdown_table
>>> print(markdown_table(["schedule", "acc"], [["sgdr", 0.991]]))
| schedule | acc |
| --- | --- |
| sgdr | 0.991 |
"""

from importlib import import_module

_HOMES = {
    "calibration": "reliability",
    "confusion_matrix": "confusion",
    "confusion_png": "confusion",
    "contact_sheet_png": "contact_sheet",
    "reliability_png": "reliability",
    "Timeline": "timeline",
    "draw": "timeline",
    "figure": "timeline",
    "write_bytes": "files",
    "write_json": "files",
    "write_text": "files",
    "markdown_table": "table",
    "print_table": "table",
    "Code": "parts",
    "Picture": "parts",
    "Section": "parts",
    "Table": "parts",
    "Text": "parts",
    "records": "parts",
    "Chart": "chart",
    "write_page": "html",
    "report": "page",
    "page_of": "run_page",
    "by_cycle": "cycles",
}
__all__ = list(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
