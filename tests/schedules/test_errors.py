"""Every refusal, word by word: the key, the value, the legal range, a hint."""

import math
import re
from dataclasses import fields

import pytest

from lightcycle.schedules import (
    SCHEDULES,
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
    Schedule,
    StepDecay,
)

NO_EPOCHS = (
    "this run has no epochs, because its data has no length: say how many optimizer steps make an epoch "
    "(ParamScheduler(..., steps_per_epoch=500))"
)


def refused(text):
    return pytest.raises(ValueError, match=f"^{re.escape(text)}$")


VALUES = [
    (Constant, {"warmup": -1}, "must be >= 0 (got -1); 0 is off, 0.5 is half an epoch"),
    (Constant, {"warmup_start": 1.5}, "must be between 0 and 1 (got 1.5); 0.01 starts at a hundredth of the rate"),
    (SGDR, {"cycles": 0}, "must be >= 1 (got 0); 3 cycles of 1, 2 and 4 epochs are the default"),
    (SGDR, {"cycle_len": 0}, "must be > 0 (got 0); it is in epochs; null stretches the cycles over the run"),
    (SGDR, {"cycle_mult": 0}, "must be > 0 (got 0); 1 = equal cycles, 2 = each cycle twice as long"),
    (SGDR, {"decay": 1.1}, "must be between 0 and 1 (got 1.1); 1 restarts at the full rate"),
    (SGDR, {"final": -0.1}, "must be between 0 and 1 (got -0.1); 0 anneals to nothing"),
    (CyclicalLR, {"mode": "sine"}, "must be one of triangular, triangular2, exp_range (got 'sine')"),
    (CyclicalLR, {"cycles": 0}, "must be >= 1 (got 0); each cycle goes up and down once"),
    (
        CyclicalLR,
        {"step_size": 0},
        "must be > 0 (got 0); it is half a cycle in epochs; null stretches the cycles over the run",
    ),
    (CyclicalLR, {"low": 2}, "must be between 0 and 1 (got 2); 0.25 is a fourth of the high bound"),
    (CyclicalLR, {"gamma": 1.01}, "must be between 0 and 1 (got 1.01); 0.9999 per step shrinks slowly"),
    (
        CyclicalLR,
        {"momentum": [0.9]},
        "must be 2 numbers >= 0 and < 1, like [0.85,0.95] (got [0.9]); null leaves momentum alone",
    ),
    (OneCycle, {"style": "poly"}, "must be one of cosine, linear (got 'poly')"),
    (OneCycle, {"div": 0.5}, "must be >= 1 (got 0.5); 25 is fast.ai's, 10 is Smith's"),
    (
        OneCycle,
        {"div_final": 10},
        "must be >= 25 (got 10); the end must not be above the start; 1e5 is fast.ai's",
    ),
    (OneCycle, {"pct_start": 1.0}, "must be >= 0 and < 1 (got 1.0); something must be left to fall"),
    (
        OneCycle,
        {"pct_start": 0.5, "style": "linear"},
        "must be >= 0 and < 0.5 (got 0.5); something must be left to fall",
    ),
    (
        OneCycle,
        {"pct_start": 0, "style": "linear"},
        "must be > 0 (got 0); at 0 the lines never reach the peak; 0.45 is Smith's",
    ),
    (
        OneCycle,
        {"momentum": [0.95, 0.85, 1.0]},
        "must be 3 numbers >= 0 and < 1, like [0.95,0.85,0.95] (got [0.95, 0.85, 1.0]); null leaves momentum alone",
    ),
    (StepDecay, {"every": 0}, "must be > 0 (got 0); 30 drops the rate after every 30 epochs"),
    (StepDecay, {"factor": 0}, "must be > 0 (got 0); 0.1 divides the rate by ten"),
    (StepDecay, {"milestones": []}, "must be epochs that increase (got []); try [3,5]"),
    (StepDecay, {"milestones": [3, 3]}, "must be epochs that increase (got [3, 3]); try [3,5]"),
    (StepDecay, {"milestones": [0, 3]}, "must be > 0 (got [0, 3]); the first drop ends a phase"),
    (ExponentialDecay, {"k": -1}, "must be >= 0 (got -1); 0.69 halves the rate in one unit"),
    (ExponentialDecay, {"unit": "batch"}, "must be one of epoch, step (got 'batch')"),
    (InverseTimeDecay, {"k": -1}, "must be >= 0 (got -1); 1.0 halves the rate after the first unit"),
    (InverseTimeDecay, {"unit": "epochs"}, "must be one of epoch, step (got 'epochs')"),
    (CosineAnnealing, {"final": 2}, "must be between 0 and 1 (got 2); 0 anneals to nothing"),
    (Polynomial, {"power": 0}, "must be > 0 (got 0); 1 is a straight line, 2 is steeper at the start"),
    (Polynomial, {"final": -1}, "must be between 0 and 1 (got -1); 0 anneals to nothing"),
    (FlatCosine, {"pct_start": 1}, "must be >= 0 and < 1 (got 1); 0.75 is fast.ai's"),
    (FlatCosine, {"div_final": 0}, "must be >= 1 (got 0); 1e5 ends at a hundred-thousandth of the rate"),
    (ReduceOnPlateau, {"mode": "best"}, "must be one of min, max (got 'best')"),
    (ReduceOnPlateau, {"factor": 0}, "must be > 0 (got 0); 0.1 divides the rate by ten"),
    (ReduceOnPlateau, {"factor": 1}, "must be >= 0 and < 1 (got 1); a reduction makes the rate smaller"),
    (
        ReduceOnPlateau,
        {"patience": -1},
        "must be >= 0 (got -1); 2 waits for two validations without improvement",
    ),
    (
        ReduceOnPlateau,
        {"threshold": -1e-4},
        "must be >= 0 (got -0.0001); 1e-4 counts an improvement of a hundredth of a percent",
    ),
    (ReduceOnPlateau, {"cooldown": -1}, "must be >= 0 (got -1); 0 counts at once"),
    (ReduceOnPlateau, {"min_factor": 2}, "must be between 0 and 1 (got 2); 0 sets no floor"),
    (Halving, {"after": 0}, "must be > 0 (got 0); the first halving ends an epoch"),
    (Halving, {"every": -2}, "must be > 0 (got -2); 1 halves after every epoch"),
    (Halving, {"at_accuracy": [90]}, "must be between 0 and 1 (got [90]); 0.9 is 90 %"),
    (Halving, {"at_loss": [math.inf]}, "must be finite (got [inf]); try [0.5]"),
]


