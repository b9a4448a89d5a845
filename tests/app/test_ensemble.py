"""After a run: the figures of the ensemble and of TTA, against passes made by hand."""

import json

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from torch.func import functional_call

from lightcycle.app.ensemble import after_run
from lightcycle.app.passes import Passes
from lightcycle.app.settings import read
from lightcycle.callbacks import ParamScheduler, SnapshotEnsemble
from lightcycle.data.in_turn import InTurn
from lightcycle.data.module import build
from lightcycle.ensembling import average_weights, choose_last, snapshots
from lightcycle.models.classifier import Classifier
from toys import quiet_trainer

FLIPS = ("data=digits", "data.limit=600", "data.crop=1", "model=mlp", "model.hidden=[12]", "optimizer.lr=0.1")
SNAPSHOT = (*FLIPS, "schedule=snapshot", "schedule.cycles=3", "epochs=3", "trainer=cpu")
CONV = ("data=digits", "data.limit=120", "data.crop=1", "model=resnet", "model.width=4", "trainer=cpu", "epochs=3")


@pytest.fixture
def trained(app, tmp_path):
    """A run of the library's pieces under the app's settings, and what ``after_run`` makes of it."""

    def job(*overrides, extra=(), keep=True):
        found = {}

        def train(config):
            settings = read(config)
            folder, data = tmp_path / "run", build(settings.data, settings.seed)
            torch.manual_seed(0)
            net = settings.model.build(channels=data.channels, size=data.size, classes=data.num_classes)
            module = Classifier(net, settings.optimizer.build)
            snapshot = [SnapshotEnsemble(folder=folder / "snapshots")] if keep else []
            best = ModelCheckpoint(folder / "checkpoints", monitor="val/acc", mode="max")
            trainer = quiet_trainer(
                max_epochs=3,
                callbacks=[ParamScheduler(settings.schedule), *snapshot, *extra, best],
                precision=settings.trainer.precision,
                enable_checkpointing=True,
            )
            trainer.fit(module, datamodule=data)
            before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
            found["figures"] = after_run(settings, folder, trainer, module, data)
            for name, tensor in module.state_dict().items():
                assert torch.equal(tensor, before[name]), name
            found.update(module=module, data=data, folder=folder, settings=settings)

        app(*overrides, job=train)
        HydraConfig.instance().cfg = None
        return found

    return job


def by_hand(run, state, part, view=lambda x: x, seed=None, epoch=0):
    """Probabilities and labels of a part, with a plain loop."""
    run["module"].eval()
    rule, said, labels = InTurn(n=getattr(run["data"].counts, part), batch_size=64, seed=seed), [], []
    for images, y in run["data"].make_loader(part, rule).load(epoch, 0):
        with torch.no_grad():
            logits = functional_call(run["module"], state, (view(run["data"].normalize(images)),))
        said.append(logits.softmax(1))
        labels.append(y)
    return torch.cat(said), torch.cat(labels)


def acc(p, y):
    return (p.argmax(1) == y).float().mean().item()


