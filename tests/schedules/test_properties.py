"""What holds for every schedule, over every run: one table of schedules, hypothesis for the runs."""

import copy
import math
import pickle
from dataclasses import fields, replace
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import lightcycle.schedules
from lightcycle.schedules import (
    SCHEDULES,
    SGDR,
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
)

settings.register_profile("deterministic", derandomize=True, deadline=None)


def deterministic(max_examples):
    return settings(settings.get_profile("deterministic"), max_examples=max_examples)


TABLE = {
    **{name: schedule() for name, schedule in SCHEDULES.items()},
    "step at milestones": StepDecay(milestones=[0.5, 3], factor=0.3),
    "halving from an epoch on": Halving(after=1.5, every=0.5),
    "halving on metrics": Halving(at_accuracy=[0.9], at_loss=[0.1]),
    "exponential per step": ExponentialDecay(k=0.01, unit="step"),
    "inverse time per step": InverseTimeDecay(k=0.01, unit="step"),
    "cosine to a floor": CosineAnnealing(final=0.2),
    "polynomial 0.9": Polynomial(power=0.9, final=0.1),
    "flat cosine, half": FlatCosine(pct_start=0.5, div_final=10),
    "clr triangular2": CyclicalLR(mode="triangular2", cycles=3, momentum=[0.85, 0.95]),
    "clr exp_range": CyclicalLR(mode="exp_range", gamma=0.99, low=0.0),
    "sgdr, equal cycles": SGDR(cycles=4, cycle_mult=1),
    "sgdr, cycle_mult 3": SGDR(cycles=3, cycle_mult=3, decay=0.5, final=0.01),
    "sgdr, cycle_mult 10": SGDR(cycles=2, cycle_mult=10),
    "sgdr, shrinking": SGDR(cycles=3, cycle_mult=0.5),
    "one_cycle linear": OneCycle(style="linear", div=10),
    "one_cycle late": OneCycle(pct_start=0.99, momentum=None),
    "one_cycle from the peak": OneCycle(pct_start=0),
    "plateau on accuracy": ReduceOnPlateau(monitor="val/acc", mode="max"),
}
WITH_CYCLES = [name for name, s in TABLE.items() if any(piece.ends_cycle for piece in s.all_phases(100, 1000))]
LOW_ENDED = [name for name in WITH_CYCLES if not isinstance(TABLE[name], CyclicalLR)]

every_schedule = pytest.mark.parametrize("name", TABLE)
every_cycle = pytest.mark.parametrize("name", WITH_CYCLES)
epoch_lengths = st.lists(st.integers(1, 40), min_size=1, max_size=8)
short_runs = st.sampled_from([[1], [2], [1, 1], [3], [1, 2], [4], [1] * 5, [2] * 3])


def bound(schedule, lengths):
    """Stretched over these epochs; a run with too few steps for the cycles is not looked at."""
    try:
        return schedule.bind(Horizon.of_epochs(lengths), stretch=True)
    except ValueError as error:
        if not str(error).startswith("schedule.cycles=") or "does not fit" not in str(error):
            raise
        assume(False)


def factors(plan):
    return [plan.factor(step) for step in range(plan.steps)]


def cycles(plan):
    """First step and length of each cycle."""
    return [range(start, end) for start, end in pairwise([0, *plan.cycle_ends])]


def test_the_table_has_every_schedule():
    assert {type(schedule) for schedule in TABLE.values()} == set(SCHEDULES.values())
    assert len(SCHEDULES) == 12


# -- values ----------------------------------------------------------------------------------------------------------


@every_schedule
@deterministic(30)
@given(lengths=epoch_lengths | short_runs)
def test_factors_and_momenta_stay_between_their_bounds(name, lengths):
    plan = bound(TABLE[name], lengths)
    values, momenta = factors(plan), [plan.momentum(step) for step in range(plan.steps)]
    assert 0.0 <= min(values) <= max(values) <= 1.0
    allowed = getattr(TABLE[name], "momentum", None)
    if allowed is None:
        assert set(momenta) == {None}
    else:
        assert min(allowed) <= min(momenta) <= max(momenta) <= max(allowed)


