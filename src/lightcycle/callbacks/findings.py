"""What a range test found: the answer, the files, the table, for the loss and for the accuracy kind."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightcycle.finder import Curve, Suggestion, accuracy_bound, bounds, suggest_all, to_dict
from lightcycle.report.files import write_json

CLR_RATIO = 4.0  # Smith 2015: the low bound is a third or a fourth of the high one


@dataclass
class LossFinding:
    """Loss against rate, judged by every rule; ``rule`` is the one that counts."""

    curve: Curve
    rule: str

    def __post_init__(self) -> None:
        self.suggestions = suggest_all(self.curve)

    @property
    def suggestion(self) -> Suggestion:
        return self.suggestions[self.rule]

    def bounds(self) -> dict[str, Any]:
        """The range for CLR and 1cycle, and how far the sweeps disagree."""
        found = bounds(self.curve, CLR_RATIO, self.rule)
        return {"low": found.low, "high": found.high, "spread": self.suggestion.spread}

    def write(self, path: Path, record: dict[str, Any]) -> None:
        """``path.json`` and ``path.png``."""
        from lightcycle.report.finder_picture import draw_finder

        write_json(path.with_suffix(".json"), {**to_dict(self.curve, self.suggestions, self.rule), "run": record})
        draw_finder(self.curve, self.suggestions, path.with_suffix(".png"), chosen=self.rule)

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Rate, smoothed loss and the loss of each sweep."""
        names = [f"loss {i + 1}" for i in range(len(self.curve.sweeps))]
        rows = zip(self.curve.lrs, self.curve.smoothed, *self.curve.sweeps, strict=True)
        return ["lr", "smoothed", *names], [list(row) for row in rows]


@dataclass
class AccuracyFinding:
    """Validation accuracy along one triangular oscillation: rates up and down, accuracies."""

    lrs: list[float]
    accuracies: list[float]

    @property
    def suggestion(self) -> Suggestion:
        top = self.lrs.index(max(self.lrs)) + 1  # the bound is read off the rising half
        return accuracy_bound(self.lrs[:top], self.accuracies[:top])

    def bounds(self) -> dict[str, Any]:
        """The range for CLR."""
        high = self.suggestion.lr
        return {"low": None if high is None else high / CLR_RATIO, "high": high, "spread": None}

    def write(self, path: Path, record: dict[str, Any]) -> None:
        """``path.json`` and ``path.png``."""
        from lightcycle.report.accuracy_picture import draw_accuracy

        said = self.suggestion
        data = {"version": 1, "chosen": said.rule, "lr": said.lr, "suggestions": [asdict(said)]}
        write_json(path.with_suffix(".json"), {**data, "lrs": self.lrs, "accuracies": self.accuracies, "run": record})
        draw_accuracy(self.lrs, self.accuracies, said, path.with_suffix(".png"))

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Rate and accuracy."""
        return ["lr", "accuracy"], [list(row) for row in zip(self.lrs, self.accuracies, strict=True)]


def sentence(record: dict[str, Any]) -> str:
    """What was found and what became of it, in a line."""
    if record["suggestion"] is None:
        return f"no suggestion, lr stays {record['before']:.3g}: {record['reason']}"
    spread = f", sweeps differ by x{record['spread']:.2g}" if record["spread"] else ""
    does = "lr is" if record["applied"] is not None else f"lr stays {record['before']:.3g}, suggested is"
    span = f"for CLR {record['low']:.3g} to {record['high']:.3g}"
    return f"{does} {record['suggestion']:.3g} ({span}){spread}: {record['reason']}"
