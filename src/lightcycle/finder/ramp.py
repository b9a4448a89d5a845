"""The ramp of a range test: which rate at which step, and when to stop. Plain numbers."""

import math
from dataclasses import dataclass, field

from lightcycle.schedules.shapes import exponential, linear

RAMPS = ("exponential", "linear", "triangular")


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """Learning rates from ``min_lr`` to ``max_lr`` in ``steps`` steps; triangular goes there and back, linearly.

    >>> [round(lr, 4) for lr in Ramp(min_lr=1e-4, max_lr=1e-1, steps=10).rates()][::3]
    [0.0001, 0.001, 0.01, 0.1]
    >>> Ramp(kind="triangular", min_lr=0.0, max_lr=1.0, steps=11).rates()[::2]
    [0.0, 0.4, 0.8, 0.8, 0.4, 0.0]
    """

    kind: str = "exponential"
    min_lr: float = 1e-6
    max_lr: float = 10.0
    steps: int = 100

    def __post_init__(self) -> None:
        if self.kind not in RAMPS:
            raise ValueError(f"lr_finder.ramp must be one of {', '.join(RAMPS)} (got {self.kind!r})")
        if self.steps < 10:
            raise ValueError(f"lr_finder.num_steps must be >= 10 (got {self.steps}); 100 is usual")
        positive = self.min_lr > 0 or (self.kind != "exponential" and self.min_lr == 0)
        if not (positive and self.min_lr < self.max_lr < math.inf):
            raise ValueError(
                f"lr_finder.min_lr and max_lr must be 0 < min_lr < max_lr (got {self.min_lr:g} and {self.max_lr:g}); "
                "1e-6 and 10 are usual"
            )

    def rates(self) -> list[float]:
        """The rate of each step."""
        shape = exponential if self.kind == "exponential" else linear
        count = (self.steps + 1) // 2 if self.kind == "triangular" else self.steps
        up = [shape(self.min_lr, self.max_lr, i / (count - 1)) for i in range(count)]
        return up + up[: self.steps - count][::-1] if self.kind == "triangular" else up


@dataclass
class Explosion:
    """Tells when a ramp has gone far enough: a loss that is not finite, or one that left its whole range behind.

    The loss has exploded when the median of the last five stands above ``start + times * (start - best)``, where start
    is the median of the first five and best the lowest median of five; the noise of the start counts as a fall too, so
    that a flat noisy curve goes on. No offset and no sign of the loss matters.

    >>> watch = Explosion()
    >>> [watch(loss) for loss in [2.3] * 6 + [1.0] * 6 + [9.0] * 3][-3:]
    [False, False, True]
    """

    times: float = 2.0
    losses: list[float] = field(default_factory=list)
    best: float = math.inf

    def __call__(self, loss: float) -> bool:
        if not math.isfinite(loss):
            return True
        self.losses.append(loss)
        if len(self.losses) < 10:
            return False
        start, now = _median(self.losses[:5]), _median(self.losses[-5:])
        self.best = min(self.best, now)
        noise = max(self.losses[:10]) - min(self.losses[:10])
        return now > start + self.times * max(start - self.best, noise)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
