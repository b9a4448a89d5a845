"""scripts/evaluate.py on runs that train.py has left: its figures are the run's, its choices are made on validation."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from matplotlib.image import imread
from omegaconf import OmegaConf
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_confusion_matrix

from finished import ask
from lightcycle.app.kept import model
from lightcycle.app.mistakes import mistakes
from lightcycle.app.reload import reload, settings
from lightcycle.app.schema import PROJECT
from lightcycle.ensembling import choose_last, combine, probabilities, save_snapshot, snapshots

SHORT = ("schedule=one_cycle", "epochs=2", "trainer.progress=false")


@pytest.fixture
def run(app, small, tmp_path):
    return app(*small, "data.crop=1", *SHORT).folder


@pytest.fixture
def evaluate(monkeypatch):
    def call(folder, *arguments):
        return ask(monkeypatch, "evaluate", f"run={folder}", "device=cpu", *arguments)

    return call


def predicted(folder, name="last", part="test"):
    """Probabilities and labels, by a loop of its own."""
    saved, data, module = reload(folder)
    net = model(saved, module, name)
    batches = [data.normalize(images) for images, _ in data.eval_loader(part)]
    return probabilities(net, batches), data.labels(part)


def with_snapshots(folder, n=3):
    """Snapshots of nets that are worse the later they come: the last alone is never best."""
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    numbers = torch.Generator().manual_seed(0)
    for step in range(1, n + 1):
        other = {k: v + 0.2 * step * torch.randn(v.shape, generator=numbers) for k, v in state.items()}
        save_snapshot(folder / "snapshots", other, {"step": step, "cycle": step})


def test_the_last_weights_have_the_runs_own_figures(run, evaluate):
    summary = json.loads((run / "summary.json").read_text())
    for part in ("test", "val"):
        last, best = evaluate(run, f"part={part}", "tta=null")["rows"]
        assert (last["weights"], best["weights"], last["tta"]) == ("last", "best", None)
        assert last["acc"] == pytest.approx(summary[f"{part}/acc"], abs=1e-7)
        assert last["loss"] == pytest.approx(summary[f"{part}/loss"], abs=1e-6)


def test_what_it_leaves(run, evaluate, capsys):
    found = evaluate(run, "tta.views=shifts", "wrong=3")
    count = f"{found['images']} test images"
    assert capsys.readouterr().out.splitlines()[-2] == f"evaluated: weights last, best on {count}; pictures: last"
    evaluate(run, "part=val", "tta=null")
    both = json.loads((run / "evaluate.json").read_text())
    assert both["test"]["rows"] == found["rows"]
    assert set(both) == {"val", "test"}
    page = (run / "evaluate.md").read_text()
    for name in ("confusion", "reliability", "most_wrong"):
        for part in both:
            assert imread(run / f"{name}_{part}.png").shape[1] > 400
            assert f"]({name}_{part}.png)" in page
    assert "| last | shifts |" in page
    said = capsys.readouterr().out.splitlines()
    assert said[-3] == "without TTA: tta=null switches it off"
    assert said[-2].startswith("evaluated: weights last, best on ")
    assert said[-2].endswith(" val images; pictures: last")
    assert said[-1] == str(run / "evaluate.md")


def test_calibration_and_confusion_are_torchmetrics(run, evaluate):
    found, (p, labels) = evaluate(run, "tta=null"), predicted(run)
    theirs = multiclass_calibration_error(p, labels, num_classes=10, n_bins=15)
    assert found["rows"][0]["ece"] == pytest.approx(theirs.item(), abs=1e-6)
    assert found["confusion"] == multiclass_confusion_matrix(p.argmax(1), labels, num_classes=10).tolist()


def test_the_worst_mistakes_are_those_with_the_lowest_probability_of_their_class(run, evaluate):
    found, (p, labels) = evaluate(run, "wrong=4", "tta=null"), predicted(run)
    loss = [(float(p[i, y]), i) for i, y in enumerate(labels.tolist()) if p[i].argmax() != y]
    assert [one["image"] for one in found["most_wrong"]] == [i for _, i in sorted(loss)[:4]]
    one = found["most_wrong"][0]
    assert one["probability_of_label"] == pytest.approx(min(loss)[0])
    assert one["taken_for"] == found["classes"][p[one["image"]].argmax()]


def test_a_net_that_is_always_right_has_no_mistakes():
    assert mistakes(torch.eye(3), torch.arange(3), ["a", "b", "c"], most=5) == []


def test_views_are_the_same_whenever_asked_for(run, evaluate):
    first, second = ([row["loss"] for row in evaluate(run)["rows"]] for _ in range(2))
    assert first == second
    assert len(set(first)) > 1


def test_fixed_views_share_alike(run, evaluate):
    saved, data, module = reload(run)
    net = model(saved, module, "last")
    images = torch.cat([data.normalize(images) for images, _ in data.eval_loader("test")])
    with torch.no_grad():
        p = (net(images).softmax(1) + net(images.flip(-1)).softmax(1)) / 2
    loss = -p.gather(1, data.labels("test")[:, None]).log().mean().item()
    assert evaluate(run, "tta.views=flips")["rows"][1]["loss"] == pytest.approx(loss, abs=1e-6)


def test_the_number_of_members_is_chosen_on_validation(run, evaluate):
    with_snapshots(run)
    members, chosen = {}, {}
    _, data, module = reload(run)
    for part in ("val", "test"):
        batches = [data.normalize(images) for images, _ in data.eval_loader(part)]
        states = [one.load() for one in snapshots(run / "snapshots")]
        members[part] = torch.stack([probabilities(module, batches, state) for state in states])
        chosen[part] = choose_last(members[part], data.labels(part))
    found = evaluate(run, "tta=null")
    assert found["members"] == chosen["val"]
    assert found["pictures"] == "ensemble"
    p, labels = combine(members["test"][-chosen["val"] :]), data.labels("test")
    assert found["rows"][-1]["weights"] == "ensemble"
    assert found["rows"][-1]["acc"] == (p.argmax(1) == labels).double().mean().item()


def test_what_the_run_has_chosen_itself_is_kept(run, evaluate):
    with_snapshots(run)
    (run / "snapshots" / "table.json").write_text('{"figures": {"ensemble_members": 2}}')
    assert evaluate(run, "tta=null")["members"] == 2


def test_photos_are_evaluated_as_in_the_run(app, evaluate, tmp_path):
    from PIL import Image

    numbers = torch.Generator().manual_seed(0)
    for part, label in [(p, c) for p in ("train", "val", "test") for c in ("cats", "dogs")]:
        folder = tmp_path / "photos" / part / label
        folder.mkdir(parents=True)
        for i in range(4):
            pixels = torch.randint(0, 256, (20, 24 + i, 3), generator=numbers, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(folder / f"{i}.png")
    data = ("data=image_folder", f"data.root={tmp_path / 'photos'}", "data.size=16", "data.batch_size=4")
    net = ("data.num_workers=0", "model=mlp", "model.hidden=[8]", "trainer.accelerator=cpu")
    folder = app(*data, *net, *SHORT).folder
    summary = json.loads((folder / "summary.json").read_text())
    plain, views = evaluate(folder)["rows"][:2]
    assert plain["loss"] == pytest.approx(summary["test/loss"], abs=1e-6)
    assert views["loss"] != plain["loss"]


def test_a_recipe_is_evaluated_as_its_last_stage_was(run):
    text = (run / "config.yaml").read_text()
    config = OmegaConf.create(text)
    config.recipe = {"stages": [{"name": "small", "data": {"size": 4}}, {"name": "large", "data": {"size": 5}}]}
    (run / "config.yaml").write_text(OmegaConf.to_yaml(config))
    assert (settings(run).data.size, settings(run).data.n_test) == (5, 12)
    config.recipe.stages.append({"name": "end"})
    (run / "config.yaml").write_text(OmegaConf.to_yaml(config))
    assert settings(run).data.size == 6


REFUSED = [
    (["part=train"], "part must be val or test (got train); test is usual"),
    (["+prt=val"], "prt is not an option; did you mean part?"),
    (["wrong=0"], "wrong must be a whole number >= 1 (got 0)"),
    (["tta.views=crops"], "tta.views must be one of augment, flips, shifts (got crops); augment is usual"),
    (["tta.n=0"], "tta.n must be >= 1 (got 0); 4 is usual"),
    (["tta=3"], "tta must be n, beta and views, or null (got 3)"),
    (["pictures=worst"], "pictures must be last, best, ensemble or null (got worst)"),
    (["device=abacus"], "device=abacus cannot be used here ("),
    (["run=null"], "run must be the folder of a finished run (got null)"),
    (["run=/nowhere/run"], "run must be the folder of a finished run (got /nowhere/run, which is absent); "),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_a_mistake_is_one_sentence(arguments, said, monkeypatch):
    with pytest.raises(SystemExit) as error:
        ask(monkeypatch, "evaluate", *([] if "run" in arguments[0] else ["run=/nowhere"]), *arguments)
    assert str(error.value.code).startswith(f"error: {said}")
    assert "\n" not in str(error.value.code)


def spoil(folder, how):
    if how == "config":
        (folder / "config.yaml").unlink()
    elif how == "checkpoints":
        shutil.rmtree(folder / "checkpoints")
    elif how == "torn":
        path = folder / "checkpoints" / "last.ckpt"
        path.write_bytes(path.read_bytes()[:1000])
    elif how == "other":
        text = (folder / "config.yaml").read_text()
        (folder / "config.yaml").write_text(text.replace("- 8\n", "- 9\n"))


BROKEN = {
    "config": "without config.yaml)",
    "checkpoints": "must hold last.ckpt or best-*.ckpt (found neither); train the run",
    "torn": "it may be cut off; remove it, and use ",
    "other": "do not fit the net of config.yaml (",
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_run_is_one_sentence(how, run, evaluate):
    spoil(run, how)
    with pytest.raises(SystemExit) as error:
        evaluate(run, "tta=null")
    assert BROKEN[how] in str(error.value.code)
    assert "\n" not in str(error.value.code)


def test_runs_of_sweeps_have_names_that_hydra_would_take_for_its_own(app, small, evaluate, tmp_path):
    folder = app(*small, *SHORT, folder=tmp_path / "plain").folder
    folder = folder.rename(tmp_path / "lr=0.1,seed=1 (again)")
    assert evaluate(folder, "tta=null")["images"] == 12


@pytest.mark.parametrize("name", ["evaluate", "predict", "export"])
def test_help_is_the_options_file_and_comes_at_once(name):
    script = PROJECT / "scripts" / f"{name}.py"
    code = (
        f"import runpy, sys\nsys.argv = ['{name}.py', '--help']\nrunpy.run_path({str(script)!r}, run_name='__main__')\n"
        "print(sorted({'torch', 'lightning', 'matplotlib', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.startswith("# ")
    assert "\nrun: null        # folder of the run\n" in done.stdout
    assert "hydra" not in done.stdout
    assert done.stdout.endswith("\n[]\n"), done.stdout + done.stderr
