"""What a schedule is: a list of phases, drawn over time, bound to the steps of a run."""

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

from lightcycle.schedules import shapes
from lightcycle.schedules.checks import at_least, within
from lightcycle.schedules.horizon import Horizon
from lightcycle.schedules.phase import Phase, curve, scaled

_ROUNDING = 1e-12  # shares are floats: 4 / 13 is the border behind 1 / 13 + 3 / 13


@dataclass(kw_only=True)
class Schedule:
    """Time -> multiplier of the base learning rate (and, for some, momentum).

    Called with a time ``t`` from 0 to 1 it gives the multiplier; ``bind`` turns it into numbers for every step.

    Args:
        warmup: epochs of linear warm-up in front of the schedule; they come on top of its own length.
        warmup_start: multiplier at the first step of the warm-up.

    Raises:
        ValueError: in a sentence, when a value is out of range.
    """

    warmup: float = 0.0
    warmup_start: float = 0.01

    def __post_init__(self) -> None:
        at_least(self, "warmup", 0.0, "0 is off, 0.5 is half an epoch")
        within(self, "warmup_start", 0.0, 1.0, "0.01 starts at a hundredth of the rate")

    def phases(self, epochs: float | None, steps: int | None) -> list[Phase]:
        """The pieces behind the warm-up, for a run of this many epochs and steps (where they are known)."""
        raise NotImplementedError

    @property
    def own_epochs(self) -> float | None:
        """The length in epochs that the policy itself asks for; ``None`` when it fills whatever it is given."""
        return None

    @property
    def epochs(self) -> float | None:
        """The natural length in epochs, warm-up included; ``None`` when it has none."""
        return None if self.own_epochs is None else self.own_epochs + self.warmup

    def stretched(self) -> "Schedule":
        """The same policy without a length of its own: it fills the run it is given."""
        return self

    def misfit(self, epochs: float) -> str | None:
        """Why this schedule does not fit a run of so many epochs, in a sentence; ``None`` when it does."""
        if self.epochs is None or abs(self.epochs - epochs) < 1e-6:
            return None
        return (
            f"{type(self).__name__} is {self.epochs:g} epochs long ({self._sum()}) and the run is {epochs:g}: "
            f"make the run {self.epochs:g} epochs, or stretch the schedule over it ({self._stretch_hint()})"
        )

    def _sum(self) -> str:
        """How the natural length comes about, for an error."""
        return f"warm-up {self.warmup:g} + {self.own_epochs:g}" if self.warmup else f"{self.own_epochs:g}"

    def _stretch_hint(self) -> str:
        return "schedule.stretched()"

    def all_phases(self, epochs: float | None, steps: int | None) -> list[Phase]:
        """Warm-up and phases, their shares adding up to 1."""
        if not self.warmup:
            return scaled(self.phases(epochs, steps), 1.0)
        if epochs is None:
            raise ValueError(f"schedule.warmup={self.warmup:g} is in epochs and {NO_EPOCHS}")
        if self.warmup >= epochs:
            raise ValueError(
                f"schedule.warmup={self.warmup:g} epochs leaves nothing of a run of {epochs:g}; make it shorter"
            )
        part = self.warmup / epochs
        own = self.phases(epochs - self.warmup, None if steps is None else round(steps * (1 - part)))
        own = scaled(own, 1.0 - part)
        momentum = own[0].momentum
        first = Phase(
            part,
            curve(shapes.linear, self.warmup_start * own[0].factor(0.0), own[0].factor(0.0)),
            None if momentum is None else curve(shapes.constant, momentum(0.0), momentum(0.0)),
        )
        return [first, *own]

    def __call__(self, t: float, *, epochs: float | None = None, steps: int | None = None) -> float:
        """The multiplier at time ``t`` from 0 to 1; at a border it is the value of the phase that begins.

        ``epochs`` (default: the natural length) and ``steps`` are needed only by schedules whose constants are in
        those units.
        """
        pieces = self.all_phases(self.epochs if epochs is None else epochs, steps)
        ends = list(accumulate(piece.share for piece in pieces))
        index = min(bisect_right(ends, t + _ROUNDING), len(pieces) - 1)
        start = ends[index] - pieces[index].share
        return pieces[index].factor(min(max((t - start) / pieces[index].share, 0.0), 1.0))

    def bind(self, horizon: Horizon, *, stretch: bool = False) -> "BoundSchedule":
        """The schedule over the steps of one run.

        Raises:
            ValueError: if its own length is not the run's (``stretch=True`` fits it in), if it needs epochs and the
                run has none, or if a cycle would have no step.
        """
        return BoundSchedule(self.stretched() if stretch else self, horizon, stretch)


