from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.models import ResNet18_Weights

from lightcycle.models import MLPConfig, ResNetConfig, TorchvisionConfig, head_name, replace_head, weights_stats
from lightcycle.models.surgery import adapt_input, set_head_dropout
from lightcycle.models.weights import load_weights

# Family: (smallest member, its head, smallest square image tried here)
FAMILIES = {
    "convnext": ("convnext_tiny", "classifier.2", 32),
    "densenet": ("densenet121", "classifier", 32),
    "efficientnet": ("efficientnet_b0", "classifier.1", 32),
    "efficientnet_v2": ("efficientnet_v2_s", "classifier.1", 32),
    "googlenet": ("googlenet", "fc", 32),
    "inception": ("inception_v3", "fc", 75),
    "maxvit": ("maxvit_t", "classifier.5", 224),
    "mnasnet": ("mnasnet0_5", "classifier.1", 32),
    "mobilenet_v2": ("mobilenet_v2", "classifier.1", 32),
    "mobilenet_v3": ("mobilenet_v3_small", "classifier.3", 32),
    "regnet": ("regnet_x_400mf", "fc", 32),
    "resnet": ("resnet18", "fc", 32),
    "shufflenet": ("shufflenet_v2_x0_5", "fc", 32),
    "squeezenet": ("squeezenet1_1", "classifier.1", 32),
    "swin": ("swin_t", "head", 32),
    "swin_v2": ("swin_v2_t", "head", 32),
    "vit": ("vit_b_32", "heads.head", 32),
}
# Hundreds of megabytes of fully connected layers: built without memory, on the meta device.
LARGE = {"alexnet": ("alexnet", "classifier.6", 64), "vgg": ("vgg11", "classifier.6", 32)}


@pytest.mark.parametrize(("name", "head", "pixels"), FAMILIES.values(), ids=FAMILIES)
def test_every_family_takes_grey_images_and_has_a_new_head(name, head, pixels):
    net = TorchvisionConfig(name=name).build(channels=1, size=(pixels, pixels), classes=7)
    assert head_name(net) == head
    with torch.no_grad():
        assert net.eval()(torch.randn(1, 1, pixels, pixels)).shape == (1, 7)


@pytest.mark.parametrize(("name", "head", "pixels"), LARGE.values(), ids=LARGE)
def test_large_families_too(name, head, pixels):
    with torch.device("meta"):
        net = TorchvisionConfig(name=name).build(channels=1, size=(pixels, pixels), classes=7)
    assert head_name(net) == head
    assert net.get_submodule(head).out_features == 7


def test_families_are_all_of_torchvisions():
    names = torchvision.models.list_models(module=torchvision.models)
    stems = ("alexnet", "convnext", "densenet", "efficientnet", "googlenet", "inception", "maxvit", "mnasnet")
    stems += ("mobilenet", "regnet", "resn", "shufflenet", "squeezenet", "swin", "vgg", "vit", "wide_resnet")
    assert [name for name in names if not name.startswith(stems)] == []


def test_the_net_comes_in_training_mode():
    assert TorchvisionConfig(name="mnasnet0_5").build(channels=3, size=(32, 32), classes=2).training


@pytest.mark.parametrize(
    ("config", "size", "text"),
    [
        (
            TorchvisionConfig(name="resnt18"),
            (32, 32),
            "model.name must be a torchvision classifier (got resnt18); did you mean resnet18 or",
        ),
        (
            TorchvisionConfig(name="@"),
            (32, 32),
            "model.name must be a torchvision classifier (got @); did you mean resnet18?",
        ),
        (
            TorchvisionConfig(name="inception_v3"),
            (32, 32),
            "model.name=inception_v3 cannot take 32 x 32 images (Calculated padded input size",
        ),
        (
            TorchvisionConfig(name="vit_b_32"),
            (50, 50),
            "model.name=vit_b_32 cannot take 50 x 50 images (Input shape indivisible by patch size!); "
            "set data.size=224, or another model.name",
        ),
    ],
)
def test_names_and_sizes_are_refused_in_a_sentence(config, size, text):
    with pytest.raises(ValueError, match=r"model\.name") as error:
        config.build(channels=3, size=size, classes=2)
    assert str(error.value).startswith(text)


# Weights


def tiny(classes=1000):
    return torchvision.models.get_model("squeezenet1_1", num_classes=classes)


