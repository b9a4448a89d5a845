"""From a range test to a learning rate: each rule answers with a rate and what it saw, or says why it cannot.

No rule depends on the loss's unit or zero: `a * loss + b` gets the same answer.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np

from lightcycle.finder.curve import Curve
from lightcycle.finder.fall import Fall, NoSuggestion, fall

Judge = Callable[[Curve, Fall], tuple[float, str]]


@dataclass
class Suggestion:
    """A rule's answer.

    Args:
        rule: the rule's name.
        lr: the learning rate; None where the curve gives no ground for one.
        reason: what was seen, in one sentence.
        spread: largest / smallest answer of the single sweeps, where at least two of several gave one.
    """

    rule: str
    lr: float | None
    reason: str
    spread: float | None = None

    def __str__(self) -> str:
        if self.lr is None:
            return f"no suggestion: {self.reason}"
        return f"{self.lr:.2g}: {self.reason}" + (f" Sweeps differ by x{self.spread:.2g}." if self.spread else "")


def suggest(curve: Curve, rule: str = "auto") -> Suggestion:
    """What one rule makes of a curve; `spread` says how far several sweeps differ.

    Of several sweeps a rule sees the mean. `auto` takes the lowest answer of the single ones instead, where most have
    one: the rate at which a loss explodes differs by a factor of 3 from batches to batches, and a run meets them all.

    Raises:
        ValueError: there is no such rule.

    >>> fallen = [2.0] * 20 + [2.0 - 0.1 * k for k in range(16)] + [0.5] * 5 + [2.0, 9.0]
    >>> lrs = [10 ** (k / 10 - 4) for k in range(43)]
    >>> print(suggest(Curve(lrs, [fallen]), "divergence_over_10"))
    0.13: one tenth of lr 1.3, where the loss explodes.
    >>> print(suggest(Curve(lrs, [[2.0] * 43])))
    no suggestion: the loss does not fall by more than its noise (0 against 2e-09).
    """
    if rule not in RULES:
        near = get_close_matches(rule, RULES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(RULES)}."
        raise ValueError(f"there is no finder rule {rule!r}; {hint}")
    answer = _answer(curve, rule)
    if len(curve.sweeps) == 1:
        return answer
    single = [each for each in (_answer(sweep, rule) for sweep in curve.single()) if each.lr is not None]
    if rule == "auto" and 2 * len(single) > len(curve.sweeps):
        lowest = min(single, key=lambda each: each.lr)
        answer = replace(lowest, reason=f"the lowest of {len(single)} sweeps; {lowest.reason}")
    if answer.lr is not None and len(single) > 1:
        answer.spread = max(each.lr for each in single) / min(each.lr for each in single)
    return answer


def suggest_all(curve: Curve) -> dict[str, Suggestion]:
    """Every rule's answer, by name; `auto`, the default, comes first."""
    return {rule: suggest(curve, rule) for rule in RULES}


def auto(curve: Curve, seen: Fall) -> tuple[float, str]:
    """The middle, in log10(lr), of the low ground around the minimum: the rates that serve about equally well.

    It begins where three quarters of the fall are done, and ends where the loss has risen by a tenth of the fall. The
    lowest point itself is chance where the ground is level. Where the loss does not rise again, the ground has no end:
    then the answer is where 90 % of the fall are done.
    """
    low, high = seen.left(0.25), seen.right(0.1)
    if high >= curve.lrs[-1]:
        return seen.left(0.1), f"90 % of the fall of {seen.drop:.2g} are done here, and the loss does not rise again."
    return math.sqrt(low * high), f"the middle of the low ground, from lr {low:.2g} to {high:.2g}."


def steepest(curve: Curve, seen: Fall) -> tuple[float, str]:
    """Where the smoothed loss falls fastest over log10(lr), two standard errors taken off every slope."""
    stretch = slice(seen.top, seen.bottom + 1)
    at = seen.top + int((seen.slopes + 2 * seen.slope_errors)[stretch].argmin())
    return seen.lr(at), f"the loss falls fastest here, by {-seen.slopes[at]:.2g} per tenfold lr."


def valley(curve: Curve, seen: Fall) -> tuple[float, str]:
    """The middle of the fall: between where 95 % and where 5 % of it is still to come, in log10(lr)."""
    low, high = seen.left(0.95), seen.left(0.05)
    return math.sqrt(low * high), f"the middle of the fall, which goes from lr {low:.2g} to {high:.2g}."


def slide(curve: Curve, seen: Fall) -> tuple[float, str]:
    """The highest rate before the minimum at which the loss still falls at a third of its fastest pace."""
    stretch = slice(seen.top, seen.bottom + 1)
    slopes = seen.slopes[stretch]
    at = seen.top + int(np.flatnonzero(slopes <= slopes.min() / 3)[-1])
    return seen.lr(at), "the highest rate at which the loss still clearly falls."


def minimum_over_10(curve: Curve, seen: Fall) -> tuple[float, str]:
    """A tenth of the rate with the lowest smoothed loss."""
    if seen.at_end:
        raise NoSuggestion(f"the loss is lowest at the end of the test, lr {curve.lrs[-1]:.2g}; raise max_lr.")
    lowest = seen.lr(seen.bottom)
    return lowest / 10, f"one tenth of lr {lowest:.2g}, where the loss is lowest."


def divergence_over_10(curve: Curve, seen: Fall) -> tuple[float, str]:
    """A tenth of the rate at which the loss has lost half of what it had gained."""
    if curve.lost_at is None:
        raise NoSuggestion(f"the loss does not explode up to lr {curve.lrs[-1]:.2g}; raise max_lr.")
    return curve.lost_at / 10, f"one tenth of lr {curve.lost_at:.2g}, where the loss explodes."


RULES: dict[str, Judge] = {
    "auto": auto,
    "steepest": steepest,
    "valley": valley,
    "slide": slide,
    "minimum_over_10": minimum_over_10,
    "divergence_over_10": divergence_over_10,
}
"""Every rule by the name it has on the command line."""


def _answer(curve: Curve, rule: str) -> Suggestion:
    try:
        return Suggestion(rule, *RULES[rule](curve, fall(curve)))
    except NoSuggestion as reason:
        return Suggestion(rule, None, str(reason))