@every_schedule
@deterministic(30)
@given(t=st.floats(0, 1), epochs=st.integers(4, 100))
def test_so_do_the_values_between_the_steps(name, t, epochs):
    assert 0.0 <= TABLE[name](t, epochs=epochs, steps=epochs * 10) <= 1.0


@every_schedule
def test_a_run_of_one_step_and_a_run_of_two(name):
    schedule = TABLE[name]
    for steps in (1, 2):
        needed = sum(piece.ends_cycle for piece in schedule.all_phases(1.0, steps))
        if needed > steps or name == "sgdr, cycle_mult 10":  # its first cycle is an eleventh of two steps: none
            with pytest.raises(ValueError, match=f"^schedule.cycles={needed} does not fit into a run of {steps} step"):
                schedule.bind(Horizon.of_epochs([steps]), stretch=True)
        else:
            plan = schedule.bind(Horizon.of_epochs([steps]), stretch=True)
            assert plan.factor(0) > 0.0
            assert plan.factor(steps - 1) <= plan.factor(0)


@every_schedule
def test_a_run_of_a_hundred_thousand_steps(name):
    plan = TABLE[name].bind(Horizon.of_epochs([12_500] * 8), stretch=True)
    values = [plan.factor(step) for step in range(0, plan.steps, 97)]
    assert 0.0 <= min(values) <= max(values) <= 1.0
    for cycle in cycles(plan):
        top = max(plan.factor(step) for step in range(cycle.start, cycle.stop, 97))
        assert plan.factor(cycle[-1]) < 0.3 * top or name == "clr triangular2"


# -- cycles ----------------------------------------------------------------------------------------------------------


@every_schedule
@deterministic(30)
@given(lengths=epoch_lengths | short_runs)
def test_cycle_ends_are_whole_steps_that_increase_to_the_end_of_the_run(name, lengths):
    plan = bound(TABLE[name], lengths)
    assert all(type(end) is int for end in plan.cycle_ends)
    assert list(plan.cycle_ends) == sorted(set(plan.cycle_ends))
    assert plan.cycle_ends[-1:] == ((plan.steps,) if name in WITH_CYCLES else ())


@pytest.mark.parametrize("name", LOW_ENDED)
@deterministic(40)
@given(lengths=epoch_lengths | short_runs, warmup=st.sampled_from([0.0, 0.3, 0.9]))
def test_the_last_step_of_a_cycle_is_its_lowest(name, lengths, warmup):
    plan = bound(replace(TABLE[name], warmup=warmup, warmup_start=0.5), lengths)
    for cycle in cycles(plan):
        values = [plan.factor(step) for step in cycle]
        assert values[-1] == min(values)
        assert len(values) == 1 or values[-1] < max(values)


@deterministic(200)
@given(
    count=st.integers(1, 6),
    mult=st.sampled_from([0.5, 1, 1.5, 2, 3, 10]),
    decay=st.sampled_from([1.0, 0.9, 0.5]),
    final=st.sampled_from([0.0, 1e-3, 0.3]),
    steps=st.integers(1, 3000),
)
def test_restarts_are_exact(count, mult, decay, final, steps):
    schedule = SGDR(cycles=count, cycle_len=None, cycle_mult=mult, decay=decay, final=final)
    plan = bound(schedule, [steps])
    for i, cycle in enumerate(cycles(plan)):
        assert plan.factor(cycle[0]) == decay**i
        assert plan.factor(cycle[-1]) == (min(final, decay**i) if len(cycle) > 1 else decay**i)


