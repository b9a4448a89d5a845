"""Trained weights: from torchvision by name, or from a file."""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model_weights

from lightcycle.models.checks import check
from lightcycle.models.config import PretrainedConfig, TimmConfig, TorchvisionConfig
from lightcycle.models.surgery import head_name, replace_head

State = dict[str, Tensor]
HALF = (0.5, 0.5, 0.5)


def weights_stats(config: Any) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation per RGB channel, in 0..1 units, of the images that the weights were trained on.

    A file counts as the default weights of that net; without weights there is nothing to match: None.

    Args:
        config: of any model.

    >>> weights_stats(TorchvisionConfig(name="resnet18", weights="DEFAULT"))
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    """
    if getattr(config, "weights", None) is None:
        return None
    if isinstance(config, TimmConfig):
        from lightcycle.models.timm_net import timm_stats

        return timm_stats(config.name)
    if config.name in ("googlenet", "inception_v3"):
        return HALF, HALF  # torchvision rescales ImageNet's statistics to these inside the net; here the net is bare
    transforms = (_published(config) or get_model_weights(config.name)["DEFAULT"]).transforms()
    return tuple(transforms.mean), tuple(transforms.std)


def read_weights(config: TorchvisionConfig) -> State:
    """The tensors of `config.weights` by name, on the CPU; only a name of torchvision's touches the network.

    Raises:
        ValueError: neither a name nor a file, or a file that holds something else.
        OSError: torchvision's file could not be fetched.
    """
    names = ", ".join(get_model_weights(config.name).__members__)
    return _download(config) if _published(config) else read_file(config.weights, names)


def load_weights(net: nn.Module, state: State, config: PretrainedConfig) -> None:
    """Copy `state` into `net`, whose head takes as many classes as the head of `state` has.

    Raises:
        ValueError: the tensors do not fit; the sentence names the first few that differ.
    """
    state = _modern(state)
    head = state.get(f"{head_name(net)}.weight")
    if head is not None and head.ndim > 0:
        replace_head(net, len(head))
    differences = _differences(net.state_dict(), state)
    if differences:
        raise ValueError(
            f"model.weights={config.weights} does not fit model.name={config.name}: {'; '.join(differences)}; "
            "set model.name to the net the weights belong to"
        )
    # Not load_state_dict: MNASNet's asks for a version, which files of bare tensors do not have.
    for name, tensor in net.state_dict().items():
        if name in state:
            tensor.copy_(state[name])


def _published(config: TorchvisionConfig) -> WeightsEnum | None:
    return get_model_weights(config.name).__members__.get(config.weights)


def _download(config: TorchvisionConfig) -> State:
    weights = _published(config)
    try:
        return weights.get_state_dict(check_hash=True, weights_only=True, map_location="cpu")
    except OSError as error:
        raise OSError(
            f"model.weights={config.weights} could not be fetched from {weights.url} ({error}); "
            "fetch that file where there is a network and set model.weights to its path"
        ) from error


def read_file(weights: str, names: str) -> State:
    """The tensors in a `.pth` or `.safetensors` file, by name, on the CPU.

    Args:
        weights: path of the file.
        names: what `model.weights` could have been instead, for the error.

    Raises:
        ValueError: there is no such file, or it does not hold tensors by name.
    """
    path = Path(weights).expanduser().absolute()
    legal = f"{names}, a .pth or .safetensors file, or null"
    check(path.is_file(), "model.weights", legal, weights, f"there is no file {path}")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # pickle, zip, safetensors and the file system each raise their own
        raise ValueError(f"model.weights={path} cannot be read as tensors ({_first_line(error)}); {_HOW}") from error
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"model.weights={path} is not a state dict, tensors by name; {_HOW}")
    return state


_HOW = "write the file with torch.save(net.state_dict(), path)"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _modern(state: State) -> State:
    """`state` without auxiliary heads, and with DenseNet's layers named as they are since torchvision 0.3."""
    rename = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
    return {rename.sub(r"\1\2.", key): v for key, v in state.items() if not re.match(r"aux|AuxLogits", key)}


def _differences(net: State, file: State) -> list[str]:
    missing = [key for key in net if key not in file and not key.endswith("num_batches_tracked")]
    unknown = [key for key in file if key not in net]
    reshaped = [
        f"{key} {tuple(file[key].shape)} instead of {tuple(net[key].shape)}"
        for key in net
        if key in file and file[key].shape != net[key].shape
    ]
    kinds = {"missing": missing, "unknown": unknown, "of another shape": reshaped}
    return [f"{len(keys)} {kind} ({_few(keys)})" for kind, keys in kinds.items() if keys]


def _few(keys: list[str], n: int = 3) -> str:
    return ", ".join(keys[:n]) + (", ..." if len(keys) > n else "")
