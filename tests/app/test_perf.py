"""``perf``: the choice is a function of the machine and the config, an explicit precision wins, and off is off."""

import json
from types import SimpleNamespace

import pytest
import torch

from lightcycle.app import perf
from lightcycle.app.perf import PerfConfig, cpu_flags
from lightcycle.data.config import SyntheticConfig
from lightcycle.models.depthwise import SinglePrecisionConv2d


@pytest.fixture(autouse=True)
def memory_as_before():
    yield
    perf.memory.keep_freed(False)


def settings(size=32, told=None, accelerator="cpu", **options):
    trainer = SimpleNamespace(precision=told, accelerator=accelerator)
    return SimpleNamespace(trainer=trainer, perf=PerfConfig(**options), data=SyntheticConfig(size=size))


@pytest.fixture
def native(monkeypatch):
    monkeypatch.setattr(perf, "cpu_flags", lambda: frozenset({"avx512f", "avx512_bf16"}))


@pytest.fixture
def plain_cpu(monkeypatch):
    monkeypatch.setattr(perf, "cpu_flags", lambda: frozenset({"avx512f"}))


def test_a_processor_with_units_for_it_has_bf16(native):
    assert perf.precision(settings()) == "bf16-mixed"
    assert perf.precision(settings(size=8)) == "32-true"  # nothing to gain on tiny images
    assert perf.precision(settings(told="32-true")) == "32-true"
    assert perf.precision(settings(told=64)) == "64"
    assert perf.precision(settings(precision="32-true")) == "32-true"
    assert perf.precision(settings(accelerator="mps")) == "32-true"


def test_a_processor_without_keeps_single_precision(plain_cpu):
    assert perf.precision(settings()) == "32-true"
    assert perf.precision(settings(precision="bf16-mixed")) == "bf16-mixed"


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_is_asked_for_units_of_its_own(native, monkeypatch, plain_cpu):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: asked.append(including_emulation) or native
    )
    assert perf.precision(settings(accelerator="auto")) == ("bf16-mixed" if native else "32-true")
    assert asked == [False]
    assert perf.precision(settings(accelerator="cpu")) == "32-true"


def test_memory_order():
    assert perf.is_channels_last(settings())
    assert not perf.is_channels_last(settings(size=8))
    assert perf.is_channels_last(settings(size=8, channels_last=True))
    assert not perf.is_channels_last(settings(channels_last=False))
    net = torch.nn.Conv2d(3, 4, 3)
    assert perf.prepare(settings(), net) is net
    assert net.weight.is_contiguous(memory_format=torch.channels_last)


def depthwise():
    return torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, stride=2, groups=8))


def singles(net):
    return sum(isinstance(module, SinglePrecisionConv2d) for module in net.modules())


def test_slow_depthwise_convolutions_keep_single_precision(native, monkeypatch):
    assert singles(perf.prepare(settings(), depthwise())) == 1
    assert singles(perf.prepare(settings(told="bf16-mixed"), depthwise())) == 1
    assert singles(perf.prepare(settings(told="bf16"), depthwise())) == 1
    assert singles(perf.prepare(settings(depthwise=False), depthwise())) == 0
    assert singles(perf.prepare(settings(told="32-true"), depthwise())) == 0
    assert singles(perf.prepare(settings(size=8), depthwise())) == 0
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert singles(perf.prepare(settings(told="bf16-mixed", accelerator="auto"), depthwise())) == 0


def test_memory_is_kept_by_runs_on_a_processor(monkeypatch):
    told = []
    monkeypatch.setattr(perf.memory, "can_keep", lambda: True)
    monkeypatch.setattr(perf.memory, "keep_freed", told.append)
    for kept, run in [
        (True, settings()),
        (False, settings(size=8)),
        (True, settings(size=8, keep_memory=True)),
        (False, settings(keep_memory=False)),
        (False, settings(accelerator="gpu")),
    ]:
        told.clear()
        perf.prepare(run, torch.nn.Conv2d(3, 4, 3))
        assert told == [kept]
        assert perf.keeps_memory(run) == ("freed memory kept" in perf.describe(run)) == kept
    monkeypatch.setattr(perf.memory, "can_keep", lambda: False)
    assert "memory" not in perf.describe(settings())
    monkeypatch.undo()  # before what this module does to leave memory as it was


def test_flags_are_read_as_linux_says_them(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu amx_bf16 avx\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert cpu_flags(str(tmp_path / "cpuinfo")) == {"fpu", "amx_bf16", "avx"}
    assert cpu_flags(str(tmp_path / "none")) == frozenset()


NET = ("data=synthetic", "data.size=28", "data.n_train=40", "data.n_val=12", "data.n_test=12", "data.batch_size=8")
NET = (*NET, "model=resnet", "model.width=4", "schedule=one_cycle", "epochs=2", "trainer.accelerator=cpu")


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_it_is_said_and_kept(app, tmp_path, capsys):
    run = app(*NET, "trainer.precision=bf16-mixed", folder=tmp_path / "one")
    assert "computed in bf16-mixed, channels_last" in capsys.readouterr().out
    left = json.loads((run.folder / "summary.json").read_text())
    assert (left["precision"], left["channels_last"]) == ("bf16-mixed", True)
    assert left["single_precision_depthwise"] is True
    assert left["keeps_memory"] is perf.memory.can_keep()


def test_channels_last_moves_rounding_only(app, tmp_path, capsys):
    on = app(*NET, "trainer.precision=64-true", folder=tmp_path / "on")
    off = app(*NET, "trainer.precision=64-true", "perf=off", folder=tmp_path / "off")
    assert "computed in 64-true, channels first" in capsys.readouterr().out
    one, two = weights(on.folder), weights(off.folder)
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("perf.channels_last=maybe", "perf.channels_last must be auto or true or false .got 'maybe'."),
        ("perf.depthwise=true", "perf.depthwise must be auto or false .got True.; auto is the default"),
        ("perf.keep_memory=1G", "perf.keep_memory must be auto or true or false .got '1G'."),
        ("perf=fast", "perf"),
        ("perf.half=true", "perf"),
    ],
)
def test_mistakes(override, words, app):
    with pytest.raises(SystemExit, match=words):
        app(*NET, override)


def test_compiling_needs_a_compiler(app, monkeypatch):
    monkeypatch.setattr(perf.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="needs a C"):
        app(*NET, "perf=compile")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_torch_stops_to_compile_at_so_many_graphs():
    graphs = []
    torch.compiler.reset()
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    net.compile(dynamic=False, backend=lambda graph, inputs: graphs.append(graph) or graph.forward)
    for side in range(4, 8 + perf.most_graphs()):
        net(torch.zeros(2, 3, side, side))
    assert len(graphs) == perf.most_graphs()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_run_says_how_many_graphs(app, tmp_path):
    torch.compiler.reset()
    mlp = [*NET[:-4], "model=mlp", "model.hidden=[8]", *NET[-2:], "trainer.precision=32-true"]
    before = perf.graphs()
    run = app(*mlp, "perf=compile", folder=tmp_path / "compiled")
    plain = app(*mlp, folder=tmp_path / "plain")
    left = json.loads((run.folder / "summary.json").read_text())
    assert left["compiled_graphs"] - before >= 2  # one to train, one to validate
    one, two = weights(run.folder), weights(plain.folder)
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-4)
