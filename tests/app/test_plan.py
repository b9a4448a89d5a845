"""The plan is what the run then does, for every way to cut, stretch or gather its steps."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.hydra_config import HydraConfig

from lightcycle.app import plan as planning
from lightcycle.app.run import assemble
from lightcycle.app.settings import read
from lightcycle.callbacks import ParamScheduler, Recorder
from lightcycle.data.count import count


def both(config):
    """What was planned from counts alone, and what a fit then really did."""
    settings = read(config)
    counts = count(settings.data)
    plan = planning.bound(settings, planning.horizon(settings, counts))
    trainer, data, module = assemble(settings, Path(HydraConfig.get().runtime.output_dir), counts, plan)
    trainer.fit(module, datamodule=data)
    applied, record = (next(c for c in trainer.callbacks if isinstance(c, kind)) for kind in (ParamScheduler, Recorder))
    rates = [rates[0] for _, rates, *_ in record.points]
    return SimpleNamespace(
        plan=plan, applied=applied.plan, rates=rates, steps=trainer.global_step, lr=settings.lr, record=record
    )


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        ([], 35),
        (["epochs=2"], 10),
        (["epochs=2.5"], 12),
        (["epochs=0.6", "schedule=one_cycle"], 3),
        (["data.drop_last=false", "data.batch_size=12"], 28),
        (["data.batch_size=12"], 21),
        (["data.batch_size=64", "schedule=cosine"], 7),  # one smaller batch an epoch, although drop_last
        (["data.limit=17", "schedule=cosine"], 14),
        (["trainer.accumulate_grad_batches=2"], 21),  # windows of 2, 2 and 1 batches
        (["trainer.accumulate_grad_batches=4", "trainer.max_steps=10"], 10),
        (["trainer.accumulate_grad_batches=2", "epochs=1.5", "schedule=polynomial"], 4),
        (["trainer.max_steps=11"], 11),
        (["trainer.max_steps=1000"], 35),
        (["trainer.max_steps=35"], 35),
        (["trainer.limit_train_batches=3"], 21),
        (["trainer.limit_train_batches=1", "schedule=clr"], 8),
        (["trainer.limit_train_batches=0.7", "schedule=one_cycle"], 21),
        (["trainer.overfit_batches=2", "schedule=step"], 14),
        (["trainer.overfit_batches=0.5", "data.eval_batch_size=6", "schedule=exponential"], 14),
        (["schedule.warmup=0.5", "schedule.cycles=2"], 18),
        (["schedule=step", "schedule.milestones=[1,2]", "epochs=3"], 15),
        (["schedule=flat_cosine", "epochs=1"], 5),
        (["debug=one_batch"], 7),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_the_planned_steps_are_the_steps(overrides, steps, app, small):
    run = app(*small, "trainer.progress=false", *overrides, job=both).value
    assert run.plan.horizon == run.applied.horizon
    assert run.plan.cycle_ends == run.applied.cycle_ends
    assert run.plan.steps == run.steps == steps
    assert run.rates == [run.lr * run.plan.factor(step) for step in range(steps)]


def test_the_plan_is_told_in_epochs_steps_and_images(app, capsys):
    def tell(config):
        settings = read(config)
        counts = count(settings.data)
        return planning.describe(settings, planning.bound(settings, planning.horizon(settings, counts)), counts)

    said = app("data=fashion_mnist", "schedule=sgdr", job=tell).value
    assert said.startswith(
        "7 epochs, 3,003 steps, about 384,384 images (55,000 training, 5,000 validation, 10,000 test"
    )
    assert said.endswith("cycles end at steps 429, 1287, 3003")
    assert app("epochs=1", "schedule=constant", job=tell).value.startswith("1 epoch, 39 steps, about 1,248 images")
