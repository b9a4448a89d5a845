"""Policies whose rate comes back up: CLR, SGDR and 1cycle."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from lightcycle.schedules import shapes
from lightcycle.schedules.base import Schedule
from lightcycle.schedules.checks import above, at_least, from_zero_to_below, momenta, one_of, within
from lightcycle.schedules.phase import Curve, Phase, curve, low_end


@dataclass(kw_only=True)
class SGDR(Schedule):
    """Cosine annealing with warm restarts: in each cycle ``a = final + (peak - final) (1 + cos(pi u)) / 2``.

    u runs from 0 at the first step of a cycle to 1 at its last; cycle i is ``cycle_len * cycle_mult^i`` epochs long and
    its peak is ``decay^i``.

    Args:
        cycles: how many.
        cycle_len: epochs of the first cycle; ``None`` stretches all cycles over the run.
        cycle_mult: each cycle is this many times as long as the one before; 1 makes equal cycles.
        decay: each peak is this fraction of the one before.
        final: multiplier at the last step of every cycle.

    >>> sgdr = SGDR(cycles=3, cycle_mult=2)                 # 1 + 2 + 4 = 7 epochs
    >>> sgdr.epochs, [round(sgdr(k / 7), 3) for k in (0, 1, 2, 3, 5)]
    (7.0, [1.0, 1.0, 0.5, 1.0, 0.5])

    References: Loshchilov & Hutter, SGDR, arXiv:1608.03983.
    """

    cycles: int = 3
    cycle_len: float | None = 1.0
    cycle_mult: float = 2.0
    decay: float = 1.0
    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, "cycles", 1, "3 cycles of 1, 2 and 4 epochs are the default")
        if self.cycle_len is not None:
            above(self, "cycle_len", 0.0, "it is in epochs; null stretches the cycles over the run")
        above(self, "cycle_mult", 0.0, "1 = equal cycles, 2 = each cycle twice as long")
        within(self, "decay", 0.0, 1.0, "1 restarts at the full rate")
        within(self, "final", 0.0, 1.0, "0 anneals to nothing")

    @property
    def lengths(self) -> list[float]:
        """Lengths of the cycles: in epochs, or relative where ``cycle_len`` is ``None``."""
        return [(self.cycle_len or 1.0) * self.cycle_mult**i for i in range(self.cycles)]

    @property
    def own_epochs(self) -> float | None:
        return None if self.cycle_len is None else sum(self.lengths)

    def stretched(self) -> "SGDR":
        return replace(self, cycle_len=None)

    def _sum(self) -> str:
        warmup = [f"warm-up {self.warmup:g}"] if self.warmup else []
        return " + ".join([*warmup, *(f"{length:g}" for length in self.lengths)])

    def _stretch_hint(self) -> str:
        return "cycle_len=null in YAML, None in Python"

    def phases(self, epochs: float | None, steps: int | None) -> list[Phase]:
        return [
            low_end(length, curve(shapes.cosine, self.decay**i, min(self.final, self.decay**i)))
            for i, length in enumerate(self.lengths)
        ]


@dataclass(kw_only=True)
class CyclicalLR(Schedule):
    """Smith's cyclical learning rates: the rate runs between a low and a high bound on straight lines.

    ``cycle = floor(1 + iter / (2 stepsize))``, ``x = |iter / stepsize - 2 cycle + 1|``,
    ``a = low + (high - low) max(0, 1 - x) scale``, where the high bound is the base rate and the scale is 1
    (``triangular``), ``1 / 2^(cycle - 1)`` (``triangular2``) or ``gamma^iter`` (``exp_range``).

    Args:
        mode: ``triangular``, ``triangular2`` or ``exp_range``.
        cycles: how many; each is two step sizes long.
        step_size: epochs of half a cycle (Smith: 2 to 10); ``None`` stretches the cycles over the run.
        low: the low bound as a fraction of the high one (Smith: a third or a fourth).
        gamma: what ``exp_range`` multiplies the height by at every optimizer step.
        momentum: ``[low, high]``, cycled against the rate: high momentum where the rate is low. ``None`` leaves it.

    >>> clr = CyclicalLR(cycles=2, low=0.25)
    >>> [clr(t) for t in (0.0, 0.25, 0.5, 0.625)]
    [0.25, 1.0, 0.25, 0.625]

    References: Smith, Cyclical learning rates for training neural networks, arXiv:1506.01186.
    """

    mode: str = "triangular"
    cycles: int = 2
    step_size: float | None = 2.0
    low: float = 0.25
    gamma: float = 0.9999
    momentum: list[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, "mode", ("triangular", "triangular2", "exp_range"))
        at_least(self, "cycles", 1, "each cycle goes up and down once")
        if self.step_size is not None:
            above(self, "step_size", 0.0, "it is half a cycle in epochs; null stretches the cycles over the run")
        within(self, "low", 0.0, 1.0, "0.25 is a fourth of the high bound")
        within(self, "gamma", 0.0, 1.0, "0.9999 per step shrinks slowly")
        momenta(self, 2, "[0.85,0.95]")

    @property
    def own_epochs(self) -> float | None:
        return None if self.step_size is None else 2.0 * self.step_size * self.cycles

    def stretched(self) -> "CyclicalLR":
        return replace(self, step_size=None)

    def _stretch_hint(self) -> str:
        return "step_size=null in YAML, None in Python"

    def phases(self, epochs: float | None, steps: int | None) -> list[Phase]:
        return [phase for cycle in range(self.cycles) for phase in self._cycle(cycle, steps)]

    def _cycle(self, cycle: int, steps: int | None) -> list[Phase]:
        up, down = self._height(cycle, 0, steps), self._height(cycle, 1, steps)
        if self.momentum is None:
            return [Phase(1.0, up), Phase(1.0, down, ends_cycle=True)]
        low, high = self.momentum
        fall, rise = curve(shapes.linear, high, low), curve(shapes.linear, low, high)
        return [Phase(1.0, up, fall), Phase(1.0, down, rise, ends_cycle=True)]

    def _height(self, cycle: int, half: int, steps: int | None) -> Curve:
        scale = 0.5**cycle if self.mode == "triangular2" else 1.0
        if self.mode != "exp_range":
            top = self.low + (1.0 - self.low) * scale
            return curve(shapes.linear, *((self.low, top) if half == 0 else (top, self.low)))
        if steps is None:
            raise ValueError("schedule.gamma is per step: say how many steps the run has (steps=...)")
        return partial(_exp_range, self.low, self.gamma, 2 * cycle + half, steps / (2 * self.cycles))


def _exp_range(low: float, gamma: float, halves: int, stepsize: float, position: float) -> float:
    """Smith's exp_range in the half cycle with this number, ``stepsize`` steps long."""
    height = position if halves % 2 == 0 else 1.0 - position
    return low + (1.0 - low) * height * gamma ** ((halves + position) * stepsize)


