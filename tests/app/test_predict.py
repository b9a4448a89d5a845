"""scripts/predict.py: the same probabilities as the evaluation's, for files of any kind, and a row for each of them."""

import csv

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from PIL import Image

from finished import ask
from lightcycle.app import inputs
from lightcycle.app.inputs import Inputs
from lightcycle.app.kept import model
from lightcycle.app.reload import build_module, inputs_of, reload, settings
from lightcycle.ensembling import probabilities, save_snapshot

DIGITS = ("data=digits", "data.limit=100", "model=mlp", "model.hidden=[8]", "trainer.accelerator=cpu")
SHORT = ("schedule=one_cycle", "epochs=1", "trainer.progress=false")


@pytest.fixture
def digits(app):
    return app(*DIGITS, *SHORT).folder


@pytest.fixture
def predict(monkeypatch, digits):
    def call(images, *arguments, run=digits):
        return ask(monkeypatch, "predict", f"run={run}", f"images={images}", "device=cpu", *arguments)

    return call


def stored(folder, n=20):
    """The first test images of a run and what its last weights say of them."""
    saved, data, module = reload(folder)
    images = data.parts["test"][0][:n]
    return images, probabilities(model(saved, module, "last"), [data.normalize(images)]), data


def write(images, folder, ending="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        pixels = image[0] if len(image) == 1 else image.permute(1, 2, 0)
        Image.fromarray(pixels.numpy()).save(folder / f"{i:03d}.{ending}")
    return folder


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_probabilities_are_those_of_the_evaluation(digits, predict, tmp_path):
    images, p, data = stored(digits)
    said = predict(write(images, tmp_path / "images"), "batch_size=7")
    assert [row["probability"] for row in said] == pytest.approx(p.max(1).values.tolist(), abs=1e-6)
    assert [row["class"] for row in said] == [data.classes[i] for i in p.argmax(1)]
    left = rows(digits / "predictions.csv")
    assert [float(row["probability"]) for row in left] == [row["probability"] for row in said]
    assert list(left[0]) == ["file", "class", "probability", "error"]
    assert imread(digits / "predictions.png").shape[1] == 1440


def test_photos_are_cut_and_scaled_as_in_the_evaluation(app, predict, tmp_path):
    numbers = np.random.default_rng(0)
    for part in ("train", "val", "test"):
        for label in ("cats", "dogs"):
            folder = tmp_path / "photos" / part / label
            folder.mkdir(parents=True)
            for i in range(3):
                Image.fromarray(numbers.integers(0, 256, (40, 33 + i, 3), dtype=np.uint8)).save(folder / f"{i}.jpg")
    data = ("data=image_folder", f"data.root={tmp_path / 'photos'}", "data.size=16", "data.eval_size=20")
    net = ("data.batch_size=2", "data.num_workers=0", "model=resnet", "model.width=4", "trainer.accelerator=cpu")
    run = app(*data, *net, *SHORT, folder=tmp_path / "photo run").folder
    saved, evaluated, module = reload(run)
    batches = [evaluated.normalize(images) for images, _ in evaluated.eval_loader("test")]
    p = probabilities(model(saved, module, "last"), batches)
    said = predict(tmp_path / "photos" / "test", run=run)
    assert [row["file"] for row in said] == [path for path, _ in evaluated.files["test"]]
    assert [row["probability"] for row in said] == pytest.approx(p.max(1).values.tolist(), abs=1e-6)


def test_what_cannot_be_read_is_a_row_that_says_so(digits, predict, tmp_path, capsys):
    images, _, _ = stored(digits, 3)
    folder = write(images, tmp_path / "my photos" / "deep")
    (folder / "torn.png").write_bytes((folder / "000.png").read_bytes()[:40])
    (folder.parent / "empty.jpg").touch()
    (folder / ".hidden.png").touch()
    (folder / "notes.txt").write_text("no image")
    predict(folder.parent, f"out={tmp_path / 'out.csv'}")
    said = {row["file"].rpartition("/")[2]: row for row in rows(tmp_path / "out.csv")}
    assert set(said) == {"000.png", "001.png", "002.png", "torn.png", "empty.jpg"}
    assert said["empty.jpg"]["error"] == "empty file"
    assert said["torn.png"]["error"]
    assert (said["torn.png"]["class"], said["torn.png"]["probability"]) == ("", "")
    assert not said["001.png"]["error"]
    assert "2 cannot be read, the first is " in capsys.readouterr().out
    assert not (digits / "predictions.csv").exists()


def test_the_sheet_begins_with_what_the_net_is_least_sure_of(digits, predict, tmp_path, monkeypatch):
    images, p, _ = stored(digits)
    folder, drawn = write(images, tmp_path / "images"), []
    monkeypatch.setattr("lightcycle.app.predict.contact_sheet_png", lambda *given: drawn.append(given) or b"")
    for most in ("sheet=5", "sheet=20"):
        predict(folder, most)
    sure = p.max(1).values.argsort(stable=True).tolist()
    for (_, texts, title), count, said in zip(drawn, (5, 20), ("5 of 20", "all 20"), strict=True):
        assert [text.split("\n")[1] for text in texts] == [f"{i:03d}.png" for i in sure[:count]]
        assert title == f"{digits.name}, {said} images, the least sure first"


def test_only_if_nothing_can_be_read_it_fails(digits, predict, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(SystemExit) as error:
        predict(tmp_path / "broken.png")
    said = str(error.value.code)
    assert said.startswith("error: none of the 1 file(s) of images=")
    assert rows(digits / "predictions.csv")[0]["error"].startswith("cannot identify image file")


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "I;16", "1"])
def test_images_of_any_kind_and_size_fit_a_gray_net(mode, predict, tmp_path):
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50), dtype=np.uint8))
    kind = Image.fromarray(np.full((30, 50), 40_000, dtype=np.uint16)) if mode == "I;16" else pixels.convert(mode)
    path = tmp_path / f"image.{'tif' if mode == 'CMYK' else 'png'}"
    kind.save(path)
    (row,) = predict(path, "sheet=0")
    assert 0 < row["probability"] <= 1


