"""Layer groups: every parameter in exactly one, from the input to the head, for any net."""

import pytest
import torch
import torchvision
from torch import nn

from lightcycle.models import MLPConfig, ResNetConfig, TorchvisionConfig, head_name
from lightcycle.transfer.groups import LayerGroup, by_depth, by_patterns, by_stages, layer_groups

STAGES = {
    "resnet18": ["layer1", "layer2", "layer3", "layer4"],
    "regnet_x_400mf": [f"trunk_output.block{i}" for i in range(1, 5)],
    "mobilenet_v2": [f"features.{i}" for i in range(1, 18)],
    "mobilenet_v3_small": [f"features.{i}" for i in range(1, 12)],
    "efficientnet_b0": [f"features.{i}" for i in range(1, 8)],
    "convnext_tiny": [f"features.{i}" for i in (1, 3, 5, 7)],
    "swin_t": [f"features.{i}" for i in (1, 3, 5, 7)],
    "densenet121": [f"features.denseblock{i}" for i in range(1, 5)],
    "shufflenet_v2_x0_5": ["stage2", "stage3", "stage4"],
    "mnasnet0_5": [f"layers.{i}" for i in range(8, 14)],
    "squeezenet1_1": [f"features.{i}" for i in (3, 4, 6, 7, 9, 10, 11, 12)],
    "vit_b_32": [f"encoder.layers.encoder_layer_{i}" for i in range(12)],
    "maxvit_t": ["stem", *(f"blocks.{i}" for i in range(4))],
}


def torchvision_net(name):
    pixels = 224 if name in ("maxvit_t", "vit_b_32") else 64
    return TorchvisionConfig(name=name).build(channels=3, size=(pixels, pixels), classes=5)


def vgg():
    with torch.device("meta"):
        return torchvision.models.vgg11_bn()


def check_partition(net, groups):
    """Every parameter once, in the net's own order within a group, and the head last."""
    listed = [name for group in groups for name in group.parameters]
    sizes = {name: p.numel() for name, p in net.named_parameters()}
    assert sorted(listed) == sorted(sizes)
    assert [group.size for group in groups] == [sum(sizes[name] for name in group.parameters) for group in groups]
    head = head_name(net)
    assert groups[-1].name == "head"
    assert all(name.startswith(f"{head}.") for name in groups[-1].parameters)


@pytest.mark.parametrize(("name", "stages"), STAGES.items(), ids=STAGES)
def test_torchvisions_own_stages(name, stages):
    net = torchvision_net(name)
    groups = by_stages(net, head_name(net))
    assert [group.name for group in groups] == [*stages, "head"]
    check_partition(net, groups)
    for n in (2, 3, 5):
        shares = by_depth(net, n, head_name(net))
        check_partition(net, shares)
        counts = [layers_in(net, group) for group in shares[:-1]]
        assert max(counts) - min(counts) <= 1


def layers_in(net, group):
    """Layers with a matrix or a kernel; a module may hold several."""
    return len({name.rpartition(".")[0] for name in group.parameters if net.get_parameter(name).ndim > 1})


def test_what_has_a_single_layer_goes_with_the_stage_behind_it_or_the_last():
    net = torchvision_net("convnext_tiny")
    groups = {group.name: group.parameters for group in by_stages(net, head_name(net))}
    assert [name for name in groups["features.1"] if name.startswith("features.0.")]  # the stem
    assert [name for name in groups["features.3"] if name.startswith("features.2.")]  # down-sampling
    assert [name for name in groups["features.7"] if name.startswith("classifier.0.")]  # the norm in front of the head
    net = torchvision_net("mobilenet_v2")
    assert [name for name in by_stages(net, head_name(net))[-2].parameters if name.startswith("features.18.")]


def test_nets_of_single_layers_have_a_group_for_each():
    net = vgg()
    groups = by_stages(net, head_name(net))
    convolutions = [f"features.{i}" for i in (0, 4, 8, 11, 15, 18, 22, 25)]
    assert [group.name for group in groups] == [*convolutions, "classifier.0", "classifier.3", "head"]
    check_partition(net, groups)


def test_our_own_nets():
    net = ResNetConfig(width=4).build(channels=1, size=(8, 8), classes=3)
    groups = by_stages(net, head_name(net))
    assert [group.name for group in groups] == [*(f"stages.{i}" for i in range(5)), "head"]
    assert groups[0].parameters[0].startswith("stem.")
    check_partition(net, groups)
    mlp = MLPConfig(hidden=[8, 8]).build(channels=1, size=(4, 4), classes=3)
    assert [group.name for group in by_stages(mlp, head_name(mlp))] == ["layers.0", "layers.1", "head"]