NO_EPOCHS = (
    "this run has no epochs, because its data has no length: say how many optimizer steps make an epoch "
    "(ParamScheduler(..., steps_per_epoch=500))"
)


def needs_epochs(epochs: float | None, what: str) -> float:
    """``epochs``, or an error that names the setting which is in epochs."""
    if epochs is None:
        raise ValueError(f"schedule.{what} is in epochs and {NO_EPOCHS}")
    return epochs


@dataclass(frozen=True)
class BoundSchedule:
    """A schedule over the steps of a run: exact whole-number borders, one value per step.

    >>> from lightcycle.schedules import SGDR
    >>> plan = SGDR(cycles=2, cycle_mult=2).bind(Horizon.of_epochs([4, 4, 4]))
    >>> plan.cycle_ends
    (4, 12)
    >>> [round(plan.factor(step), 2) for step in range(12)]
    [1.0, 0.75, 0.25, 0.0, 1.0, 0.95, 0.81, 0.61, 0.39, 0.19, 0.05, 0.0]
    """

    schedule: Schedule
    horizon: Horizon
    stretch: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        epochs = self.horizon.epochs
        if not self.stretch and epochs is not None and (misfit := self.schedule.misfit(epochs)):
            raise ValueError(misfit)
        self._check_cycles()

    def _check_cycles(self) -> None:
        edges, start = self.edges, 0
        cycles = sum(piece.ends_cycle for piece in self.pieces)
        for piece, end in zip(self.pieces, edges, strict=True):
            if piece.ends_cycle and end <= start:
                raise ValueError(
                    f"schedule.cycles={cycles} does not fit into a run of {self.horizon.steps} "
                    f"step{'s' * (self.horizon.steps != 1)}: some cycles would have none; use fewer, or a longer run"
                )
            start = end if piece.ends_cycle else start

    @property
    def steps(self) -> int:
        """Optimizer steps of the run."""
        return self.horizon.steps

    @cached_property
    def pieces(self) -> list[Phase]:
        """The phases, warm-up included; shares add up to 1."""
        return self.schedule.all_phases(self.horizon.epochs, self.horizon.steps)

    @cached_property
    def edges(self) -> list[int]:
        """The number of steps done at the end of each phase; the last is the run's."""
        ends = accumulate(piece.share for piece in self.pieces[:-1])
        edges = [*(self.horizon.step_at_fraction(end) for end in ends), self.horizon.steps]
        for i in reversed(range(1, len(edges))):
            # However short the run, the phase that closes a cycle keeps a step: the lowest point is trained with.
            if not self.pieces[i - 1].ends_cycle:
                edges[i - 1] = min(edges[i - 1], edges[i] - self.pieces[i].reaches_end)
        return edges

    @cached_property
    def cycle_ends(self) -> tuple[int, ...]:
        """The number of steps done at the end of each cycle; empty for a schedule without cycles."""
        return tuple(end for piece, end in zip(self.pieces, self.edges, strict=True) if piece.ends_cycle)

    def factor(self, step: int) -> float:
        """Multiplier of the base learning rate for the step with this index; past the end, the last value."""
        return self.at(step)[0]

    def momentum(self, step: int) -> float | None:
        """Momentum or beta1 for the step with this index; ``None`` where the policy leaves it alone."""
        return self.at(step)[1]

    def at(self, step: int) -> tuple[float, float | None]:
        """Both of them, for the price of one look-up: this is asked at every step."""
        piece, position = self._locate(step)
        return piece.factor(position), None if piece.momentum is None else piece.momentum(position)

    def _locate(self, step: int) -> tuple[Phase, float]:
        if not 0 <= step < self.edges[-1]:
            step = min(max(step, 0), self.edges[-1] - 1)
        index = bisect_right(self.edges, step)
        piece, start, end = self.pieces[index], self.edges[index - 1] if index else 0, self.edges[index]
        if not piece.reaches_end:
            if piece.by_epoch:
                start, step, end = (self.horizon.epoch_at(count) for count in (start, step, end))
            return piece, (step - start) / (end - start)
        if end - start > 1:
            return piece, (step - start) / (end - start - 1)
        # A cycle of one step trains at the top of its fall; the single step that closes a longer one, at the low end.
        alone = start == 0 or self.pieces[index - 1].ends_cycle
        return piece, 0.0 if alone else 1.0
