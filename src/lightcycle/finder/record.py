"""What a range test leaves in lr_find.json: the curve and every rule's answer, with all their digits."""

import math
from collections.abc import Mapping
from dataclasses import asdict

from lightcycle.finder.curve import Curve
from lightcycle.finder.rules import Suggestion

VERSION = 1


def to_dict(curve: Curve, suggestions: Mapping[str, Suggestion], chosen: str = "auto") -> dict:
    """The finding as plain data that JSON can hold; a lost loss is None.

    `smoothed`, `noise` and `lost_at` follow from the rest; they are there for who reads the file without this package.

    >>> from lightcycle.finder import suggest_all
    >>> curve = Curve([0.01, 0.1, 1.0], [[2.0, 1.0, float("nan")]])
    >>> found = to_dict(curve, suggest_all(curve))
    >>> found["version"], found["sweeps"], found["lr"]
    (1, [[2.0, 1.0, None]], None)
    """
    return {
        "version": VERSION,
        "chosen": chosen,
        "lr": suggestions[chosen].lr if chosen in suggestions else None,
        "suggestions": [asdict(each) for each in suggestions.values()],
        "lrs": curve.lrs,
        "sweeps": [_to_json(sweep) for sweep in curve.sweeps],
        "smoothed": _to_json(curve.smoothed),
        "noise": curve.noise,
        "lost_at": curve.lost_at,
    }


def from_dict(data: Mapping) -> tuple[Curve, dict[str, Suggestion], str]:
    """The curve, the answers and the name of the chosen rule, as `to_dict` took them.

    Raises:
        ValueError: the data has another version, or lacks a part.

    >>> from lightcycle.finder import suggest_all
    >>> curve = Curve([0.01, 0.1, 1.0], [[2.0, 1.0, 0.5]])
    >>> from_dict(to_dict(curve, suggest_all(curve)))[0] == curve
    True
    """
    if data.get("version") != VERSION:
        raise ValueError(f"version={data.get('version')!r} of lr_find.json cannot be read, only {VERSION}; find again.")
    lacking = [key for key in ("lrs", "sweeps", "suggestions", "chosen") if key not in data]
    if lacking:
        raise ValueError(f"lr_find.json lacks {', '.join(lacking)}; find again.")
    curve = Curve(list(data["lrs"]), [[math.nan if loss is None else loss for loss in s] for s in data["sweeps"]])
    return curve, {each["rule"]: Suggestion(**each) for each in data["suggestions"]}, data["chosen"]


def _to_json(values: list[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]
