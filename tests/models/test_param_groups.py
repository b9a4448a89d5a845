import copy

import pytest
import torch
from torch import nn

from lightcycle.models import AdamWConfig, Classifier, ResNetConfig, SGDConfig
from lightcycle.models.param_groups import param_groups
from lightcycle.transfer.groups import by_stages


@pytest.fixture
def net():
    return ResNetConfig(width=4).build(channels=1, size=(8, 8), classes=3)


@pytest.mark.parametrize("no_decay", [True, False])
def test_every_parameter_is_in_exactly_one_group(net, no_decay):
    net.stem.requires_grad_(False)  # frozen ones too
    grouped = [id(p) for group in param_groups(net, no_decay=no_decay) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in net.parameters())


def test_biases_and_norms_do_not_decay(net):
    decay, spared = param_groups(net, weight_decay=0.1)
    matrices = [layer.weight for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert {id(p) for p in decay["params"]} == {id(p) for p in matrices}
    assert (decay["name"], decay["weight_decay"]) == ("decay", 0.1)
    assert (spared["name"], spared["weight_decay"]) == ("no_decay", 0.0)


def test_all_decay_when_asked(net):
    (group,) = param_groups(net, no_decay=False)
    assert group["name"] == "decay"
    assert len(group["params"]) == len(list(net.parameters()))


def test_the_optimizers_own_decay_reaches_the_group_that_leaves_it_open(net):
    groups = SGDConfig(weight_decay=0.25).build(param_groups(net)).param_groups
    assert [(group["name"], group["weight_decay"]) for group in groups] == [("decay", 0.25), ("no_decay", 0.0)]


def test_a_step_without_gradient_shrinks_only_what_decays():
    layer = nn.Linear(2, 2)
    nn.init.ones_(layer.weight)
    nn.init.ones_(layer.bias)
    for p in layer.parameters():
        p.grad = torch.zeros_like(p)
    AdamWConfig(lr=0.5, weight_decay=0.1).build(param_groups(layer)).step()
    assert torch.equal(layer.weight, torch.full((2, 2), 0.95))
    assert torch.equal(layer.bias, torch.ones(2))


def test_a_shared_parameter_is_listed_once():
    first = nn.Linear(2, 2)
    second = nn.Linear(2, 2)
    second.weight = first.weight
    decay, spared = param_groups(nn.Sequential(first, second))
    assert (len(decay["params"]), len(spared["params"])) == (1, 2)


def layers(net):
    return by_stages(net, "head.1")


def test_each_layer_group_has_its_own_pair_and_rate(net):
    rates = [0.1 * 2**i for i in range(6)]
    made = param_groups(net, groups=layers(net), rates=rates)
    names = [f"{layer.name}/{kind}" for layer in layers(net) for kind in ("decay", "no_decay")]
    assert [group["name"] for group in made] == names
    assert [group["lr"] for group in made] == [rate for rate in rates for _ in range(2)]
    assert sorted(id(p) for group in made for p in group["params"]) == sorted(id(p) for p in net.parameters())
    for group in made:
        assert {p.ndim > 1 for p in group["params"]} == {group["name"].endswith("/decay")}
        assert group.get("weight_decay") == (None if group["name"].endswith("/decay") else 0.0)


def test_layer_groups_without_rates_have_the_optimizers_own(net):
    made = SGDConfig(lr=0.3).build(param_groups(net, groups=layers(net), no_decay=False))
    assert [(group["name"], group["lr"]) for group in made.param_groups] == [
        (f"{layer.name}/decay", 0.3) for layer in layers(net)
    ]


def test_equal_rates_train_as_without_groups(net):
    twin = copy.deepcopy(net)
    images, labels = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    for module, options in ((net, {}), (twin, {"groups": layers(twin), "rates": [0.1] * 6})):
        optimizer = SGDConfig(lr=0.1).build(param_groups(module, **options))
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(images), labels).backward()
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters(), strict=True))


def test_groups_that_are_not_the_nets_are_refused(net):
    groups = layers(net)
    with pytest.raises(ValueError, match=r"^rates has 2 entries for 6 layer groups; give one rate for each$"):
        param_groups(net, groups=groups, rates=[0.1, 0.2])
    with pytest.raises(ValueError, match=r"^the layer groups and the net do not agree about head.1.bias; split"):
        param_groups(net, groups=groups[:-1])
    with pytest.raises(ValueError, match=r"^head.1.weight is in two layer groups, and can have one rate; split"):
        param_groups(net, groups=[*groups, groups[-1]])


def test_the_classifier_hands_its_groups_to_the_optimizer(net):
    module = Classifier(net, SGDConfig().build, groups=layers(net), rates=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    made = module.configure_optimizers().param_groups
    assert [group["lr"] for group in made[::2]] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert module.layer_groups[-1].parameters == ("net.head.1.weight", "net.head.1.bias")
    assert Classifier(net, SGDConfig().build).layer_groups is None