@dataclass(kw_only=True)
class OneCycle(Schedule):
    """One rise and one long fall of the rate, with momentum the other way round.

    ``cosine`` (fast.ai): half cosines ``1/div -> 1 -> 1/div_final``. ``linear`` (Smith): straight lines up and down
    between ``1/div`` and 1, each ``pct_start`` of the run, then an annihilation down to ``1/div_final``.

    Args:
        style: ``cosine`` or ``linear``.
        div: the run starts at the base rate divided by this.
        div_final: the last step trains at the base rate divided by this.
        pct_start: fraction of the run in which the rate rises; ``None`` is 0.25 (cosine) or 0.45 (linear).
        momentum: at the start, at the peak, at the end; ``None`` leaves momentum alone.

    >>> [round(OneCycle()(t), 3) for t in (0.0, 0.25, 0.625)]
    [0.04, 1.0, 0.5]

    References: Smith, A disciplined approach, arXiv:1803.09820; Smith & Topin, Super-convergence, arXiv:1708.07120.
    """

    style: str = "cosine"
    div: float = 25.0
    div_final: float = 1e5
    pct_start: float | None = None
    momentum: list[float] | None = field(default_factory=lambda: [0.95, 0.85, 0.95])

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, "style", ("cosine", "linear"))
        at_least(self, "div", 1.0, "25 is fast.ai's, 10 is Smith's")
        at_least(self, "div_final", self.div, "the end must not be above the start; 1e5 is fast.ai's")
        if self.pct_start is not None:
            from_zero_to_below(
                self, "pct_start", 1.0 if self.style == "cosine" else 0.5, "something must be left to fall"
            )
            if self.style == "linear":
                above(self, "pct_start", 0.0, "at 0 the lines never reach the peak; 0.45 is Smith's")
        momenta(self, 3, "[0.95,0.85,0.95]")

    def phases(self, epochs: float | None, steps: int | None) -> list[Phase]:
        rise = self.pct_start if self.pct_start is not None else 0.25 if self.style == "cosine" else 0.45
        start, final = 1.0 / self.div, 1.0 / self.div_final
        shape = shapes.cosine if self.style == "cosine" else shapes.linear
        up, down, last = self._momenta(shape)
        if self.style == "cosine":
            return [Phase(rise, curve(shape, start, 1.0), up), low_end(1.0 - rise, curve(shape, 1.0, final), down)]
        return [
            Phase(rise, curve(shape, start, 1.0), up),
            Phase(rise, curve(shape, 1.0, start), down),
            low_end(1.0 - 2.0 * rise, curve(shape, start, final), last),
        ]

    def _momenta(self, shape: Callable[..., float]) -> list[Curve | None]:
        if self.momentum is None:
            return [None, None, None]
        first, peak, last = self.momentum
        return [curve(shape, first, peak), curve(shape, peak, last), curve(shapes.constant, last, last)]
