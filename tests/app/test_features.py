"""``features=cached`` end to end: what it leaves is a run of the whole net; what it cannot follow it refuses."""

import json

import pytest
import torch

from lightcycle.data.config import SyntheticConfig
from lightcycle.data.module import build
from lightcycle.models import Classifier, ResNetConfig, SGDConfig
from toys import quiet_trainer

TINY = ("data=synthetic", "data.size=6", "data.n_train=40", "data.n_val=12", "data.n_test=12", "data.batch_size=8")
NET = (
    "model=resnet",
    "model.width=4",
    "model.dropout=0.2",
    "trainer.accelerator=cpu",
    "schedule=one_cycle",
    "epochs=2",
)


@pytest.fixture
def cached(app, tmp_path):
    def run(*overrides, **options):
        cache = f"features_cache={tmp_path / 'cache'}"
        return app("features=cached", cache, *TINY, *NET, *overrides, **options)

    return run


def summary(run):
    return json.loads((run.folder / "summary.json").read_text())


def weights(run, file="last"):
    return torch.load(run.folder / "checkpoints" / f"{file}.ckpt", weights_only=True)["state_dict"]


def figures_from_images(run):
    """The test set, from pixels, through the whole net that the run has left."""
    data = build(SyntheticConfig(size=6, n_train=40, n_val=12, n_test=12, batch_size=8))
    net = ResNetConfig(width=4, dropout=0.2).build(channels=3, size=(6, 6), classes=10)
    module = Classifier(net, SGDConfig().build)
    module.load_state_dict(weights(run))
    return quiet_trainer().test(module, datamodule=data, verbose=False)[0]


def test_what_it_leaves_is_a_run_of_the_whole_net(cached):
    run = cached()
    left, live = summary(run), figures_from_images(run)
    assert left["features"] == "cached"
    assert left["features_seconds"] > 0
    assert (left["test/acc"], left["test/loss"]) == pytest.approx((live["test/acc"], live["test/loss"]), abs=1e-5)


def test_only_the_head_has_moved(cached, tmp_path):
    before = weights(cached("lr=1e-30", "trainer.max_steps=1", folder=tmp_path / "start"))
    after = weights(cached())
    assert [name for name in before if not torch.equal(before[name], after[name])] == [
        "net.head.1.weight",
        "net.head.1.bias",
    ]


def test_it_says_what_is_cached_and_that_the_second_run_finds_it(cached, capsys, tmp_path):
    cached("data.limit=24")
    assert "features cached in" in (said := capsys.readouterr().out)
    assert "(fp32, 1 of each training image): trained, validated and tested on; only the head head.1 trains\n" in said
    run = cached("data.limit=24", "label_smoothing=0.1", folder=tmp_path / "second")
    assert summary(run)["features_seconds"] == 0


def test_the_order_is_that_of_live_training(cached, app, tmp_path, monkeypatch):
    from lightcycle.models import classifier

    seen = []
    original = classifier.Classifier.training_step

    def step(self, batch, batch_idx):
        seen.append(batch[1].tolist())
        return original(self, batch, batch_idx)

    monkeypatch.setattr(classifier.Classifier, "training_step", step)
    cached()
    kept = list(seen)
    seen.clear()
    app(*TINY, *NET, folder=tmp_path / "live")
    assert kept == seen


def test_it_resumes_in_the_middle(cached, tmp_path):
    straight = cached("epochs=3", "callbacks.checkpoint.save_top_k=-1", folder=tmp_path / "straight")
    saved = straight.folder / "checkpoints" / "best-0.ckpt"
    resumed = cached("epochs=3", f"resume={saved}", folder=tmp_path / "resumed")
    for name, tensor in weights(straight).items():
        assert torch.equal(tensor, weights(resumed)[name]), name


def test_a_resumed_run_has_the_features_of_its_checkpoints_body(cached, tmp_path):
    other = cached("seed=1", "epochs=1", folder=tmp_path / "other")
    run = cached(f"resume={other.folder / 'checkpoints' / 'last.ckpt'}", "on_resume=replan")
    before, after = weights(other), weights(run)
    assert {name.rpartition(".")[0] for name in before if not torch.equal(before[name], after[name])} == {"net.head.1"}
    keys = [json.loads(path.read_text())["key"] for path in (tmp_path / "cache").rglob("*.json")]
    assert len({key["weights"] for key in keys}) == 1  # no features of the body that seed 0 draws


@pytest.mark.filterwarnings("ignore:LR finder. no suggestion")  # a random body leaves little to learn
def test_the_finder_runs_on_the_cache_and_leaves_no_trace(cached, tmp_path):
    plain, run = cached(), cached("+callbacks=lr_finder", "callbacks.lr_finder.apply=false", folder=tmp_path / "with")
    assert len(summary(run)["lr_find"]) == 1
    assert all(torch.equal(tensor, weights(run)[name]) for name, tensor in weights(plain).items())


