"""scripts/export.py: the file gives the model's outputs without this project, and says how to prepare images for it."""

import json
import math

import pytest
import torch

from finished import ask
from lightcycle.app import export as exporting
from lightcycle.app.inputs import load
from lightcycle.app.kept import model
from lightcycle.app.reload import reload

SHORT = ("schedule=one_cycle", "epochs=1", "trainer.progress=false")
NET = ("model=resnet", "model.width=4")


@pytest.fixture
def run(app, small):
    return app(*small[:6], "trainer.accelerator=cpu", *NET, *SHORT).folder


@pytest.fixture
def export(monkeypatch):
    return lambda folder, *arguments: ask(monkeypatch, "export", f"run={folder}", *arguments)


def images_and_logits(folder, name="last", n=7):
    saved, data, module = reload(folder)
    images = data.normalize(data.parts["test"][0][:n])
    with torch.no_grad():
        return images, model(saved, module, name)(images)


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["last", "best"])
def test_the_program_gives_the_models_logits_at_any_batch_size(weights, run, export, capsys):
    path = export(run, f"weights={weights}")
    assert path == run / "model.pt2"
    notes = {"inputs.json": ""}
    program = torch.export.load(path, extra_files=notes).module()
    images, logits = images_and_logits(run, weights)
    for n in (1, 3, 7):
        torch.testing.assert_close(program(images[:n]), logits[:n], rtol=1e-5, atol=1e-5)
    said = json.loads(notes["inputs.json"])
    assert said == json.loads((run / "inputs.json").read_text())
    assert (said["channels"], said["size"], len(said["classes"])) == (3, [6, 6], 10)
    assert len(said["mean"]) == len(said["std"]) == 3
    assert "(tolerance 0.0001), batches of (1, 2, 5)" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)  # of exporters
def test_onnx_gives_the_models_logits_at_any_batch_size(run, export, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="the extra lightcycle[onnx] is not installed")
    import onnx
    import onnxruntime

    path = export(run, "format=onnx", f"out={tmp_path / 'deep' / 'net.onnx'}")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images, logits = images_and_logits(run)
    for n in (1, 7):
        (said,) = session.run(["logits"], {"images": images[:n].numpy()})
        torch.testing.assert_close(torch.from_numpy(said), logits[:n], rtol=1e-4, atol=1e-4)
    notes = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
    assert json.loads(notes["inputs"]) == json.loads((run / "inputs.json").read_text())
    onnx.checker.check_model(onnx.load(path), full_check=True)


def test_a_file_that_differs_is_not_left(run, export, monkeypatch):
    wrong = (b"bytes", lambda images: torch.zeros(len(images), 10))
    monkeypatch.setattr(exporting, "as_pt2", lambda net, wanted: wrong)
    with pytest.raises(SystemExit, match=r"the exported net differs from the model by \S+ \(at most 0.0001\)"):
        export(run)
    assert not (run / "model.pt2").exists()


def test_the_difference_is_measured(run):
    saved, _, module = reload(run)
    net, wanted = model(saved, module, "last").net, load(run)
    assert exporting.difference(net, net, wanted) == 0
    moved = exporting.difference(net, lambda images: net(images) + 0.01, wanted)
    assert 0 < moved <= 0.0101
    assert math.isnan(exporting.difference(net, lambda images: net(images) * float("nan"), wanted))


def test_without_its_extra_onnx_is_refused_in_a_sentence(run, export, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(SystemExit, match=r"needs onnx\w* \(not installed\): pip install 'lightcycle\[onnx\]'"):
        export(run, "format=onnx")


REFUSED = [
    (["format=tflite"], "format must be pt2 or onnx (got tflite); pt2 needs nothing but torch"),
    (["weights=ensemble"], "weights must be last or best (got ensemble); last is usual"),
    (["out=net.onnx"], "out must end in .pt2 for format=pt2 (got net.onnx); rename it"),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED, ids=lambda x: x[0] if isinstance(x, list) else "")
def test_a_mistake_is_one_sentence(arguments, said, export):
    with pytest.raises(SystemExit) as error:
        export("/nowhere", *arguments)
    assert str(error.value.code).startswith(f"error: {said}")