def test_the_table_is_what_passes_by_hand_give(trained, capsys):
    run = trained(*SNAPSHOT)
    kept = snapshots(run["folder"] / "snapshots")
    table = json.loads((run["folder"] / "snapshots" / "table.json").read_text())
    rows = {row["name"]: row for row in table["rows"]}
    states = [one.load() for one in kept]
    for part in ("val", "test"):
        said = [by_hand(run, state, part) for state in states]
        y = said[0][1]
        for one, (p, _) in zip(kept, said, strict=True):
            assert rows[f"step {one.step}"][part] == pytest.approx(acc(p, y))
        together = [acc(torch.stack([p for p, _ in said[-m:]]).mean(0), y) for m in (1, 2, 3)]
        assert [rows[f"last {m}"][part] for m in (1, 2, 3)] == pytest.approx(together)
        if part == "val":
            m = choose_last(torch.stack([p for p, _ in said]), y)
        assert run["figures"][f"{part}/acc_ensemble"] == pytest.approx(together[m - 1])
    assert run["figures"]["ensemble_members"] == m
    assert (run["figures"]["snapshots"], run["figures"]["snapshots_disagreement"]) == (
        table["rows"],
        table["disagreement"],
    )
    assert {"the run's model", "best checkpoint", "mean of the weights of 3"} < set(rows)
    assert rows["the run's model"]["test"] == rows[f"step {kept[-1].step}"]["test"]
    mean = average_weights(states)  # this net has no BatchNorm
    assert rows["mean of the weights of 3"]["val"] == pytest.approx(acc(*by_hand(run, mean, "val")))
    assert [row[i] for i, row in enumerate(table["disagreement"])] == [0.0] * 3
    assert (run["folder"] / "snapshots.png").read_bytes()[1:4] == b"PNG"
    pairs = [100 * table["disagreement"][i][j] for i, j in ((0, 1), (0, 2), (1, 2))]
    said = capsys.readouterr().out
    assert f"snapshots: {m} of 3 members, chosen on val" in said
    assert f"two members differ on {min(pairs):.1f} to {max(pairs):.1f} % of the validation images" in said


def test_images_are_read_once_and_weights_that_are_there_twice_asked_once(trained, monkeypatch):
    read, asked, images, every = [], [], Passes._images, Passes._pass

    def counted(self, part, view=None):
        read.append((part, view))
        return images(self, part, view)

    def seen(self, net, part, batches, states, text):
        asked.append(len(states))
        return every(self, net, part, batches, states, text)

    monkeypatch.setattr(Passes, "_images", counted)
    monkeypatch.setattr(Passes, "_pass", seen)
    trained(*SNAPSHOT, "tta={n: 2, beta: 0.4}")
    assert sorted(read, key=str) == [(part, view) for part in ("test", "val") for view in (0, 1, None)]
    assert set(asked) <= {4, 5}  # 3 members, their mean, the best; the last is a member, and the best may be


def test_tta_beside_the_plain_figures(trained):
    run = trained(*SNAPSHOT, "tta={n: 2, beta: 0.4}")
    for part in ("val", "test"):
        own = dict(run["module"].state_dict())
        plain, y = by_hand(run, own, part)
        views = [by_hand(run, own, part, seed=run["settings"].seed, epoch=k)[0] for k in range(2)]
        assert not torch.equal(views[0], views[1])
        by = 0.4 * plain + 0.6 * torch.stack(views).mean(0)
        assert run["figures"][f"{part}/acc_tta"] == pytest.approx(acc(by, y))
        assert f"{part}/acc_ensemble_tta" in run["figures"]
    rows = {row["name"]: row for row in json.loads((run["folder"] / "snapshots" / "table.json").read_text())["rows"]}
    assert rows["ensemble"]["test TTA"] == run["figures"]["test/acc_ensemble_tta"]
    assert rows["the run's model"]["val TTA"] == run["figures"]["val/acc_tta"]
    assert all("test TTA" in row for row in rows.values())


def test_a_fixed_set_without_snapshots(trained):
    run = trained(*SNAPSHOT, "tta={views: flips}", keep=False)
    own = run["module"].state_dict()
    (plain, y), (mirrored, _) = by_hand(run, own, "test"), by_hand(run, own, "test", lambda x: x.flip(-1))
    assert run["figures"] == {
        "val/acc_tta": run["figures"]["val/acc_tta"],
        "test/acc_tta": pytest.approx(acc((plain + mirrored) / 2, y)),
    }
    assert not (run["folder"] / "snapshots").exists()


def test_batchnorm_of_averaged_weights_is_made_anew(trained):
    run = trained(*CONV, "schedule=snapshot", "schedule.cycles=3", extra=[EMAWeightAveraging(decay=0.9)])
    rows = json.loads((run["folder"] / "snapshots" / "table.json").read_text())["rows"]
    assert "the run's model (EMA)" in [row["name"] for row in rows]
    states = [one.load() for one in snapshots(run["folder"] / "snapshots")]
    run["module"].load_state_dict(average_weights(states))
    images, batch = InTurn(n=run["data"].counts.train, batch_size=64), []
    for x, _ in run["data"].make_loader("train", images).load(0, 0):
        batch += [run["data"].normalize(x)] * (len(x) == 64)
    torch.optim.swa_utils.update_bn(batch, run["module"])
    mean = next(row for row in rows if row["name"].startswith("mean of the weights"))
    found = acc(*by_hand(run, run["module"].state_dict(), "val"))
    assert mean["val"] == pytest.approx(found)


