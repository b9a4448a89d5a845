"""Step by step against ``torch.optim.lr_scheduler``, wherever torch has the same policy.

The two count differently in places, and the tests say where:

- torch's annealing ends at step N of N, one step after the last that trains; ours trains its last step at the end
  value. So torch gets ``N - 1`` as its length for a bound plan, or is compared with the continuous function at i / N.
- torch's OneCycleLR peaks at the real number ``pct_start N - 1``; ours at a whole step. Where torch's peak is whole,
  the two are equal step by step; elsewhere the continuous functions are, on torch's grid ``i / (N - 1)``.
"""

import math

import pytest
import torch
from torch.optim import SGD, AdamW, lr_scheduler

from lightcycle.schedules import (
    SGDR,
    Constant,
    CosineAnnealing,
    CyclicalLR,
    ExponentialDecay,
    Horizon,
    OneCycle,
    Polynomial,
    StepDecay,
)


def trace(steps, make, optimizer=SGD):
    """Rates and momenta (or beta1) of the steps that a torch scheduler leads; the base rate is 1."""
    options = {"momentum": 0.9} if optimizer is SGD else {}
    opt = optimizer([torch.nn.Parameter(torch.zeros(1))], lr=1.0, **options)
    scheduler, group = make(opt), opt.param_groups[0]
    rates, momenta = [], []
    for step in range(steps):
        rates.append(group["lr"])
        momenta.append(group["betas"][0] if "betas" in group else group["momentum"])
        opt.step()
        if step < steps - 1:
            scheduler.step()
    return rates, momenta


def even(epochs, length):
    return Horizon.of_epochs([length] * epochs)


def factors(plan):
    return [plan.factor(step) for step in range(plan.steps)]


def momenta(plan):
    return [plan.momentum(step) for step in range(plan.steps)]


def agree(values, expected):
    """Number by number; torch's chained forms add up rounding errors."""
    return max(abs(value - wanted) for value, wanted in zip(values, expected, strict=True)) <= 1e-10


# -- OneCycleLR ------------------------------------------------------------------------------------------------------


def torch_one_cycle(steps, pct, *, linear=False, optimizer=SGD):
    return trace(
        steps,
        lambda opt: lr_scheduler.OneCycleLR(
            opt,
            max_lr=1.0,
            total_steps=steps,
            pct_start=pct,
            anneal_strategy="linear" if linear else "cos",
            three_phase=linear,
            div_factor=20.0,
            final_div_factor=50.0,
        ),
        optimizer,
    )


def ours(pct, style="cosine"):
    return OneCycle(style=style, pct_start=pct, div=20.0, div_final=1000.0)  # torch divides the start: 20 * 50


@pytest.mark.parametrize("steps", [3, 4, 5, 6, 7, 10, 16, 25, 100])
def test_one_cycle_cosine_is_torch_at_every_whole_peak(steps):
    for peak in range(1, steps - 1):
        plan = ours(peak / steps).bind(Horizon(steps))
        rates, momentum = torch_one_cycle(steps, (peak + 1) / steps)
        assert agree(factors(plan), rates)
        assert agree(momenta(plan), momentum)


