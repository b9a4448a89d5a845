"""Freezing: what needs a gradient, what is in which mode, and what that costs."""

import pytest
import torch
import torchvision
from torch import nn

from lightcycle.models import ResNetConfig, head_name
from lightcycle.transfer.freezing import set_depth, set_modes, set_trainable
from lightcycle.transfer.groups import LayerGroup, by_stages
from lightcycle.transfer.table import group_table


@pytest.fixture
def net():
    torch.manual_seed(0)
    return ResNetConfig(width=4, dropout=0.5).build(channels=1, size=(8, 8), classes=3)


@pytest.fixture
def groups(net):
    return by_stages(net, head_name(net))


IMAGES = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("policy", ["frozen", "stats", "train"])
@pytest.mark.parametrize("depth", [1, 3, 6])
def test_what_needs_a_gradient(net, groups, depth, policy):
    set_depth(net, groups, depth, policy)
    norms = {f"{path}.{kind}" for path, part in net.named_modules() if isinstance(part, nn.BatchNorm2d)
             for kind in ("weight", "bias")}  # fmt: skip
    trains = {name for group in groups[6 - depth :] for name in group.parameters}
    trains |= norms if policy == "train" else set()
    assert {name for name, p in net.named_parameters() if p.requires_grad} == trains
    nn.functional.cross_entropy(net(IMAGES), torch.arange(6) % 3).backward()
    assert {name for name, p in net.named_parameters() if p.grad is not None} == trains


@pytest.mark.parametrize(("policy", "moves"), [("frozen", False), ("stats", True), ("train", True)])
def test_statistics_of_frozen_groups(net, groups, policy, moves):
    set_depth(net, groups, 3, policy)
    before = {name: b.clone() for name, b in net.named_buffers() if name.endswith("running_mean")}
    net(IMAGES)
    for name, b in net.named_buffers():
        if name in before:
            frozen = name.startswith(("stem", "stages.0", "stages.1", "stages.2"))
            assert torch.equal(b, before[name]) == (frozen and not moves), name


def test_it_may_go_up_and_down_again(net, groups):
    def state():
        return [p.requires_grad for p in net.parameters()], [part.training for part in net.modules()]

    fresh = state()
    set_depth(net, groups, 2)
    at_two = state()
    set_depth(net, groups, 6)
    assert state() == fresh
    set_depth(net, groups, 2)
    assert state() == at_two != fresh


def test_gradients_of_what_is_frozen_are_dropped_and_others_kept(net, groups):
    net(IMAGES).sum().backward()
    kept = {name: net.get_parameter(name).grad for name in groups[-1].parameters}
    assert set_trainable(net, groups, 1)
    assert all(net.get_parameter(name).grad is grad for name, grad in kept.items())
    assert all(p.grad is None for name, p in net.named_parameters() if name not in kept)
    assert not set_trainable(net, groups, 1)  # nothing more to change


def test_a_frozen_body_keeps_no_graph_and_repeats_itself(net, groups):
    set_depth(net, groups, 1)
    features = net.pool(net.stages(net.stem(IMAGES)))
    assert features.grad_fn is None
    assert torch.equal(features, net.pool(net.stages(net.stem(IMAGES))))
    assert not torch.equal(net.head(features), net.head(features))  # dropout beside the head is the head's


def dropouts(net):
    kinds = (nn.Dropout, torchvision.ops.StochasticDepth)
    return {path: part.training for path, part in net.named_modules() if isinstance(part, kinds)}


def test_dropout_of_frozen_parts_is_off():
    net = torchvision.models.efficientnet_b0(num_classes=3)
    groups = by_stages(net, "classifier.1")
    for depth in range(1, len(groups) + 1):
        set_depth(net, groups, depth)
        frozen = tuple(f"features.{i}." for i in range(1, len(groups) - depth + 1))
        assert dropouts(net) == {path: not path.startswith(frozen) for path in dropouts(net)}


def test_in_a_sequential_dropout_goes_with_the_layer_behind_it():
    with torch.device("meta"):
        net = torchvision.models.vgg11(num_classes=3)
    groups = by_stages(net, "classifier.6")
    set_depth(net, groups, 1)
    assert dropouts(net) == {"classifier.2": False, "classifier.5": True}
    set_depth(net, groups, 2)
    assert dropouts(net) == {"classifier.2": True, "classifier.5": True}


def test_a_norm_without_parameters_goes_with_the_layer_in_front_of_it():
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False), nn.Linear(4, 2))
    set_depth(net, [LayerGroup("body", ("0.weight", "0.bias")), LayerGroup("head", ("2.weight", "2.bias"))], 1)
    assert [part.training for part in net] == [False, False, True]


def test_what_is_in_no_group_is_left_alone():
    net = nn.ModuleDict({"body": nn.Linear(4, 4), "head": nn.Linear(4, 2), "loss": nn.Dropout(0.5)})
    net["teacher"] = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).eval().requires_grad_(False)
    groups = [LayerGroup(n, (f"{n}.weight", f"{n}.bias")) for n in ("body", "head")]
    for depth in (1, 2):
        asleep = set_modes(net, groups, depth)
        assert asleep == ([net["body"]] if depth == 1 else [])
        assert net["loss"].training
        assert not any(part.training for part in net["teacher"].modules())


def test_a_custom_attention_with_dropout_inside_is_off_too():
    """``MultiheadAttention`` asks its own mode, not that of a dropout layer."""
    net = torchvision.models.VisionTransformer(8, 4, 2, 2, 8, 16, dropout=0.5, attention_dropout=0.5, num_classes=3)
    set_depth(net, by_stages(net, "heads.head"), 1)
    attention = net.encoder.layers.encoder_layer_1.self_attention
    x = torch.randn(2, 5, 8)
    assert torch.equal(attention(x, x, x)[0], attention(x, x, x)[0])


@pytest.mark.parametrize("depth", [0, 7])
def test_depth_out_of_range_is_refused(net, groups, depth):
    with pytest.raises(ValueError, match=rf"^depth must be between 1 and 6, the layer groups \(got {depth}\); 1 is"):
        set_depth(net, groups, depth)


def test_an_unknown_policy_is_refused(net, groups):
    with pytest.raises(ValueError, match=r"^batchnorm must be one of frozen, stats, train \(got 'off'\); frozen is"):
        set_depth(net, groups, 1, "off")


def test_the_table_shows_what_differs_within_a_group():
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    body = LayerGroup("body", ("0.weight", "0.bias", "1.weight", "1.bias"))
    groups = [body, LayerGroup("head", ("2.weight", "2.bias"))]
    set_depth(net, groups, 1, "train")
    optimizer = torch.optim.SGD(
        [
            {"params": net[0].parameters(), "lr": 0.1, "initial_lr": 0.4, "weight_decay": 0.5},
            {"params": net[1].parameters(), "lr": 0.1, "weight_decay": 0.0},
            {"params": net[2].parameters(), "lr": 0.3},
        ]
    )
    header, rows = group_table(net, groups, optimizer)
    assert header == ["group", "parameters", "lr", "trainable", "weight decay"]
    assert rows == [["body", "28", "0.4, 0.1", "no, yes", "0.5, 0.0"], ["head", "10", 0.3, "yes", 0]]
