"""Every schedule against its formula, written here a second time: on bound plans, and called with a time."""

import math

import pytest

from lightcycle.schedules import (
    SGDR,
    Constant,
    CosineAnnealing,
    CyclicalLR,
    ExponentialDecay,
    FlatCosine,
    Halving,
    Horizon,
    InverseTimeDecay,
    OneCycle,
    Polynomial,
    ReduceOnPlateau,
    StepDecay,
    shapes,
)


def even(epochs, length):
    return Horizon.of_epochs([length] * epochs)


def half_cosine(high, low, u):
    return low + (high - low) * (1 + math.cos(math.pi * u)) / 2


def factors(plan):
    return [plan.factor(step) for step in range(plan.steps)]


def agree(values, expected):
    """Number by number; pytest.approx takes seconds over the long runs."""
    return max(abs(value - wanted) for value, wanted in zip(values, expected, strict=True)) <= 1e-12


# -- policies whose value at step i of an even run depends on the epoch alone: f(i / length) -------------------------

BY_EPOCH = {
    "constant": (Constant(), lambda e: 1.0),
    "plateau": (ReduceOnPlateau(), lambda e: 1.0),
    "step": (StepDecay(every=2, factor=0.1), lambda e: 0.1 ** (e // 2)),
    "step, fractions": (StepDecay(every=0.5, factor=0.3), lambda e: 0.3 ** (e // 0.5)),
    "milestones": (StepDecay(milestones=[1, 4.5], factor=0.2), lambda e: 1.0 if e < 1 else 0.2 if e < 4.5 else 0.04),
    "halving": (Halving(), lambda e: 2.0 ** -(e // 1)),
    "halving, after": (Halving(after=2), lambda e: 1.0 if e < 2 else 0.5),
    "halving, every": (Halving(every=1.5), lambda e: 2.0 ** -(e // 1.5)),
    "halving, after and every": (
        Halving(after=3, every=0.5),
        lambda e: 1.0 if e < 3 else 2.0 ** -(1 + (e - 3) // 0.5),
    ),
    "halving, on a metric only": (Halving(at_loss=[0.5]), lambda e: 1.0),
    "exponential": (ExponentialDecay(k=0.7), lambda e: math.exp(-0.7 * e)),
    "inverse time": (InverseTimeDecay(k=2.5), lambda e: 1 / (1 + 2.5 * e)),
}


@pytest.mark.parametrize("length", [2, 10, 32])  # half an epoch is a whole step
@pytest.mark.parametrize("name", BY_EPOCH)
def test_functions_of_the_epoch(name, length):
    schedule, formula = BY_EPOCH[name]
    assert agree(factors(schedule.bind(even(6, length))), [formula(i / length) for i in range(6 * length)])


@pytest.mark.parametrize("name", BY_EPOCH)
def test_functions_of_the_epoch_called_with_a_time(name):
    schedule, formula = BY_EPOCH[name]
    assert agree([schedule(i / 96, epochs=6) for i in range(96)], [formula(i / 16) for i in range(96)])


@pytest.mark.parametrize("name", ["exponential", "inverse time", "step", "milestones", "halving", "halving, after"])
@pytest.mark.parametrize("lengths", [[20, 10, 6, 2, 30, 8], [1, 5, 2, 1, 4, 1]])
def test_functions_of_the_epoch_where_epochs_differ_in_length(name, lengths):
    schedule, formula = BY_EPOCH[name]
    epochs = [index + i / length for index, length in enumerate(lengths) for i in range(length)]
    assert agree(factors(schedule.bind(Horizon.of_epochs(lengths))), [formula(e) for e in epochs])


@pytest.mark.parametrize("name", ["exponential", "inverse time"])
def test_decay_per_epoch_in_a_run_that_is_cut_short(name):
    schedule, formula = BY_EPOCH[name]
    assert agree(factors(schedule.bind(Horizon.of_steps(25, 10))), [formula(i / 10) for i in range(25)])


@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_decay_per_step_needs_no_epochs(steps):
    exponential, inverse = ExponentialDecay(k=0.01, unit="step"), InverseTimeDecay(k=0.3, unit="step")
    assert agree(factors(exponential.bind(Horizon(steps))), [math.exp(-0.01 * i) for i in range(steps)])
    assert agree(factors(inverse.bind(Horizon(steps))), [1 / (1 + 0.3 * i) for i in range(steps)])
    assert exponential(0.25, steps=400) == pytest.approx(math.exp(-1), rel=1e-14)


# -- policies that fill the run: the last step sits at u = 1 ---------------------------------------------------------

FILLING = {
    "cosine": (CosineAnnealing(), lambda u: half_cosine(1, 0, u)),
    "cosine, final": (CosineAnnealing(final=0.3), lambda u: half_cosine(1, 0.3, u)),
    "polynomial": (Polynomial(), lambda u: 1 - u),
    "polynomial, 0.9": (Polynomial(power=0.9), lambda u: (1 - u) ** 0.9),
    "polynomial, final": (Polynomial(power=3, final=0.1), lambda u: 0.1 + 0.9 * (1 - u) ** 3),
    "flat cosine from the start": (FlatCosine(pct_start=0, div_final=100), lambda u: half_cosine(1, 0.01, u)),
    "one cycle without a rise": (OneCycle(pct_start=0, div_final=1000), lambda u: half_cosine(1, 0.001, u)),
    "one SGDR cycle": (SGDR(cycles=1, cycle_len=None, final=0.2), lambda u: half_cosine(1, 0.2, u)),
}


@pytest.mark.parametrize("steps", [2, 3, 10, 999])
@pytest.mark.parametrize("name", FILLING)
def test_annealing_to_the_last_step(name, steps):
    schedule, formula = FILLING[name]
    assert agree(factors(schedule.bind(Horizon(steps))), [formula(i / (steps - 1)) for i in range(steps)])
    assert agree([schedule(i / 50) for i in range(51)], [formula(i / 50) for i in range(51)])


@pytest.mark.parametrize(
    "schedule", [*(schedule for schedule, _ in FILLING.values()), OneCycle(), OneCycle(pct_start=0.9), FlatCosine()]
)
def test_a_run_of_one_step_trains_at_the_top(schedule):
    assert factors(schedule.bind(Horizon(1))) == [1.0]


def test_the_step_that_closes_a_longer_cycle_is_at_the_low_end():
    assert factors(OneCycle(pct_start=0.5).bind(Horizon(2))) == [0.04, 1e-5]
    assert factors(SGDR(cycles=2, cycle_mult=1, warmup=1).bind(even(3, 1))) == [0.01, 0.0, 1.0]


@pytest.mark.parametrize("pct", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("steps", [8, 40, 100_000])
def test_flat_cosine(pct, steps):
    flat = int(pct * steps)
    fall = [half_cosine(1, 1e-5, i / (steps - flat - 1)) for i in range(steps - flat)]
    assert agree(factors(FlatCosine(pct_start=pct).bind(Horizon(steps))), [1.0] * flat + fall)
    times = [i / 64 for i in range(65)]
    drawn = [1.0 if t < pct else half_cosine(1, 1e-5, (t - pct) / (1 - pct)) for t in times]
    assert agree([FlatCosine(pct_start=pct)(t) for t in times], drawn)


# -- CLR, in Smith's own words ---------------------------------------------------------------------------------------


def smith(iteration, stepsize, low, mode, gamma):
    cycle = math.floor(1 + iteration / (2 * stepsize))
    x = abs(iteration / stepsize - 2 * cycle + 1)
    scale = {"triangular": 1.0, "triangular2": 1 / 2 ** (cycle - 1), "exp_range": gamma**iteration}[mode]
    return low + (1 - low) * max(0.0, 1 - x) * scale


@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
@pytest.mark.parametrize(("cycles", "step_size", "length"), [(1, 1, 1), (3, 1, 5), (2, 2, 8), (4, 0.5, 6), (5, 2.5, 2)])
def test_clr(mode, cycles, step_size, length):
    schedule = CyclicalLR(mode=mode, cycles=cycles, step_size=step_size, low=0.2, gamma=0.97)
    epochs = 2 * cycles * step_size
    plan = schedule.bind(even(int(epochs), length))
    expected = [smith(i, step_size * length, 0.2, mode, 0.97) for i in range(plan.steps)]
    assert agree(factors(plan), expected)
    assert agree([schedule(i / plan.steps, steps=plan.steps) for i in range(plan.steps)], expected)


def test_clr_over_a_run_of_a_hundred_thousand_steps():
    plan = CyclicalLR(cycles=10, step_size=None, mode="triangular2").bind(Horizon(100_000))
    assert agree(factors(plan), [smith(i, 5000, 0.25, "triangular2", 1.0) for i in range(100_000)])


def test_clr_momentum_runs_against_the_rate():
    plan = CyclicalLR(cycles=3, step_size=1, low=0.0, momentum=[0.85, 0.95]).bind(even(6, 4))
    assert agree([plan.momentum(i) for i in range(24)], [0.95 - 0.1 * plan.factor(i) for i in range(24)])
    assert CyclicalLR().bind(even(8, 4)).momentum(3) is None


# -- SGDR ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 3, 7])
@pytest.mark.parametrize("cycles_of", [(5, 1, 1), (4, 2, 1), (4, 1, 2), (3, 1, 3), (3, 1, 10), (3, 4, 0.5)])
@pytest.mark.parametrize(("decay", "final"), [(1.0, 0.0), (0.8, 0.0), (0.5, 0.3), (1.0, 0.01)])
def test_sgdr(cycles_of, length, decay, final):
    cycles, cycle_len, mult = cycles_of
    lengths = [int(cycle_len * mult**i) * length for i in range(cycles)]
    expected = []
    for i, steps in enumerate(lengths):
        low = min(final, decay**i)
        expected += [half_cosine(decay**i, low, j / max(steps - 1, 1)) for j in range(steps)]
    schedule = SGDR(cycles=cycles, cycle_len=cycle_len, cycle_mult=mult, decay=decay, final=final)
    plan = schedule.bind(even(sum(lengths) // length, length))
    assert agree(factors(plan), expected)
    assert plan.cycle_ends == tuple(sum(lengths[: i + 1]) for i in range(cycles))


@pytest.mark.parametrize("mult", [1, 2, 3, 10, 1.5, 0.5])
def test_sgdr_called_with_a_time_restarts_on_every_border(mult):
    schedule = SGDR(cycles=4, cycle_mult=mult, decay=0.9)
    lengths = [mult**i for i in range(4)]
    for i, length in enumerate(lengths):
        for u in (0.0, 0.25, 0.5, 0.9):
            t = (sum(lengths[:i]) + u * length) / sum(lengths)
            assert schedule(t) == pytest.approx(half_cosine(0.9**i, 0, u), abs=1e-9)
    assert schedule(1.0) == 0.0


# -- 1cycle ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "pct"), [(4, 0.25), (8, 0.25), (10, 0.3), (100, 0.25), (100, 0.99), (100_000, 0.25)])
def test_one_cycle_of_half_cosines(steps, pct):
    plan = OneCycle(pct_start=pct, div=20, div_final=500).bind(Horizon(steps))
    peak = round(pct * steps)
    fall = max(steps - peak - 1, 1)
    rate = [half_cosine(1 / 20, 1, i / peak) for i in range(peak)]
    momentum = [half_cosine(0.95, 0.85, i / peak) for i in range(peak)]
    ahead = [1.0] if steps - peak == 1 else [i / fall for i in range(steps - peak)]
    assert agree(factors(plan), rate + [half_cosine(1, 1 / 500, u) for u in ahead])
    falling = [half_cosine(0.85, 0.95, u) for u in ahead]
    assert agree([plan.momentum(i) for i in range(steps)], momentum + falling)


@pytest.mark.parametrize(("steps", "pct"), [(10, 0.3), (20, 0.45), (100, 0.45), (100_000, 0.45)])
def test_one_cycle_of_straight_lines(steps, pct):
    schedule = OneCycle(style="linear", pct_start=pct, div=10, div_final=1000, momentum=[0.9, 0.8, 0.7])
    plan = schedule.bind(Horizon(steps))
    leg = round(pct * steps)
    last = steps - 2 * leg - 1
    rate = [0.1 + 0.9 * i / leg for i in range(leg)] + [1 - 0.9 * i / leg for i in range(leg)]
    rate += [0.1 + (0.001 - 0.1) * i / last for i in range(last + 1)]
    momentum = [0.9 - 0.1 * i / leg for i in range(2 * leg)] + [0.7] * (last + 1)
    assert agree(factors(plan), rate)
    assert agree([plan.momentum(i) for i in range(steps)], momentum)


def lines(t):
    if t < 0.45:
        return 0.04 + 0.96 * t / 0.45
    if t < 0.9:
        return 1 - 0.96 * (t - 0.45) / 0.45
    return 0.04 - (0.04 - 1e-5) * (t - 0.9) / 0.1


def test_one_cycle_called_with_a_time():
    times = [i / 200 for i in range(201)]
    cosines = [half_cosine(0.04, 1, t / 0.25) if t < 0.25 else half_cosine(1, 1e-5, (t - 0.25) / 0.75) for t in times]
    assert agree([OneCycle()(t) for t in times], cosines)
    assert agree([OneCycle(style="linear")(t) for t in times], [lines(t) for t in times])


def test_one_cycle_leaves_momentum_alone_when_told_to():
    plan = OneCycle(momentum=None).bind(Horizon(10))
    assert [plan.momentum(i) for i in range(10)] == [None] * 10


# -- warm-up ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0.0, 0.01, 1.0])
def test_warm_up_is_a_line_to_where_the_schedule_begins(start):
    schedule = SGDR(cycles=2, warmup=1.5, warmup_start=start, cycle_mult=1)
    plan = schedule.bind(Horizon.of_epochs([5, 4, 6, 2]), stretch=True)
    cycles = [half_cosine(1, 0, i / 5) for i in range(6)] + [half_cosine(1, 0, i / 3) for i in range(4)]
    assert agree(factors(plan), [start + (1 - start) * i / 7 for i in range(7)] + cycles)
    assert plan.cycle_ends == (13, 17)


def test_warm_up_ends_where_one_cycle_begins_and_holds_its_momentum():
    plan = OneCycle(warmup=1, warmup_start=0.5).bind(even(5, 8))
    assert agree(factors(plan)[:9], [0.04 * (0.5 + 0.5 * i / 8) for i in range(9)])
    assert [plan.momentum(i) for i in range(9)] == [0.95] * 9


def test_warm_up_in_front_of_a_one_cycle_that_has_no_rise_ends_at_the_peak():
    plan = OneCycle(pct_start=0, warmup=1, warmup_start=0.0).bind(even(5, 4))
    assert agree(factors(plan)[:5], [0, 0.25, 0.5, 0.75, 1.0])


def test_constants_in_epochs_count_from_the_end_of_the_warm_up():
    plan = StepDecay(milestones=[1, 2], warmup=2).bind(even(5, 3))
    assert agree(factors(plan)[6:], [1.0] * 3 + [0.1] * 3 + [0.01] * 3)
    decay = ExponentialDecay(k=1.0, warmup=2).bind(Horizon.of_epochs([5, 3, 2, 4]))
    assert agree(factors(decay)[8:], [math.exp(-e) for e in (0, 0.5, 1, 1.25, 1.5, 1.75)])


# -- the drawing board -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [shapes.linear, shapes.cosine, shapes.exponential])
@pytest.mark.parametrize(("start", "end"), [(0.1, 0.7), (1.0, 1e-5), (0.3, 0.3), (1 / 3, 1e5)])
def test_shapes_are_exact_at_both_ends(shape, start, end):
    assert (shape(start, end, 0.0), shape(start, end, 1.0)) == (start, end)
    assert shapes.polynomial(start, end, 0.0, power=0.9) == start
    assert shapes.polynomial(start, end, 1.0, power=0.9) == end


def test_past_its_ends_a_plan_keeps_its_first_and_last_value():
    plan = OneCycle().bind(Horizon(20))
    assert (plan.factor(-3), plan.factor(20), plan.factor(10**6)) == (plan.factor(0), plan.factor(19), plan.factor(19))
    assert (OneCycle()(-0.5), OneCycle()(1.5)) == (OneCycle()(0.0), OneCycle()(1.0))
