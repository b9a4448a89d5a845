"""A finished run's net as one portable file, which needs nothing of this project, and is checked before it is kept."""

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from lightcycle.app import command
from lightcycle.app.checks import Rule
from lightcycle.app.inputs import Inputs
from lightcycle.app.kept import model
from lightcycle.app.quiet import silence
from lightcycle.app.reload import build_module, inputs_of, settings
from lightcycle.report.files import write_bytes

ENDINGS = {"pt2": ".pt2", "onnx": ".onnx"}
OPTIONS = {
    "run": command.RUN,
    "format": Rule(lambda v: v in ENDINGS, "must be pt2 or onnx", "pt2 needs nothing but torch"),
    "out": Rule(lambda v: v is None or bool(v), "must be a file to write, or null", "null is in the run"),
    "weights": Rule(lambda v: v in ("last", "best"), "must be last or best", "last is usual"),
}
TOLERANCE = 1e-4
"""How far a logit of the file may be from the model's, in units of the largest logit or of 1, whichever is more."""

BATCHES = (1, 2, 5)
"""Batch sizes that are tried."""

Run = Callable[[Tensor], Tensor]


def export(config: DictConfig) -> Path:
    """Writes the file and says how far its outputs are from the model's.

    Raises:
        ValueError: an option is wrong, the net cannot be exported, or the file's outputs differ; nothing is left then.
    """
    command.check(config, OPTIONS)
    out = Path(config.out).expanduser() if config.out else None
    if out is not None and out.suffix != ENDINGS[config.format]:
        raise ValueError(f"out must end in {ENDINGS[config.format]} for format={config.format} (got {out}); rename it")
    silence()
    saved = settings(config.run)
    wanted = inputs_of(saved)
    net = model(saved, build_module(saved, wanted), config.weights).net
    data, loaded = (as_pt2 if config.format == "pt2" else as_onnx)(net, wanted)
    far = difference(net, loaded, wanted)
    if not far <= TOLERANCE:
        raise ValueError(
            f"the exported net differs from the model by {far:.2g} (at most {TOLERANCE:g}); try another format"
        )
    path = write_bytes(out or saved.folder / f"model{ENDINGS[config.format]}", data)
    print(f"{path}: {len(data) / 2**20:.1f} MiB, images (batch, {wanted.channels}, {wanted.size[0]}, {wanted.size[1]})")
    print(f"outputs equal the model's within {far:.1e} (tolerance {TOLERANCE:g}), batches of {BATCHES}")
    return path


def as_pt2(net: nn.Module, wanted: Inputs) -> tuple[bytes, Run]:
    """The bytes of a torch.export program, and what they are when they are loaded; ``inputs.json`` is inside."""
    file = io.BytesIO()
    torch.export.save(_program(net, wanted), file, extra_files={"inputs.json": json.dumps(asdict(wanted))})
    loaded = torch.export.load(io.BytesIO(file.getvalue())).module()
    return file.getvalue(), loaded


def as_onnx(net: nn.Module, wanted: Inputs) -> tuple[bytes, Run]:
    """The bytes of an ONNX model, and what onnxruntime makes of them; the inputs are in its metadata, key ``inputs``.

    Raises:
        ValueError: what it needs is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f"format=onnx needs {error.name} (not installed): pip install 'lightcycle[onnx]'") from error
    names = {"input_names": ["images"], "output_names": ["logits"]}
    program = torch.onnx.export(_program(net, wanted), verbose=False, **names)
    proto = program.model_proto
    proto.metadata_props.add(key="inputs", value=json.dumps(asdict(wanted)))
    data = proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return data, lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


@torch.inference_mode()
def difference(net: nn.Module, loaded: Run, wanted: Inputs) -> float:
    """The largest difference of a logit, on noise of several batch sizes, over the largest logit (at least 1)."""
    numbers = torch.Generator().manual_seed(0)
    far = []
    for batch in BATCHES:
        pixels = torch.randint(0, 256, (batch, wanted.channels, *wanted.size), generator=numbers, dtype=torch.uint8)
        images = wanted.normalize(pixels)
        ours, theirs = net(images), loaded(images)
        far.append((ours - theirs).abs().max() / ours.abs().max().clamp_min(1))
    return torch.stack(far).max().item()  # NaN, where there is one


def _program(net: nn.Module, wanted: Inputs) -> Any:
    """The net as a graph for any batch size."""
    example = torch.zeros(2, wanted.channels, *wanted.size)
    try:
        return torch.export.export(net.eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    except Exception as error:  # of many kinds, and many lines long
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{type(net).__name__} cannot be exported ({reason}); take another model") from error
