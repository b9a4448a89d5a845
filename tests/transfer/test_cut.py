"""The two halves of a net are the net; what its head learns the net has learned."""

import pytest
import torch
from torch import nn

from lightcycle.models import MLP, MLPConfig, ResNet, ResNetConfig, TorchvisionConfig, head_name
from lightcycle.transfer.cut import HeadOnly, check_cut, split_head, twin

NETS = {
    "ours": (ResNetConfig(width=4, dropout=0.3), 16, 64),
    "mlp": (MLPConfig(hidden=[12], dropout=0.3), 16, 12),
    "softmax regression": (MLPConfig(hidden=[]), 16, 768),
    "mobilenet_v2": (TorchvisionConfig(name="mobilenet_v2"), 32, 1280),
    "resnet18": (TorchvisionConfig(name="resnet18"), 32, 512),
    "vgg": (TorchvisionConfig(name="vgg11"), 32, 4096),
    "convnext": (TorchvisionConfig(name="convnext_tiny"), 32, 768),
    "vit": (TorchvisionConfig(name="vit_b_32", dropout=0.1), 32, 768),
}


def built(name: str) -> tuple[nn.Module, torch.Tensor, int]:
    torch.manual_seed(0)
    config, size, features = NETS[name]
    net = config.build(channels=3, size=(size, size), classes=5)
    for module in net.modules():  # running statistics that say something
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(), module.running_var.uniform_(0.5, 2)
    return net, torch.randn(6, 3, size, size), features


@pytest.mark.parametrize("name", NETS)
def test_live_and_cached_logits_agree(name):
    net, images, features = built(name)
    body, head = split_head(net, head_name(net))
    given = body(images)
    assert given.shape == (6, features)
    assert not given.requires_grad
    live = net.eval()(images)
    assert torch.equal(head.eval()(given), live) or (head(given) - live).abs().max() < 1e-5
    one_by_one = torch.cat([body(image[None]) for image in images])
    assert (head(one_by_one) - live).abs().max() < 1e-5
    check_cut(net, head_name(net), images[:2])


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("ours", [nn.Dropout, nn.Linear]),
        ("mlp", [nn.Dropout, nn.Linear]),
        ("mobilenet_v2", [nn.Dropout, nn.Linear]),
        ("vgg", [nn.Dropout, nn.Linear]),
        ("vit", [nn.Dropout, nn.Linear]),
        ("resnet18", [nn.Linear]),
        ("convnext", [nn.Linear]),
    ],
)
def test_the_dropout_in_front_of_the_head_acts_in_training(name, layers):
    net, images, _ = built(name)
    body, head = split_head(net, head_name(net))
    assert [type(layer) for layer in head] == layers
    features = body(images)
    differs = not torch.equal(head.train()(features), head(features))
    assert differs == (nn.Dropout in layers)


def test_cutting_leaves_the_net_as_it_was():
    net, images, _ = built("ours")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    body, _ = split_head(net, head_name(net))
    body(images)
    assert all(module.training for module in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert not any(module.training for module in body.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_a_twin_sees_what_the_net_learns():
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    other = twin(net).eval()
    net(torch.randn(8, 3)).sum().backward()
    torch.optim.SGD(net.parameters(), lr=1.0).step()
    assert torch.equal(other[0].weight, net[0].weight)
    assert torch.equal(other[1].running_mean, net[1].running_mean)
    assert not other[0].weight.requires_grad


def test_what_the_head_learns_the_net_has_learned():
    net, images, _ = built("mobilenet_v2")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    body, _ = split_head(net, "classifier.1")
    trained = HeadOnly(net, "classifier.1").train()
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1, weight_decay=0.1)
    nn.functional.cross_entropy(trained(body(images)), torch.arange(6) % 5).backward()
    optimizer.step()
    changed = [name for name, tensor in net.state_dict().items() if not torch.equal(before[name], tensor)]
    assert changed == ["classifier.1.weight", "classifier.1.bias"]
    live = net.eval()(images)
    assert (trained.eval()(body(images)) - live).abs().max() < 1e-5
    other, *_ = built("mobilenet_v2")
    other.load_state_dict(trained.state_dict())  # strict: a checkpoint of the head is one of the net
    assert torch.equal(other.eval()(images), live)


def test_parameters_and_buffers_of_the_net_itself_are_kept():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.head = nn.Parameter(torch.ones(3)), nn.Linear(3, 2)
            self.register_buffer("kept", torch.ones(1))
            self.register_buffer("made", torch.ones(1), persistent=False)

        def forward(self, x):
            return self.head(x * self.scale + self.kept)

    net = Own()
    trained = HeadOnly(net, "head")
    assert list(trained.state_dict()) == list(net.state_dict()) == ["scale", "kept", "head.weight", "head.bias"]
    assert [name for name, p in trained.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]


def test_a_net_that_goes_on_after_its_head_is_refused():
    class Twice(MLP):
        def forward(self, images):
            return 2 * super().forward(images)

    text = "Twice does more than its layer head with the features in front of it, so they cannot be cached; set feat"
    with pytest.raises(ValueError, match=text):
        check_cut(Twice(12, 3), "head", torch.randn(2, 3, 2, 2))
    net = TorchvisionConfig(name="squeezenet1_1").build(channels=3, size=(32, 32), classes=5)
    with pytest.raises(ValueError, match=r"SqueezeNet does more than its layer classifier\.1"):
        check_cut(net, head_name(net), torch.randn(2, 3, 32, 32))


def test_a_head_alone_is_refused():
    with pytest.raises(ValueError, match="Linear is a head without a body; wrap it"):
        split_head(nn.Linear(3, 2), "")


def test_a_check_leaves_modes_alone():
    net = ResNet(3, 5, width=4)
    net.stem.eval()
    modes = [module.training for module in net.modules()]
    check_cut(net, "head.1", torch.randn(2, 3, 16, 16))
    assert [module.training for module in net.modules()] == modes
