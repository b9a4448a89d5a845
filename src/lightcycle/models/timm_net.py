"""Any classifier of timm, for any number of channels and classes; timm itself is an extra of this package."""

from difflib import get_close_matches
from types import ModuleType

from torch import nn

from lightcycle.models.checks import check
from lightcycle.models.config import TimmConfig
from lightcycle.models.surgery import head_name
from lightcycle.models.torchvision_net import fit_images, taking
from lightcycle.models.weights import load_weights, read_file


def timm_net(config: TimmConfig, *, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
    """A classifier of timm with its weights loaded, its head replaced and its first convolution adapted.

    Args:
        config: name, weights and dropout.
        channels: channels of the images; weights learned on RGB are summed or repeated.
        size: height and width of the images, in pixels.
        classes: number of logits of the new head.

    Raises:
        ValueError: timm is not installed, unknown name, weights that do not fit, or images that the net cannot take.
        OSError: timm's weights could not be fetched.

    Source: Wightman, PyTorch Image Models, https://github.com/huggingface/pytorch-image-models
    """
    published = _published(config.name)
    # others are told the size of the images by the images
    sized = {"img_size": size} if published.fixed_input_size else {}
    if config.weights == "DEFAULT":
        check(published.has_weights, "model.weights", "a file or null", "DEFAULT", f"timm has none of {config.name}")
    with taking(config.name, size):
        net = _timm().create_model(config.name, **sized) if config.weights != "DEFAULT" else _fetched(config, sized)
    if config.weights not in (None, "DEFAULT"):
        load_weights(net, read_file(config.weights, "DEFAULT"), config)
    net.reset_classifier(classes)
    _check_head(net, config)
    fit_images(net, config, channels, size)
    return net


def timm_stats(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per RGB channel of the images that timm's weights of this name were trained on."""
    published = _published(name)
    return tuple(published.mean), tuple(published.std)


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise ValueError("model=timm needs timm (not installed): pip install 'lightcycle[timm]'") from error
    return timm


def _published(name: str):
    """What timm says of a net and its weights."""
    timm = _timm()
    net, _, tag = name.partition(".")
    tags = timm.list_pretrained(f"{net}.*")
    known = timm.is_model(net) and (not tag or name in tags)
    names = tags if timm.is_model(net) else timm.list_models()
    close = get_close_matches(name.lower(), names, cutoff=0.5) or ["resnet10t"]
    check(known, "model.name", "a timm classifier", name, f"did you mean {' or '.join(close)}?")
    return timm.get_pretrained_cfg(name)


def _fetched(config: TimmConfig, sized: dict[str, tuple[int, int]]) -> nn.Module:
    try:
        return _timm().create_model(config.name, pretrained=True, **sized)
    except Exception as error:  # of several HTTP libraries, which share no class
        raise OSError(
            f"model.weights=DEFAULT of {config.name} could not be fetched ({str(error).splitlines()[0]}); fetch its "
            "model.safetensors where there is a network and set model.weights to the file"
        ) from error


def _check_head(net: nn.Module, config: TimmConfig) -> None:
    if net.get_submodule(head_name(net)) is not net.get_classifier():
        raise ValueError(f"model.name={config.name} has not one linear layer as its head; take another net of timm")