def test_copies_are_taken_where_augmentation_is_asked_for(cached, tmp_path):
    run = cached("data.flip=true", "data.crop=1", "features_copies=2", "features_dtype=fp16")
    rows = [json.loads(path.read_text())["key"] for path in (tmp_path / "cache").rglob("*.json")]
    assert {row["copies"] for row in rows} == {1, "2 (crop 1, flip True, seed 0)"}
    assert summary(run)["features"] == "cached"


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["features=yes"], "features must be one of live, cached (got yes); live is usual"),
        (["features_copies=0"], "features_copies must be >= 1 (got 0); 1 is usual"),
        (["features_dtype=fp8"], "features_dtype must be one of fp32, fp16 (got fp8); fp32 is usual"),
        (["features_cache=null"], "features_cache must be a folder (got null); outputs/cache is usual"),
        (["features_copies=4"], "features_copies=4 needs features=cached (got live); add it, or drop features_copies"),
        (
            ["features=cached", "features_copies=4"],
            "features_copies must be 1 where no augmentation tells copies apart",
        ),
        (
            ["features=cached", "data.flip=true"],
            "data.flip=true changes nothing with features=cached, which are computed once from images as they are; "
            "drop it, set features=live, or keep augmented copies: features_copies=4",
        ),
        (["features=cached", "data.crop=2"], "data.crop=2 changes nothing with features=cached"),
        (["features=cached", "data.erase=0.5"], "data.erase=0.5 changes nothing with features=cached"),
        (
            ["features=cached", "data=image_folder", "data.scale=[0.5,1]"],
            "data.scale=[0.5,1.0] changes nothing with features=cached",
        ),
        (  # what the set would do by itself, but typed
            ["features=cached", "data=cifar10", "data.flip=true"],
            "data.flip=true changes nothing with features=cached",
        ),
        (
            ["features=cached", "+callbacks.mine._target_=lightcycle.callbacks.GradualUnfreezing"],
            "callbacks.mine is for the body of the net, which features=cached does not run; leave it out with "
            "~callbacks.mine, or set features=live",
        ),
    ],
)
def test_what_it_cannot_follow_is_refused(overrides, text, app):
    with pytest.raises(SystemExit) as error:
        app(*overrides)
    assert text in str(error.value.code)


def test_a_sets_own_augmentation_is_left_out_and_said_to_be(app, tmp_path, capsys):
    import numpy as np
    from PIL import Image

    for place in ("train/a", "train/b", "val/a", "val/b"):
        (tmp_path / "pets" / place).mkdir(parents=True)
        for i in range(2):
            pixels = np.random.default_rng(i).integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / place / f"{i}.png")
    photos = ("data=image_folder", f"data.root={tmp_path / 'pets'}", "data.size=8", "data.batch_size=4")
    app(*photos, "data.num_workers=0", "features=cached", f"features_cache={tmp_path / 'cache'}", *NET)
    said = capsys.readouterr().out
    assert "; left out: scale [0.35, 1.0], ratio [0.75, 1.3333333333333333], flip True\n" in said
    assert {path.parent.parent.name for path in (tmp_path / "cache").rglob("*.npy")} == {"pets-resnet"}


def test_weights_bring_their_statistics_and_say_so(app, tmp_path, capsys):
    from lightcycle.models import TorchvisionConfig

    config = TorchvisionConfig(name="mnasnet0_5")
    path = tmp_path / "weights.pth"
    torch.save(config.build(channels=3, size=(32, 32), classes=3).state_dict(), path)
    app(
        *TINY,
        "data.size=32",
        "model=torchvision",
        "model.name=mnasnet0_5",
        f"model.weights={path}",
        *NET[3:],
        "epochs=1",
    )
    said = capsys.readouterr().out
    assert "images normalized as the weights know them: mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225\n" in said


@pytest.mark.slow
def test_two_processes_fill_once_and_train_what_one_trains(cached, tmp_path):
    import os
    import subprocess
    import sys

    from lightcycle.app.schema import PROJECT

    one = cached("model.dropout=0", folder=tmp_path / "one")
    overrides = (
        *TINY,
        *NET,
        "model.dropout=0",
        "features=cached",
        f"features_cache={tmp_path / 'other'}",
        "trainer=ddp",
    )
    done = subprocess.run(
        [sys.executable, PROJECT / "train.py", *overrides, f"hydra.run.dir={tmp_path / 'two'}"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("40 train images through the body") == 1
    two = torch.load(tmp_path / "two" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name, tensor in weights(one).items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-6)