def test_a_net_inside_a_net():
    net = nn.Module()
    net.backbone = torchvision.models.resnet18()
    net.backbone.fc = nn.Identity()
    net.head = nn.Linear(512, 3)
    groups = by_stages(net, "head")
    assert [group.name for group in groups] == [*(f"backbone.layer{i}" for i in range(1, 5)), "head"]


TIMM = {
    "resnet10t": ["conv1", "layer1", "layer2", "layer3", "layer4"],
    "mobilenetv2_050": ["conv_stem", *(f"blocks.{i}" for i in range(7))],
    "vit_tiny_patch16_224": ["patch_embed", *(f"blocks.{i}" for i in range(12))],
    "convnext_atto": ["stem", *(f"stages.{i}" for i in range(4))],
    "swin_tiny_patch4_window7_224": ["patch_embed", *(f"layers.{i}" for i in range(4))],
}


@pytest.mark.parametrize(("name", "stages"), TIMM.items(), ids=TIMM)
def test_timms_own_stages(name, stages):
    net = pytest.importorskip("timm", reason="the extra lightcycle[timm] is not installed").create_model(
        name, num_classes=3
    )
    groups = by_stages(net, head_name(net))
    assert [group.name for group in groups] == [*stages, "head"]
    check_partition(net, groups)


def test_patterns_by_name_and_alone():
    net = ResNetConfig(width=4).build(channels=1, size=(8, 8), classes=3)
    named = by_patterns(net, {"low": r"stem|stages\.[01]", "high": r"stages\.[2-4]", "top": "head"})
    assert [group.name for group in named] == ["low", "high", "top"]
    alone = by_patterns(net, [r"stem|stages\.[01]", r"stages\.[2-4]", "head"])
    assert [group.parameters for group in alone] == [group.parameters for group in named]
    assert sum(group.size for group in named) == sum(p.numel() for p in net.parameters())


def test_one_way_in():
    net = torchvision.models.resnet18()
    assert layer_groups(net, "stages", "fc") == by_stages(net, "fc")
    assert layer_groups(net, 3, "fc") == by_depth(net, 3, "fc")
    assert layer_groups(net, ["(?!fc)", "fc"], "fc") == by_patterns(net, ["(?!fc)", "fc"])


def test_groups_seen_from_outside():
    group = LayerGroup("head", ("fc.weight", "fc.bias"), 10)
    assert group.under("net") == LayerGroup("head", ("net.fc.weight", "net.fc.bias"), 10)


def small():
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("how", "head", "text"),
    [
        (1, "2", "groups must be between 2 and 3, the layers of this Sequential (got 1); 3 is usual: two halves of"),
        (4, "2", "groups must be between 2 and 3, the layers of this Sequential (got 4)"),
        ("satges", "2", "groups must be a number >= 2, stages, or patterns of parameter names (got 'satges'); try"),
        ([], "2", "groups must be a number >= 2, stages, or patterns of parameter names (got [])"),
        (True, "2", "groups must be a number >= 2, stages, or patterns of parameter names (got True)"),
        ({"a": "0", "b": "2"}, "2", "groups leaves out 1.weight, 1.bias; give every parameter a pattern, such as"),
        (["2"], "2", "groups leaves out 0.weight, 0.bias, 1.weight and 1 more; give every parameter a pattern"),
        (
            {"a": "[01]", "b": "[12]"},
            "2",
            "groups has several patterns for 1.weight, 1.bias; patterns match from the start of a name",
        ),
        (
            {"a": ".*", "b": "fc"},
            "2",
            "groups.b=fc matches no parameter; there are 0.weight, 0.bias, 1.weight and 3 more",
        ),
        (["("], "2", "groups: '(' is no regular expression (missing ), unterminated subpattern at position 0); layer1"),
        (2, "9", "Sequential has no head called '9', so there are no layer groups; leave groups out"),
    ],
    ids=str,
)
def test_what_cannot_be_split_is_refused(how, head, text):
    with pytest.raises(ValueError, match=r"groups|Sequential") as error:
        layer_groups(small(), how, head)
    assert str(error.value).startswith(text)


def test_a_head_without_a_body_has_no_groups():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="Sequential has no parameters below its head, so there are no layer groups"):
        by_stages(net, "1")