def test_the_test_set_stays_closed(trained):
    run = trained(*SNAPSHOT, "test=none", "tta={views: flips}")
    assert {name.partition("/")[0] for name in run["figures"]} == {
        "val",
        "ensemble_members",
        "snapshots",
        "snapshots_disagreement",
    }


def test_without_validation_all_members_count(trained, capsys):
    run = trained(*SNAPSHOT, "trainer.limit_val_batches=0", "monitor=train/acc")
    assert run["figures"]["ensemble_members"] == 3
    assert "val/acc_ensemble" not in run["figures"]
    rows = {row["name"]: row for row in run["figures"]["snapshots"]}
    assert run["figures"]["test/acc_ensemble"] == rows["last 3"]["test"]
    assert "snapshots: 3 of 3 members, all for want of validation images" in capsys.readouterr().out


def test_limits_hold(trained):
    run = trained(*SNAPSHOT, "trainer.limit_val_batches=1", "trainer.limit_test_batches=0")
    p, y = by_hand(run, run["module"].state_dict(), "val")
    rows = json.loads((run["folder"] / "snapshots" / "table.json").read_text())["rows"]
    row = next(row for row in rows if row["name"] == "the run's model")
    assert row["val"] == pytest.approx(acc(p[:64], y[:64]))
    assert "test" not in row


def test_nothing_without_snapshots_and_tta(trained):
    assert trained(*SNAPSHOT, keep=False)["figures"] == {}


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["tta={n: 0}"], "tta.n must be >= 1 (got 0); 4 is usual, tta=null is off"),
        (["tta={beta: 2}"], "tta.beta must be between 0 and 1 (got 2); 0.25 is fast.ai's"),
        (["tta={views: spin}"], "tta.views must be one of augment, flips, shifts (got spin); augment is usual"),
        (["tta={n: 4}"], "tta.views=augment repeats the training augmentation, and there is none; switch some on"),
        (["tta={views: flips}", "features=cached"], "tta looks at images, and features=cached has none"),
        (
            ["schedule=constant", "+callbacks=snapshot_ensemble"],
            "callbacks.snapshot_ensemble keeps the model at the ends of cycles, and Constant has none; "
            "schedule=snapshot has equal ones, sgdr and clr have some",
        ),
    ],
)
def test_refusals(app, small, overrides, text):
    with pytest.raises(SystemExit) as error:
        app(*small, *overrides, job=read)
    assert text in str(error.value)


def test_typos_and_types_are_refused(app, small):
    known = "tta must be null or some of n, beta and views"
    for override, text in (("tta={m: 4}", known), ("tta=4", known), ("tta={n: many}", "many")):
        with pytest.raises(SystemExit) as error:
            app(*small, override, job=read)
        assert text in str(error.value)


def test_snapshots_of_an_older_run_in_the_folder_are_not_this_ones(app, small):
    first = app(*small, "schedule=snapshot", "schedule.cycles=2", "epochs=2", "+callbacks=snapshot_ensemble")
    summary = json.loads((first.folder / "summary.json").read_text())
    assert [row["name"] for row in summary["snapshots"]][:2] == ["step 5", "step 10"]
    assert summary["test/acc_ensemble"] in [row["test"] for row in summary["snapshots"]]
    for kept in ("summary.json", "checkpoints/last.ckpt"):  # with these it would be a run, and not overwritten
        (first.folder / kept).unlink()
    again = app(*small, "schedule=cosine", "epochs=1")
    assert not list((again.folder / "snapshots").iterdir())
    assert "snapshots" not in json.loads((again.folder / "summary.json").read_text())