def test_the_ensemble_is_asked_where_it_is_wanted(digits, predict, tmp_path):
    images, _, data = stored(digits, 4)
    state = torch.load(digits / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    numbers = torch.Generator().manual_seed(0)
    states = [{k: v + torch.randn(v.shape, generator=numbers) for k, v in state.items()} for _ in range(3)]
    for step, one in enumerate(states):
        save_snapshot(digits / "snapshots", one, {"step": step + 1})
    module = build_module(settings(digits), inputs_of(settings(digits)))
    p = torch.stack([probabilities(module, [data.normalize(images)], one) for one in states])
    folder = write(images, tmp_path / "images")
    for arguments, mean in (([], p.mean(0)), (["members=2"], p[1:].mean(0))):
        said = predict(folder, "weights=ensemble", *arguments)
        assert [row["probability"] for row in said] == pytest.approx(mean.max(1).values.tolist(), abs=1e-6)

    with pytest.raises(SystemExit, match=r"members must be at most 3, the run's snapshots \(got 4\); null is usual"):
        predict(folder, "weights=ensemble", "members=4")


def test_the_data_need_not_be_there_any_more(app, predict, tmp_path):
    arrays = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    labels = np.arange(40) % 4
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=arrays, y_train=labels, x_test=arrays, y_test=labels)
    run = app(
        "data=arrays", f"data.path={path}", "data.batch_size=8", *DIGITS[2:], *SHORT, folder=tmp_path / "r"
    ).folder
    folder = write(torch.from_numpy(arrays[:3, None]), tmp_path / "images")
    before = predict(folder, run=run)
    path.unlink()
    assert predict(folder, run=run) == before
    (run / "inputs.json").write_text('{"classes": 3}')
    with pytest.raises(SystemExit, match=r"inputs.json does not hold a run's inputs \(.*\); delete it"):
        predict(folder, run=run)


def test_inputs_survive_their_file(tmp_path):
    wanted = Inputs(("a", "b"), 3, (8, 9), (16, 16), (0.1, 0.2, 1 / 3), (1.0, 1.0, 1.0), 0.875)
    assert inputs.load(tmp_path) is None
    inputs.save(wanted, tmp_path)
    assert inputs.load(tmp_path) == wanted


REFUSED = [
    (["images=null"], "images must be an image file or a folder of them (got null); for example images=photos"),
    (["images=/nowhere"], "images must be an image file or a folder of them (got /nowhere, which is absent)"),
    (["images=."], "images must be an image file or a folder of them (got ., which holds none)"),
    (["out=table.txt"], "out must end in .csv, or be null (got table.txt)"),
    (["weights=all"], "weights must be last, best or ensemble (got all); last is usual"),
    (["batch_size=0"], "batch_size must be a whole number >= 1 (got 0); 64 is usual"),
    (["members=0"], "members must be >= 1 or null (got 0)"),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_a_mistake_is_one_sentence(arguments, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    given = [] if "images" in arguments[0] else ["images=."]
    with pytest.raises(SystemExit) as error:
        ask(monkeypatch, "predict", "run=/nowhere", *given, *arguments)
    assert str(error.value.code).startswith(f"error: {said}")


def test_weights_that_the_run_does_not_have(predict, digits, tmp_path):
    folder = write(stored(digits, 1)[0], tmp_path / "images")
    with pytest.raises(SystemExit, match=r"weights=ensemble is not in .*; there are: last, best$"):
        predict(folder, "weights=ensemble")