@pytest.fixture(params=[".pth", ".safetensors"])
def saved(request, tmp_path):
    """A net of five classes, and the file of its weights."""
    net, path = tiny(5), tmp_path / f"weights{request.param}"
    (save_file if request.param == ".safetensors" else torch.save)(net.state_dict(), path)
    return net, path


def test_a_file_fills_everything_but_the_head(saved):
    source, path = saved
    net = TorchvisionConfig(name="squeezenet1_1", weights=str(path)).build(channels=3, size=(32, 32), classes=3)
    assert net.classifier[1].out_channels == 3
    body = {key: value for key, value in source.state_dict().items() if not key.startswith("classifier.1")}
    assert body.keys() == {key for key in net.state_dict() if not key.startswith("classifier.1")}
    assert all(torch.equal(net.state_dict()[key], value) for key, value in body.items())


def test_a_file_of_another_net_is_refused_with_what_differs(saved):
    with pytest.raises(ValueError, match="does not fit") as error:
        TorchvisionConfig(name="resnet18", weights=str(saved[1])).build(channels=3, size=(32, 32), classes=3)
    assert str(error.value).startswith(
        f"model.weights={saved[1]} does not fit model.name=resnet18: "
        "102 missing (conv1.weight, bn1.weight, bn1.bias, ...); 52 unknown ("
    )
    assert str(error.value).endswith(", ...); set model.name to the net the weights belong to")


def test_a_tensor_of_another_shape_is_named():
    state = tiny().state_dict()
    state["features.0.weight"] = torch.zeros(64, 3, 5, 5)
    del state["features.0.bias"]
    with pytest.raises(ValueError, match="does not fit") as error:
        load_weights(tiny(), state, TorchvisionConfig(name="squeezenet1_1", weights="w.pth"))
    assert (
        "1 missing (features.0.bias); 1 of another shape "
        "(features.0.weight (64, 3, 5, 5) instead of (64, 3, 3, 3)); set model.name"
    ) in str(error.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (lambda path: path.write_bytes(b"not weights"), "cannot be read as tensors ("),
        (lambda path: torch.save({"epoch": 1}, path), "is not a state dict, tensors by name; write the file with"),
        (lambda path: torch.save({}, path), "is not a state dict, tensors by name; write the file with"),
        (lambda path: torch.save(nn.Linear(1, 1), path), "cannot be read as tensors (Weights only load failed."),
    ],
    ids=["garbage", "other", "empty", "pickled module"],
)
def test_a_file_that_is_no_state_dict_is_refused(tmp_path, content, text):
    path = tmp_path / "weights.pth"
    content(path)
    with pytest.raises(ValueError, match="write the file with") as error:
        TorchvisionConfig(weights=str(path)).build(channels=3, size=(32, 32), classes=2)
    assert str(error.value).startswith(f"model.weights={path} {text}")


def test_neither_a_name_nor_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="must be") as error:
        TorchvisionConfig(weights="IMAGENET").build(channels=3, size=(32, 32), classes=2)
    assert str(error.value) == (
        "model.weights must be IMAGENET1K_V1, DEFAULT, a .pth or .safetensors file, or null (got IMAGENET); "
        f"there is no file {tmp_path}/IMAGENET"
    )