@pytest.mark.parametrize(("kind", "settings", "text"), VALUES, ids=lambda v: v.__name__ if isinstance(v, type) else "")
def test_values_out_of_range(kind, settings, text):
    with refused(f"schedule.{next(iter(settings))} {text}"):
        kind(**settings)


def not_numbers():
    for kind in SCHEDULES.values():
        for setting in fields(kind):
            default = getattr(kind(), setting.name)
            if "float" in str(setting.type) or isinstance(default, int | float):
                yield pytest.param(kind, setting, id=f"{kind.__name__}.{setting.name}")


@pytest.mark.parametrize(("kind", "setting"), list(not_numbers()))
def test_not_a_number_is_refused_everywhere(kind, setting):
    wrong = [math.nan] * 3 if setting.name == "momentum" and kind is OneCycle else [math.nan] * 2
    value = wrong if "list" in str(setting.type) else math.nan
    with pytest.raises(ValueError, match=rf"^schedule\.{setting.name} must be .*nan"):
        kind(**{setting.name: value})


def test_one_milestone_that_is_not_a_number():
    for milestones in ([math.nan], [1, math.nan, 3], [1, math.nan]):
        with pytest.raises(ValueError, match=r"^schedule\.milestones must be .*nan"):
            StepDecay(milestones=milestones)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_misspelled_name_and_a_bare_value_are_refused(name):
    with pytest.raises(TypeError, match="warmupp"):
        SCHEDULES[name](warmupp=1)
    with pytest.raises(TypeError, match="positional"):
        SCHEDULES[name](3)