@deterministic(100)
@given(
    data=st.data(),
    count=st.integers(1, 4),
    cycle_len=st.integers(1, 3),
    mult=st.sampled_from([1, 2, 3]),
    warmup=st.integers(0, 2),
)
def test_cycles_of_whole_epochs_end_with_an_epoch_whatever_its_length(data, count, cycle_len, mult, warmup):
    whole = [cycle_len * mult**i for i in range(count)]
    total = warmup + sum(whole)
    lengths = data.draw(st.lists(st.integers(1, 60), min_size=total, max_size=total))
    plan = SGDR(cycles=count, cycle_len=cycle_len, cycle_mult=mult, warmup=warmup).bind(Horizon.of_epochs(lengths))
    ends = [sum(lengths[: warmup + sum(whole[: i + 1])]) for i in range(count)]
    assert plan.cycle_ends == tuple(ends)
    assert plan.edges == ([sum(lengths[:warmup])] if warmup else []) + ends
    assert all(plan.factor(end) == 1.0 for end in ends[:-1])


@pytest.mark.parametrize("mult", [1, 2, 3, 10])
@pytest.mark.parametrize("length", [1, 3, 7, 61, 97, 1875])
def test_cycle_ends_with_awkward_numbers_of_steps_in_an_epoch(mult, length):
    schedule = SGDR(cycles=3, cycle_mult=mult)
    plan = schedule.bind(Horizon.of_epochs([length] * int(schedule.epochs)))
    assert plan.cycle_ends == (length, length * (1 + mult), length * (1 + mult + mult**2))


@deterministic(300)
@given(style=st.sampled_from(["cosine", "linear"]), share=st.floats(0.01, 0.99), steps=st.integers(3, 2000))
def test_the_peak_of_one_cycle_is_one_step_at_exactly_the_base_rate(style, share, steps):
    """Where the steps are too few for a peak and a last step at the end value, the peak gives way."""
    schedule = OneCycle(style=style, pct_start=share if style == "cosine" else share / 2)
    plan = schedule.bind(Horizon(steps))
    values, peak = factors(plan), plan.edges[0]
    has_room = peak < steps - 1 if style == "cosine" else peak < plan.edges[1]
    assert [step for step, value in enumerate(values) if value == 1.0] == ([peak] if has_room else [])
    assert values[-1] == 1e-5
    top = values.index(max(values))
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)


@deterministic(100)
@given(style=st.sampled_from(["cosine", "linear"]), steps=st.integers(3, 2000))
def test_with_the_usual_shares_every_run_from_three_steps_on_has_room_for_the_peak(style, steps):
    plan = OneCycle(style=style).bind(Horizon(steps))
    assert factors(plan).count(1.0) == 1
    assert plan.factor(plan.edges[0]) == 1.0


@every_cycle
def test_schedules_with_a_length_of_their_own_fit_a_run_of_that_length(name):
    schedule = TABLE[name]
    if schedule.epochs is None:
        assert schedule.stretched() is schedule
        return
    natural = schedule.bind(Horizon.of_steps(round(schedule.epochs * 24), 24))
    stretched = schedule.bind(natural.horizon, stretch=True)
    assert factors(natural) == pytest.approx(factors(stretched), abs=1e-12)
    assert natural.cycle_ends == stretched.cycle_ends


# -- continuity ------------------------------------------------------------------------------------------------------

SMOOTH = {
    "one_cycle": (OneCycle(), math.pi / 2 / 0.25),
    "one_cycle linear": (OneCycle(style="linear"), 0.96 / 0.45),
    "one_cycle late": (OneCycle(pct_start=0.9), math.pi / 2 / 0.1),
    "flat_cosine": (FlatCosine(), math.pi / 2 / 0.25),
    "cosine": (CosineAnnealing(), math.pi / 2),
    "clr": (CyclicalLR(cycles=3, low=0.1), 6 * 0.9),
    "clr triangular2": (CyclicalLR(cycles=3, low=0.1, mode="triangular2"), 6 * 0.9),
    "warm-up": (CosineAnnealing(warmup=1), 0.99 / 0.2),
    "warm-up, steep": (OneCycle(warmup=0.05, pct_start=0), 0.99 / 0.01),
}


@pytest.mark.parametrize("name", SMOOTH)
@deterministic(100)
@given(t=st.floats(0, 1), distance=st.floats(0, 0.1))
def test_no_jump_is_larger_than_the_steepest_slope(name, t, distance):
    schedule, slope = SMOOTH[name]
    epochs = schedule.epochs or 5.0
    rise = schedule(min(t + distance, 1.0), epochs=epochs) - schedule(t, epochs=epochs)
    assert abs(rise) <= slope * distance + 1e-9


