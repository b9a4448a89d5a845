"""The report of a run's folder, made from the files that lie in it: whenever one is added, the page can be renewed."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightcycle.report.cycles import by_cycle
from lightcycle.report.page import Records, report

SHOWN = ("val/acc", "val/loss", "train/acc", "train/loss_epoch")
"""What a stage's row has of its figures, beside the watched metric."""

FOUND = {"stage": "stage", "epoch": "epoch", "suggestion": "suggested", "applied": "applied", "reason": "reason"}
"""What a range test's row has, and what it is called there."""


def page_of(folder: str | os.PathLike) -> Path:
    """Write `report.html` from what a run's folder holds, and return its path.

    Read are `summary.json`, `config.yaml`, `stages/*.json`, `snapshots/*.json`, `evaluate.json`, `landscape.json` and
    the pictures; what is not there is left out.

    Args:
        folder: the run's output folder.

    >>> import tempfile
    >>> page_of(tempfile.mkdtemp()).name
    'report.html'
    """
    folder = Path(folder)
    summary, stages = _json(folder / "summary.json"), _stages(folder / "stages")
    metric, config = summary.get("monitor", "val/acc"), folder / "config.yaml"
    commit = {"git commit": summary["git_commit"]} if summary.get("git_commit") else {}
    return report(
        folder,
        summary.get("title") or _title(summary) or folder.name,
        headline(summary, metric),
        tables=[("", [], rows)] if (rows := _figures(summary)) else [],
        config=config.read_text() if config.exists() else "",
        environment={**summary.get("versions", {}), **summary.get("machine", {}), **commit},
        metric=metric,
        stages=[_stage(stage, metric) for stage in summary.get("stages") or stages] if len(stages) > 1 else [],
        cycles=summary.get("cycles") or cycles(stages, metric),
        groups=summary.get("groups") or groups(stages),
        lr_finds=[_found(found) for found in summary.get("lr_find") or []],
        snapshots=snapshots(folder / "snapshots"),
        evaluations=_evaluations(_json(folder / "evaluate.json")),
        landscape=_json(folder / "landscape.json").get("verdict", ""),
    )


def headline(summary: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """The figures that are shown large: accuracies on the test set, the watched metric, the time.

    >>> headline({"val/acc": 0.9, "test/acc": 0.8, "test/loss": 1.0, "seconds": 75.2, "steps": 3}, "val/acc")
    {'test/acc': 0.8, 'val/acc': 0.9, 'time': '1 min 15 s'}
    """
    shown = {name: value for name, value in summary.items() if name.startswith("test/acc")}
    shown |= {metric: summary[metric]} if metric in summary else {}
    shown |= {"time": duration(summary["seconds"])} if "seconds" in summary else {}
    return shown | ({"interrupted": "yes"} if summary.get("interrupted") else {})


def duration(seconds: float) -> str:
    """A time as it is said.

    >>> [duration(seconds) for seconds in (0.55, 12.88, 75, 7300)]
    ['0.6 s', '12.9 s', '1 min 15 s', '2 h 1 min']
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def cycles(stages: list[dict[str, Any]], metric: str) -> Records:
    """One record per cycle over all stages, where there are at least two.

    >>> stage = {"name": "all", "first_step": 0, "steps": 30, "cycle_ends": [10, 30, 90], "validations": [[10, 0.8]]}
    >>> cycles([stage], "val/acc")[0]
    {'cycle': 1, 'steps': 10, 'val/acc': 0.8}
    """
    ends = [(stage, end) for stage in stages for end in stage["cycle_ends"] if end <= stage["steps"]]
    validations = [tuple(point) for stage in stages for point in stage["validations"]]
    rows = by_cycle([stage["first_step"] + end for stage, end in ends], validations, metric)
    if len(stages) > 1:
        rows = [
            {"cycle": row["cycle"], "stage": stage["name"], **row} for (stage, _), row in zip(ends, rows, strict=True)
        ]
    return rows if len(rows) > 1 else []


def groups(stages: list[dict[str, Any]]) -> Records:
    """The highest base rate of each layer group in each stage, where there are several groups.

    >>> groups([{"name": "all", "groups": ["body/decay", "head/decay"], "ratios": [0.1, 1.0], "rates": [[0, 0.5]]}])
    [{'group': 'body', 'lr': 0.05}, {'group': 'head', 'lr': 0.5}]
    """
    rows: dict[str, dict[str, Any]] = {}
    for stage in stages:
        column = f"lr, {stage['name']}" if len(stages) > 1 else "lr"
        highest = max(dict(stage["rates"]).values(), default=None)  # of a step the last: the finder's is applied
        for name, ratio in zip(stage["groups"], stage["ratios"], strict=True):
            if group := name.rpartition("/")[0]:  # without one it is the optimizer's own, such as all that do not decay
                rows.setdefault(group, {"group": group})[column] = None if highest is None else ratio * highest
    return list(rows.values()) if len(rows) > 1 else []


def snapshots(folder: Path) -> Records:
    """One record per snapshot and per ensemble; what each snapshot says itself, where no table was made of them."""
    rows = _json(folder / "table.json").get("rows") or [_json(path) for path in sorted(folder.glob("step-*.json"))]
    return [{key: value for key, value in row.items() if key != "kind"} for row in rows]


def _stage(stage: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """A stage's row; its figures lie in a mapping of their own, or beside the rest."""
    figures = {**stage, **stage.get("figures", {})}
    return {
        "stage": stage["name"],
        **{name: figures[name] for name in ("schedule", "features", "lr", "epochs", "steps") if name in figures},
        **{name: figures[name] for name in dict.fromkeys([metric, *SHOWN]) if name in figures},
        "time": duration(stage["seconds"]),
    }


def _found(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found[key] for key, name in FOUND.items() if key in found}


def _evaluations(parts: Mapping[str, Any]) -> Records:
    return [{"images": f"{found['images']:,} {part}", **row} for part, found in parts.items() for row in found["rows"]]


def _figures(summary: Mapping[str, Any]) -> list[list[Any]]:
    """Every figure, the metrics first; one batch's loss says nothing."""
    metrics = [[name, value] for name, value in sorted(summary.items()) if "/" in name and name != "train/loss"]
    others = ("lr", "epochs", "steps", "seconds", "images_per_second", "parameters", "devices", "precision", "features")
    shown = {name: summary[name] for name in others if name in summary}
    return metrics + [[n.replace("_", " "), f"{v:,}" if isinstance(v, int) else v] for n, v in shown.items()]


def _title(summary: Mapping[str, Any]) -> str:
    chosen = summary.get("choices", {})
    names = [chosen[group] for group in ("schedule", "data", "model", "optimizer") if group in chosen]
    return " · ".join([*names, f"seed {summary['seed']}"]) if names and "seed" in summary else ""


def _stages(folder: Path) -> list[dict[str, Any]]:
    """The records of the stages, in their order."""
    return sorted(map(_json, folder.glob("*.json")), key=lambda stage: stage["index"])


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