def test_default_weights_come_from_torchvision_and_are_read_safely(monkeypatch):
    asked = {}
    state = torchvision.models.resnet18().state_dict()

    def fetch(self, **kwargs):
        asked.update(kwargs, weights=self)
        return state

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", fetch)
    net = TorchvisionConfig(weights="DEFAULT").build(channels=3, size=(32, 32), classes=2)
    assert asked["weights"] is ResNet18_Weights.IMAGENET1K_V1
    assert asked["weights_only"] is True
    assert asked["check_hash"] is True
    assert torch.equal(net.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


def test_without_a_network_the_error_says_what_to_do(monkeypatch):
    def fetch(self, **kwargs):
        raise URLError("unreachable")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", fetch)
    with pytest.raises(
        OSError, match=r"^model\.weights=DEFAULT could not be fetched from https://.*resnet18.*unreachable"
    ):
        TorchvisionConfig(weights="DEFAULT").build(channels=3, size=(32, 32), classes=2)


def test_old_densenet_names_and_auxiliary_heads_are_understood():
    net = torchvision.models.get_model("densenet121")
    state = net.state_dict()
    old = {key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value for key, value in state.items()}
    assert old.keys() != state.keys()
    load_weights(net, old, TorchvisionConfig(name="densenet121", weights="old.pth"))
    load_weights(tiny(), tiny().state_dict() | {"aux1.fc.weight": torch.zeros(1)}, TorchvisionConfig(weights="aux.pth"))


def test_mobilenet_v2_file_of_imagenet():
    path = Path("data/weights/mobilenet_v2-imagenet.pth")
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    config = TorchvisionConfig(name="mobilenet_v2", weights=str(path))
    grey, rgb = (config.build(channels=c, size=(64, 64), classes=2).eval() for c in (1, 3))
    image = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            grey.features(image), rgb.features(image.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4
        )


# Statistics


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (TorchvisionConfig(), None),
        (TorchvisionConfig(weights="DEFAULT"), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        (TorchvisionConfig(weights="some/file.pth"), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        (TorchvisionConfig(name="efficientnet_v2_l", weights="DEFAULT"), ((0.5,) * 3, (0.5,) * 3)),
    ],
)
def test_weights_stats(config, expected):
    assert weights_stats(config) == expected


def test_stats_of_inception_stand_for_the_rescaling_that_torchvision_does_inside_the_net():
    bare = TorchvisionConfig(name="googlenet").build(channels=3, size=(64, 64), classes=4).eval()
    inside = torchvision.models.googlenet(
        num_classes=4, aux_logits=False, transform_input=True, init_weights=False
    ).eval()
    inside.load_state_dict(bare.state_dict())
    images = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in weights_stats(TorchvisionConfig(weights="DEFAULT")))
    ours, by = (
        torch.tensor(v).view(3, 1, 1) for v in weights_stats(TorchvisionConfig(name="googlenet", weights="x.pth"))
    )
    with torch.no_grad():
        torch.testing.assert_close(bare((images - ours) / by), inside((images - mean) / std), rtol=1e-4, atol=1e-5)


# Surgery


def test_one_channel_sees_what_rgb_sees_in_a_grey_image():
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    grey = torch.randn(2, 1, 8, 8)
    expected = net(grey.expand(-1, 3, -1, -1))
    adapt_input(net, 1)
    torch.testing.assert_close(net(grey), expected)


@pytest.mark.parametrize("channels", [2, 4, 6])
def test_other_channel_counts_keep_the_scale(channels):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False))
    nn.init.ones_(net[0].weight)
    adapt_input(net, channels)
    torch.testing.assert_close(net(torch.ones(1, channels, 3, 3)), torch.full((1, 4, 1, 1), 27.0))


def test_rgb_stays_as_it_is():
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    weight = net[0].weight
    adapt_input(net, 3)
    assert net[0].weight is weight


def test_a_head_without_bias_stays_without():
    net = nn.Sequential(nn.Linear(4, 3, bias=False))
    replace_head(net, 2)
    assert net[0].bias is None
    assert net[0].out_features == 2


def test_dropout_goes_in_front_of_a_head_that_has_none_beside_it():
    net = TorchvisionConfig(name="shufflenet_v2_x0_5", dropout=0.3).build(channels=3, size=(32, 32), classes=2)
    assert [type(layer) for layer in net.fc] == [nn.Dropout, nn.Linear]
    assert net.fc[0].p == 0.3
    assert head_name(net) == "fc.1"


def test_dropout_beside_the_head_is_set():
    net = TorchvisionConfig(name="mobilenet_v3_small", dropout=0.3).build(channels=3, size=(32, 32), classes=2)
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.3]
    sole = nn.Sequential(nn.Linear(2, 2))
    set_head_dropout(sole, 0.1)
    assert sole[0][0].p == 0.1


def test_a_net_without_a_head_is_refused():
    with pytest.raises(
        ValueError, match="ReLU has no Linear or Conv2d layer whose outputs could be the logits; add one"
    ):
        head_name(nn.ReLU())


def test_a_file_of_bare_tensors_is_enough_for_a_net_that_counts_its_versions(tmp_path):
    theirs = torchvision.models.mnasnet0_5(num_classes=3)
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    config = TorchvisionConfig(name="mnasnet0_5", weights=str(tmp_path / "weights.safetensors"))
    ours, images = config.build(channels=3, size=(32, 32), classes=2), torch.randn(2, 3, 32, 32)
    assert torch.equal(ours.eval().layers(images), theirs.eval().layers(images))


def test_nets_that_take_no_weights_have_no_statistics_to_match():
    assert [weights_stats(config) for config in (MLPConfig(), ResNetConfig(), TorchvisionConfig())] == [None] * 3
