import pytest
import torch
from torch import nn

from lightcycle.models import MLPConfig, ResNetConfig, head_name
from lightcycle.models.resnet import Block, ResNet


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (9, 15), (28, 28), (32, 32), (224, 224)])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_resnet_takes_any_size_and_number_of_channels(size, channels):
    net = ResNetConfig(width=4).build(channels=channels, size=size, classes=7)
    logits = net(torch.randn(2, channels, *size))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


def test_resnet_has_1_23_million_parameters():
    net = ResNetConfig().build(channels=1, size=(28, 28), classes=10)
    convs = 9 * 16 + sum(9 * (n_in * n + n * n) for n_in, n in [(16, 16), (16, 32), (32, 64), (64, 128), (128, 256)])
    shortcuts = 16 * 32 + 32 * 64 + 64 * 128 + 128 * 256
    norms = 2 * (16 + 2 * (16 + 32 + 64 + 128 + 256))
    assert sum(p.numel() for p in net.parameters()) == convs + shortcuts + norms + 256 * 10 + 10 == 1_227_898


def test_resnet_halves_the_image_rounding_up_in_each_stage_but_the_first():
    net = ResNet(1, 10, width=4)
    x, sizes = net.stem(torch.randn(1, 1, 28, 28)), []
    for stage in net.stages:
        x = stage(x)
        sizes.append(tuple(x.shape[1:]))
    assert sizes == [(4, 28, 28), (8, 14, 14), (16, 7, 7), (32, 4, 4), (64, 2, 2)]


def test_a_fresh_block_is_its_shortcut():
    x = torch.rand(4, 8, 7, 7)
    assert torch.equal(Block(8, 8)(x), x)
    strided = Block(8, 8, stride=2)(x)
    assert torch.equal(strided, nn.functional.avg_pool2d(x, 2, ceil_mode=True))


def test_resnet_blocks_deepen_every_stage():
    net = ResNet(3, 10, width=4, blocks=2)
    assert [len(stage) for stage in net.stages] == [2] * 5
    assert net(torch.randn(2, 3, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("config", [MLPConfig(hidden=[16], dropout=0.5), ResNetConfig(width=4, dropout=0.5)])
def test_dropout_acts_in_training_only(config):
    net = config.build(channels=1, size=(8, 8), classes=3)
    images = torch.randn(8, 1, 8, 8)
    assert not torch.equal(net(images), net(images))
    net.eval()
    assert torch.equal(net(images), net(images))


def test_every_parameter_of_resnet_learns():
    net = ResNet(1, 3, width=4)
    for block in net.modules():
        if isinstance(block, Block):
            nn.init.ones_(block.residual[-1].weight)  # at zero, what lies before it has no gradient
    net(torch.randn(4, 1, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_mlp_is_matrices_and_relu():
    net = MLPConfig(hidden=[6, 5]).build(channels=3, size=(2, 4), classes=4)
    images = torch.randn(7, 3, 2, 4)
    (w0, b0, w1, b1, w2, b2) = net.parameters()
    expected = torch.relu(torch.relu(images.reshape(7, 24) @ w0.T + b0) @ w1.T + b1) @ w2.T + b2
    torch.testing.assert_close(net(images), expected)


def test_mlp_without_hidden_layers_is_softmax_regression():
    net = MLPConfig(hidden=[]).build(channels=1, size=(8, 8), classes=10)
    assert [tuple(p.shape) for p in net.parameters()] == [(10, 64), (10,)]


@pytest.mark.parametrize(("config", "name"), [(MLPConfig(), "head"), (ResNetConfig(width=4), "head.1")])
def test_the_head_is_found(config, name):
    net = config.build(channels=1, size=(8, 8), classes=10)
    assert head_name(net) == name
    assert net.get_submodule(name).out_features == 10