@pytest.mark.parametrize("steps", [4, 5, 6, 7, 10, 16, 25, 100])
def test_one_cycle_linear_is_torch_three_phase_at_every_whole_peak(steps):
    for peak in range(1, (steps - 2) // 2 + 1):  # at least two steps are left to annihilate
        plan = ours(peak / steps, "linear").bind(Horizon(steps))
        rates, momentum = torch_one_cycle(steps, (peak + 1) / steps, linear=True)
        assert agree(factors(plan), rates)
        assert agree(momenta(plan), momentum)


@pytest.mark.parametrize("steps", [5, 11, 50])
@pytest.mark.parametrize("pct", [0.25, 0.3, 0.45])
def test_one_cycle_as_a_function_of_time_is_torch_wherever_its_peak_lies(steps, pct):
    times = [i / (steps - 1) for i in range(steps)]
    cosine, linear = (ours((pct * steps - 1) / (steps - 1), style) for style in ("cosine", "linear"))
    assert agree([cosine(t) for t in times], torch_one_cycle(steps, pct)[0])
    assert agree([linear(t) for t in times], torch_one_cycle(steps, pct, linear=True)[0])


def test_one_cycle_moves_beta1_of_adam_as_torch_does():
    plan = ours(0.3).bind(Horizon(20))
    rates, beta1 = torch_one_cycle(20, 7 / 20, optimizer=AdamW)
    assert agree(factors(plan), rates)
    assert agree(momenta(plan), beta1)


def test_one_cycle_over_a_long_run():
    rates, momentum = torch_one_cycle(20_000, 5_001 / 20_000)
    plan = ours(0.25).bind(Horizon(20_000))
    assert agree(factors(plan), rates)
    assert agree(momenta(plan), momentum)


# -- CyclicLR --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
@pytest.mark.parametrize(("cycles", "half"), [(1, 1), (2, 1), (1, 5), (3, 8), (10, 4)])
def test_cyclic(mode, cycles, half):
    plan = CyclicalLR(mode=mode, cycles=cycles, step_size=1, low=0.2, gamma=0.98, momentum=[0.8, 0.9]).bind(
        even(2 * cycles, half)
    )
    rates, momentum = trace(
        plan.steps,
        lambda opt: lr_scheduler.CyclicLR(opt, base_lr=0.2, max_lr=1.0, step_size_up=half, mode=mode, gamma=0.98),
    )
    assert agree(factors(plan), rates)
    if mode == "triangular":  # torch shrinks the swing of momentum with the rate's; ours keeps its two bounds
        assert agree(momenta(plan), momentum)
    else:
        assert agree([min(momenta(plan)), max(momenta(plan))], [0.8, 0.9])


# -- CosineAnnealingWarmRestarts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mult", [1, 2, 3, 10])
@pytest.mark.parametrize("first", [1, 2, 5])
@pytest.mark.parametrize("final", [0.0, 0.1])
def test_warm_restarts_as_a_function_of_time(mult, first, final):
    """At i / N: torch leaves out the low end of each cycle, which a bound plan trains with, so the plans differ."""
    schedule = SGDR(cycles=3, cycle_len=first, cycle_mult=mult, final=final)
    steps = int(schedule.own_epochs)
    rates, _ = trace(
        steps, lambda opt: lr_scheduler.CosineAnnealingWarmRestarts(opt, T_0=first, T_mult=mult, eta_min=final)
    )
    assert agree([schedule(i / steps) for i in range(steps)], rates)


@pytest.mark.parametrize("mult", [1, 2, 3, 10])
@pytest.mark.parametrize("length", [1, 2, 4])
def test_every_bound_cycle_is_a_cosine_annealing_that_gets_to_its_end(mult, length):
    plan = SGDR(cycles=3, cycle_mult=mult, final=0.05).bind(even(1 + mult + mult**2, length))
    starts = [0, *plan.cycle_ends[:-1]]
    assert [end - start for start, end in zip(starts, plan.cycle_ends, strict=True)] == [
        length * mult**i for i in range(3)
    ]
    for start, end in zip(starts, plan.cycle_ends, strict=True):
        steps = end - start
        rates, _ = trace(
            steps, lambda opt, n=steps: lr_scheduler.CosineAnnealingLR(opt, T_max=max(n - 1, 1), eta_min=0.05)
        )
        assert agree([plan.factor(step) for step in range(start, end)], rates)


def test_a_restart_falls_on_the_step_where_torch_restarts():
    plan = SGDR(cycles=4, cycle_mult=3).bind(even(40, 5))
    rates, _ = trace(200, lambda opt: lr_scheduler.CosineAnnealingWarmRestarts(opt, T_0=5, T_mult=3))
    assert [i for i, value in enumerate(factors(plan)) if value == 1.0] == [0, 5, 20, 65]
    assert [i for i, rate in enumerate(rates) if rate == 1.0] == [0, 5, 20, 65]


# -- annealing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [2, 3, 30, 1000])
@pytest.mark.parametrize("final", [0.0, 0.25])
def test_cosine_annealing(steps, final):
    rates, _ = trace(steps, lambda opt: lr_scheduler.CosineAnnealingLR(opt, T_max=steps - 1, eta_min=final))
    assert agree(factors(CosineAnnealing(final=final).bind(Horizon(steps))), rates)


@pytest.mark.parametrize("steps", [2, 3, 30, 1000])
@pytest.mark.parametrize("power", [0.9, 1.0, 2.0])
def test_polynomial(steps, power):
    rates, _ = trace(steps, lambda opt: lr_scheduler.PolynomialLR(opt, total_iters=steps - 1, power=power))
    assert agree(factors(Polynomial(power=power).bind(Horizon(steps))), rates)


@pytest.mark.parametrize("steps", [1, 2, 500])
def test_exponential(steps):
    rates, _ = trace(steps, lambda opt: lr_scheduler.ExponentialLR(opt, gamma=0.98))
    assert agree(factors(ExponentialDecay(k=-math.log(0.98), unit="step").bind(Horizon(steps))), rates)


@pytest.mark.parametrize("length", [1, 2, 10])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_step(length, every):
    rates, _ = trace(7 * length, lambda opt: lr_scheduler.StepLR(opt, step_size=every * length, gamma=0.3))
    assert agree(factors(StepDecay(every=every, factor=0.3).bind(even(7, length))), rates)


@pytest.mark.parametrize("length", [1, 2, 10])
def test_milestones(length):
    drops = [length, 3 * length, 6 * length]
    rates, _ = trace(7 * length, lambda opt: lr_scheduler.MultiStepLR(opt, milestones=drops, gamma=0.5))
    assert agree(factors(StepDecay(milestones=[1, 3, 6], factor=0.5).bind(even(7, length))), rates)


@pytest.mark.parametrize("length", [1, 2, 10])
@pytest.mark.parametrize("start", [0.01, 1 / 3])
def test_linear_warm_up(length, start):
    rates, _ = trace(5 * length, lambda opt: lr_scheduler.LinearLR(opt, start_factor=start, total_iters=2 * length))
    assert agree(factors(Constant(warmup=2, warmup_start=start).bind(even(5, length))), rates)


def test_warm_up_in_front_of_a_cosine():
    warm, _ = trace(20, lambda opt: lr_scheduler.LinearLR(opt, start_factor=0.01, total_iters=20))
    fall, _ = trace(30, lambda opt: lr_scheduler.CosineAnnealingLR(opt, T_max=29))
    assert agree(factors(CosineAnnealing(warmup=2).bind(even(5, 10))), warm + fall)