# -- the run ---------------------------------------------------------------------------------------------------------

FIVE = Horizon.of_epochs([10] * 5)


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (
            SGDR(),
            "SGDR is 7 epochs long (1 + 2 + 4) and the run is 5: make the run 7 epochs, or stretch the schedule over "
            "it (cycle_len=null in YAML, None in Python)",
        ),
        (
            SGDR(cycles=2, cycle_len=0.5, warmup=1),
            "SGDR is 2.5 epochs long (warm-up 1 + 0.5 + 1) and the run is 5: make the run 2.5 epochs, or stretch the "
            "schedule over it (cycle_len=null in YAML, None in Python)",
        ),
        (
            CyclicalLR(),
            "CyclicalLR is 8 epochs long (8) and the run is 5: make the run 8 epochs, or stretch the schedule over it "
            "(step_size=null in YAML, None in Python)",
        ),
        (
            CyclicalLR(cycles=1, warmup=0.5),
            "CyclicalLR is 4.5 epochs long (warm-up 0.5 + 4) and the run is 5: make the run 4.5 epochs, or stretch the "
            "schedule over it (step_size=null in YAML, None in Python)",
        ),
        (
            StepDecay(milestones=[3, 5]),
            "schedule.milestones=[3, 5] reaches past the end of a run of 5 epochs; drop the milestones that never "
            "come, or make the run longer",
        ),
        (
            StepDecay(milestones=[4], warmup=1),
            "schedule.milestones=[4] reaches past the end of a run of 5 epochs behind its warm-up of 1; drop the "
            "milestones that never come, or make the run longer",
        ),
        (Constant(warmup=5), "schedule.warmup=5 epochs leaves nothing of a run of 5; make it shorter"),
        (
            SGDR(cycles=60, cycle_len=None),
            "schedule.cycles=60 does not fit into a run of 50 steps: some cycles would have none; use fewer, or "
            "a longer run",
        ),
        (
            SGDR(cycles=8, cycle_len=None, cycle_mult=3, warmup=1),
            "schedule.cycles=8 does not fit into a run of 50 steps: some cycles would have none; use fewer, or "
            "a longer run",
        ),
    ],
)
def test_schedules_that_do_not_fit_the_run(schedule, text):
    with refused(text):
        schedule.bind(FIVE)


def test_a_stretched_schedule_fits_every_run():
    assert SGDR(cycles=3).bind(FIVE, stretch=True).cycle_ends == (7, 21, 50)
    assert CyclicalLR(cycles=2).bind(FIVE, stretch=True).cycle_ends == (25, 50)
    assert StepDecay(milestones=[3, 50]).bind(FIVE, stretch=True).factor(49) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("schedule", "setting"),
    [
        (Constant(warmup=2), "warmup=2"),
        (StepDecay(), "every"),
        (StepDecay(milestones=[3]), "milestones"),
        (Halving(), "every"),
        (Halving(after=1), "after"),
        (ExponentialDecay(), "k"),
        (InverseTimeDecay(), "k"),
    ],
)
def test_settings_in_epochs_need_epochs(schedule, setting):
    with refused(f"schedule.{setting} is in epochs and {NO_EPOCHS}"):
        schedule.bind(Horizon(100))
    with refused(f"schedule.{setting} is in epochs and {NO_EPOCHS}"):
        schedule(0.5)


@pytest.mark.parametrize("kind", [ExponentialDecay, InverseTimeDecay])
def test_settings_per_step_need_the_number_of_steps(kind):
    with refused("schedule.k is per step here: say how many steps the run has (steps=...)"):
        kind(unit="step")(0.5)


def test_exp_range_needs_the_number_of_steps():
    with refused("schedule.gamma is per step: say how many steps the run has (steps=...)"):
        CyclicalLR(mode="exp_range")(0.5)


def test_a_schedule_of_your_own_says_what_its_phases_are():
    with pytest.raises(NotImplementedError):
        Schedule()(0.5)
