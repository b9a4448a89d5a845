"""Slow depthwise convolutions in single precision: which those are, and that nothing else changes."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from lightcycle.models.depthwise import SinglePrecisionConv2d, keep_single_precision


def strided(**options):
    torch.manual_seed(0)
    return nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, **options)


@pytest.mark.parametrize(
    ("conv", "is_slow"),
    [
        (nn.Conv2d(8, 8, 3, stride=2, groups=8), True),
        (nn.Conv2d(8, 8, 3, stride=(1, 2), groups=8), True),
        (nn.Conv2d(8, 16, 3, stride=2, groups=8), True),
        (nn.Conv2d(8, 8, 5, groups=8), True),
        (nn.Conv2d(8, 8, (1, 7), groups=8), True),
        (nn.Conv2d(8, 8, 3, groups=8), False),
        (nn.Conv2d(8, 8, 3, stride=2), False),
        (nn.Conv2d(8, 8, 7, stride=2, groups=4), False),
        (nn.Conv2d(1, 8, 7, stride=2), False),
        (nn.Conv1d(8, 8, 5, stride=2, groups=8), False),
    ],
)
def test_which_are_slow(conv, is_slow):
    assert keep_single_precision(nn.Sequential(conv)) == is_slow
    assert isinstance(conv, SinglePrecisionConv2d) == is_slow


def test_a_mobilenet_has_four():
    from torchvision.models import mobilenet_v2

    net = mobilenet_v2()
    names = list(net.state_dict())
    assert keep_single_precision(net) == 4
    assert keep_single_precision(net) == 0
    assert list(net.state_dict()) == names


def test_a_forward_of_ones_own_is_left():
    class Own(nn.Conv2d):
        def forward(self, images):
            return 2 * super().forward(images)

    assert keep_single_precision(nn.Sequential(Own(8, 8, 3, stride=2, groups=8))) == 0


def test_under_autocast_numbers_are_those_of_single_precision():
    conv, images = strided(), torch.randn(4, 8, 9, 9, requires_grad=True)
    expected = conv2d(images, conv.weight, conv.bias, 2, 1, groups=8)
    wanted = torch.autograd.grad(expected.square().sum(), [images, conv.weight, conv.bias])
    with torch.autocast("cpu", torch.bfloat16):
        rough = conv(images)
        keep_single_precision(conv)
        exact = conv(images)
        from_half = conv(images.bfloat16())
    found = torch.autograd.grad(exact.square().sum(), [images, conv.weight, conv.bias])
    assert rough.dtype == torch.bfloat16
    assert exact.dtype == from_half.dtype == torch.float32
    assert torch.equal(exact, expected)
    assert all(map(torch.equal, found, wanted))
    assert torch.equal(from_half, conv2d(images.bfloat16().float(), conv.weight, conv.bias, 2, 1, groups=8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_without_autocast_nothing_changes(dtype):
    conv = strided().to(dtype)
    images = torch.randn(2, 8, 9, 9).to(dtype)
    before = conv(images)
    keep_single_precision(conv)
    assert torch.equal(conv(images), before)
    assert conv(images).dtype == dtype


def test_it_is_copied_and_loaded_as_any_other():
    conv = strided()
    keep_single_precision(conv)
    twin = copy.deepcopy(conv)
    assert isinstance(twin, SinglePrecisionConv2d)
    kept = io.BytesIO()
    torch.save(conv.state_dict(), kept)
    kept.seek(0)
    plain = strided()
    plain.load_state_dict(torch.load(kept, weights_only=True))
    images = torch.randn(1, 8, 9, 9)
    assert torch.equal(plain(images), twin(images))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_it_is_compiled_in_one_graph():
    torch.compiler.reset()
    net, images = nn.Sequential(strided(), nn.ReLU()), torch.randn(2, 8, 9, 9)
    keep_single_precision(net)
    with torch.autocast("cpu", torch.bfloat16):
        expected = net(images)
        net.compile(fullgraph=True, backend="eager", dynamic=False)
        assert torch.equal(net(images), expected)
