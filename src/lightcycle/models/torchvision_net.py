"""Any torchvision classifier, for any number of channels and classes."""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import torch
import torchvision
from torch import nn
from torch.func import functional_call

from lightcycle.models.checks import check
from lightcycle.models.config import PretrainedConfig, TorchvisionConfig
from lightcycle.models.surgery import adapt_input, replace_head, set_head_dropout
from lightcycle.models.weights import load_weights, read_weights


def torchvision_net(config: TorchvisionConfig, *, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
    """A torchvision classifier with its weights loaded, its head replaced and its first convolution adapted.

    Args:
        config: name, weights and dropout.
        channels: channels of the images; weights learned on RGB are summed or repeated.
        size: height and width of the images, in pixels.
        classes: number of logits of the new head.

    Raises:
        ValueError: unknown name, weights that do not fit, or images that the net cannot take.

    >>> torchvision_net(TorchvisionConfig(name="squeezenet1_1"), channels=1, size=(32, 32), classes=10).classifier[1]
    Conv2d(512, 10, kernel_size=(1, 1), stride=(1, 1))
    """
    _check_name(config.name)
    state = None if config.weights is None else read_weights(config)
    with taking(config.name, size):
        net = torchvision.models.get_model(config.name, **_arguments(config.name, size, trained=state is not None))
    if state is not None:
        load_weights(net, state, config)
    replace_head(net, classes)
    fit_images(net, config, channels, size)
    return net


def fit_images(net: nn.Module, config: PretrainedConfig, channels: int, size: tuple[int, int]) -> None:
    """Set the dropout and the number of channels, and see whether the net takes images `(batch, channels, *size)`.

    Raises:
        ValueError: it does not.
    """
    if config.dropout is not None:
        set_head_dropout(net, config.dropout)
    adapt_input(net, channels)
    with taking(config.name, size):
        _dry_run(net, channels, size)


@contextmanager
def taking(name: str, size: tuple[int, int]) -> Iterator[None]:
    """Turn what a net says of images that it cannot take into a sentence."""
    try:
        yield
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"model.name={name} cannot take {size[0]} x {size[1]} images ({reason}); "
            "set data.size=224, or another model.name"
        ) from error


def _check_name(name: str) -> None:
    names = torchvision.models.list_models(module=torchvision.models)
    close = get_close_matches(name.lower(), names, cutoff=0.5) or ["resnet18"]
    check(name in names, "model.name", "a torchvision classifier", name, f"did you mean {' or '.join(close)}?")


def _arguments(name: str, size: tuple[int, int], trained: bool) -> dict[str, Any]:
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": not trained}
    if name.startswith("vit_") and not trained:
        return {"image_size": size[0]}
    return {"input_size": size} if name.startswith("maxvit") else {}


def _dry_run(net: nn.Module, channels: int, size: tuple[int, int]) -> None:
    """One forward pass without data: meta tensors have shapes and no values."""
    tensors = {name: t.detach().to("meta") for name, t in [*net.named_parameters(), *net.named_buffers()]}
    image = torch.empty(1, channels, *size, device="meta")
    was_training = net.training
    functional_call(net.eval(), tensors, (image,))
    net.train(was_training)
