import pytest
import torch
from torch import nn

from lightcycle.models import AdamWConfig, ResNetConfig, SGDConfig
from lightcycle.models.param_groups import param_groups


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