@pytest.mark.parametrize("name", [name for name in SMOOTH if name != "warm-up, steep"])
@pytest.mark.parametrize("length", [20, 33, 200])
def test_no_step_of_a_bound_plan_is_larger_either(name, length):
    schedule, slope = SMOOTH[name]
    plan = schedule.bind(Horizon.of_epochs([length] * 5), stretch=True)
    values = factors(plan)
    shortest = min(end - start for start, end in pairwise([0, *plan.edges]))
    allowed = slope / plan.steps * shortest / (shortest - 1) * 1.1  # edges are rounded, ends are trained with
    assert max(abs(b - a) for a, b in pairwise(values)) <= allowed


# -- warm-up ---------------------------------------------------------------------------------------------------------


@every_schedule
@deterministic(10)
@given(
    length=st.sampled_from([20, 40]),
    rest=st.integers(5, 9),
    warmup=st.integers(1, 3),
    start=st.sampled_from([0.0, 0.01, 0.5, 1.0]),
)
def test_behind_its_warm_up_a_schedule_is_what_it_is_without(name, length, rest, warmup, start):
    bare = bound(TABLE[name], [length] * rest)
    plan = bound(replace(TABLE[name], warmup=warmup, warmup_start=start), [length] * (warmup + rest))
    ramp = warmup * length
    assert plan.edges == [ramp, *(edge + ramp for edge in bare.edges)]
    assert plan.cycle_ends == tuple(end + ramp for end in bare.cycle_ends)
    first = bare.factor(0)
    line = [first * (start + (1 - start) * i / ramp) for i in range(ramp)]
    assert max(abs(a - b) for a, b in zip(factors(plan), line + factors(bare), strict=True)) < 1e-12
    momenta = [plan.momentum(step) for step in range(plan.steps)]
    assert momenta == [bare.momentum(0)] * ramp + [bare.momentum(step) for step in range(bare.steps)]


# -- dataclasses -----------------------------------------------------------------------------------------------------


@every_schedule
def test_pickle_and_deep_copy_give_the_same_numbers(name):
    schedule = replace(TABLE[name], warmup=1)
    plan = schedule.bind(Horizon.of_epochs([13, 7, 20, 9, 11]), stretch=True)
    for twin in (pickle.loads(pickle.dumps(plan)), copy.deepcopy(plan)):
        assert twin == plan
        assert twin.cycle_ends == plan.cycle_ends
        assert factors(twin) == factors(plan)
        assert [twin.momentum(i) for i in range(60)] == [plan.momentum(i) for i in range(60)]
    for twin in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule)):
        assert twin == schedule
        assert twin is not schedule
        assert factors(twin.bind(plan.horizon, stretch=True)) == factors(plan)


@every_schedule
def test_repr_is_the_call_that_makes_it(name):
    schedule = TABLE[name]
    assert eval(repr(schedule), vars(lightcycle.schedules)) == schedule
    for setting in fields(schedule):
        assert f"{setting.name}={getattr(schedule, setting.name)!r}" in repr(schedule)


@every_schedule
def test_equality_looks_at_the_settings(name):
    schedule = TABLE[name]
    assert schedule != replace(schedule, warmup=0.25)
    assert replace(schedule, warmup=0.25) == replace(schedule, warmup=0.25)
    assert all(schedule != other for key, other in TABLE.items() if key != name)


def test_defaults_are_not_shared_between_schedules():
    first, second = OneCycle(), OneCycle()
    first.momentum[0] = 0.5
    assert second.momentum == [0.95, 0.85, 0.95]


def test_a_plan_keeps_its_numbers_when_the_schedule_is_changed_later():
    schedule = CosineAnnealing()
    plan = schedule.bind(Horizon(10))
    schedule.final = 0.5
    assert plan.factor(9) == 0.0
