"""Progressive resizing through the command line: refused early, planned exactly, drawn, trained, told."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from torch import nn

from lightcycle.app import overview, perf
from lightcycle.app import plan as planning
from lightcycle.app.resizing import check_net, takes
from lightcycle.app.run import assemble
from lightcycle.app.settings import read
from lightcycle.callbacks import ParamScheduler, ProgressiveResizing
from lightcycle.data.count import count

NET = ("data=synthetic", "data.size=16", "data.n_train=100", "data.n_val=12", "data.n_test=12", "data.batch_size=8")
COMMON = (*NET, "schedule=one_cycle", "trainer.accelerator=cpu", "trainer.progress=false")
NET = (*COMMON, "model=resnet", "model.width=4")


def sizes(value="[8,12,16]", *more):
    return ["+callbacks=progressive_resizing", f"callbacks.progressive_resizing.sizes={value}", *more]


def both(config):
    """The plan that is drawn before a run, and the one that the run followed."""
    settings = read(config)
    counts = count(settings.data)
    plan = planning.bound(settings, planning.horizon(settings, counts))
    trainer, data, module = assemble(settings, Path(HydraConfig.get().runtime.output_dir), counts, plan)
    trainer.fit(module, datamodule=data)
    applied = next(c for c in trainer.callbacks if isinstance(c, ParamScheduler))
    drawn = planning.timeline(settings, plan, "").tracks["pixels"]
    resizing = next((c for c in trainer.callbacks if isinstance(c, ProgressiveResizing)), None)
    seen = planning.images(settings, counts, plan.steps)
    return SimpleNamespace(
        plan=plan.horizon,
        applied=applied.plan.horizon,
        steps=trainer.global_step,
        drawn=drawn,
        bound=resizing,
        seen=seen,
    )


@pytest.mark.parametrize(
    ("overrides", "lengths", "images"),
    [
        ([], [12] * 5, 480),
        (["callbacks.progressive_resizing.constant_pixels=true"], [3, 3, 6, 6, 12], 480),
        (["callbacks.progressive_resizing.constant_pixels=true", "data.drop_last=false"], [4, 4, 7, 7, 13], 584),
        (
            ["callbacks.progressive_resizing.constant_pixels=true", "trainer.limit_train_batches=5"],
            [3, 3, 5, 5, 5],
            392,
        ),
        (
            ["callbacks.progressive_resizing.constant_pixels=true", "trainer.accumulate_grad_batches=2"],
            [2, 2, 3, 3, 6],
            None,
        ),
        (["callbacks.progressive_resizing.constant_pixels=true", "trainer.max_steps=10"], [3, 3, 6], None),
        (["callbacks.progressive_resizing.constant_pixels=true", "epochs=4.5"], [3, 3, 6, 6, 12], None),
    ],
    ids=str,
)
def test_the_planned_steps_are_the_steps(overrides, lengths, images, app):
    at = "callbacks.progressive_resizing.at=[0,2,4]"
    run = app(*NET, "epochs=5", *sizes(), at, *overrides, job=both).value
    assert run.plan.lengths == run.applied.lengths == tuple(lengths)
    assert run.plan == run.applied
    assert run.steps == run.plan.steps
    assert images in (None, run.seen)
    starts = [sum(lengths[:epoch]) for epoch in (0, 2, 4) if epoch < len(lengths)]
    assert run.drawn == list(zip(starts, [8.0, 12.0, 16.0], strict=False))


def test_a_run_says_its_sizes(app, caplog):
    run = app(*NET, "epochs=3", *sizes(), "callbacks.progressive_resizing.bn_refresh=2")
    left = json.loads((run.folder / "summary.json").read_text())
    assert left["sizes"] == [{"epoch": e, "size": [s, s]} for e, s in enumerate((8, 12, 16))]
    assert left["resized"] == "resized by the loader"
    assert left["images_per_second"] == pytest.approx(288 / left["seconds"])
    assert "training images of 8 px, from epoch 1 12 px, from epoch 2 16 px; resized by the loader" in caplog.text
    assert "measured over 2 batches" in caplog.text


@pytest.mark.parametrize("step", [3, 5, 6])
def test_resume_at_and_inside_a_change_is_the_straight_run(step, app, tmp_path):
    options = (*NET, "epochs=3", "test=none", *sizes(), "callbacks.progressive_resizing.constant_pixels=true")
    each = [
        "+callbacks.each._target_=lightning.pytorch.callbacks.ModelCheckpoint",
        f"+callbacks.each.dirpath={tmp_path}/each",
        "+callbacks.each.filename='{step}'",
        "+callbacks.each.every_n_train_steps=1",
        "+callbacks.each.save_top_k=-1",
    ]
    straight = app(*options, *each, folder=tmp_path / "straight")
    cut = app(*options, f"resume='{tmp_path}/each/step={step}.ckpt'", folder=tmp_path / "cut")
    one, two = (
        torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (straight, cut)
    )
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def test_the_picture_of_a_plan_has_the_sizes(app):
    def tracks(config):
        settings = read(config)
        run = planning.horizon(settings, count(settings.data))
        return overview.planned([settings], [planning.bound(settings, run)], "", [{}]).tracks

    assert app(*NET, "epochs=3", *sizes(), job=tracks).value["pixels"] == [(0, 8.0), (12, 12.0), (24, 16.0)]
    ramp = app(*NET, "epochs=10", "+callbacks=progressive_resizing", job=tracks).value["pixels"]
    assert ramp == [(0, 8.0), (60, 12.0), (84, 16.0)]
    assert not app(*NET, job=tracks).value.get("pixels")


REFUSED = [
    (sizes("[12,8]"), r"sizes must be pixels that increase \(got \[12, 8\]\)"),
    (sizes("[8,16]", "callbacks.progressive_resizing.fractions=[0.1,0.5]"), "fractions below 1 that start at 0"),
    (sizes("[8,12,16]", "epochs=2"), "has 3 sizes beginning at epochs 0, 1, 1 of a run of 2 epochs"),
    (sizes("[8,16]", "debug=overfit"), "keeps them; drop one"),
    (sizes("[8,16]", "callbacks.progressive_resizing.siezs=1"), "siezs"),
    (
        sizes("[8,16]", "model=mlp"),
        "MLP cannot take them: the smallest square it takes is 16; start there, or take another net",
    ),
    (sizes("[8,16]", "callbacks.progressive_resizing.bn_refresh=-1"), "bn_refresh must be batches >= 0"),
    (
        sizes("[16,128]", "data.size=128", "model=torchvision", "model.name=alexnet"),
        "AlexNet cannot take them: the smallest square it takes is 63",
    ),
    (["model=mlp", "data.eval_size=20"], r"data.eval_size has images of 20x20 px, and MLP .* only; null is data.size"),
    (
        ["+callbacks=progressive_resizing", "features=cached"],
        "callbacks.progressive_resizing is for the body of the net, which features=cached does not run",
    ),
]


@pytest.mark.parametrize(("overrides", "message"), REFUSED, ids=lambda x: x[1] if isinstance(x, list) else "")
def test_a_mistake_is_said_before_data_is_touched(overrides, message, app, monkeypatch):
    from lightcycle.data.module import MemoryData

    monkeypatch.setattr(MemoryData, "setup", lambda *_: pytest.fail("the data was read before the mistake was met"))
    with pytest.raises(SystemExit) as error:
        app(*COMMON, "epochs=4", *overrides)
    assert re.search(message, str(error.value.code)), error.value.code


@pytest.mark.parametrize(
    ("drop_last", "least", "message"), [("true", 8, "9 sizes, which take 10"), ("false", 12, "5 sizes, which take 11")]
)
def test_more_sizes_than_torch_compiles_are_refused(drop_last, least, message, app, monkeypatch):
    monkeypatch.setattr(perf.shutil, "which", lambda name: name if name in perf.COMPILERS else None)
    sized = sizes(f"[{','.join(map(str, range(least, 17)))}]", f"data.drop_last={drop_last}")
    with pytest.raises(SystemExit, match=f"{message} graphs where torch stops at 8"):
        app(*NET, "epochs=10", "perf=compile", *sized)


def test_a_net_that_nobody_can_ask_is_not_judged(app):
    class Asks(nn.Linear):
        def forward(self, images):
            return images.mean().item()  # shapes have no numbers

    def job(config):
        settings = read(config)
        return check_net(settings, Asks(1, 1), count(settings.data))

    assert app(*NET, "epochs=3", *sizes(), job=job).value is None
    assert not takes(Asks(1, 1).to("meta"), 3, (8, 8))
