import pytest
import torch
from torch.nn.functional import interpolate
from torchvision.transforms import v2

from lightcycle.data.resize import all_resized, resized

IMAGES = torch.randint(0, 256, (1030, 3, 12, 9), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


@pytest.mark.parametrize("size", [(5, 4), (24, 20), (12, 20)])
def test_agrees_with_torchvision(size):
    images = IMAGES[:20]
    theirs = v2.functional.resize(images, list(size), antialias=True)
    assert (resized(images, size).dtype, resized(images, size).shape) == (torch.uint8, (20, 3, *size))
    assert (resized(images, size).int() - theirs.int()).abs().max() <= 1  # it weighs in whole numbers
    exact = interpolate(images.double(), size=size, mode="bilinear", antialias=True)
    assert (resized(images, size).double() - exact).abs().max() <= 0.501


def test_stripes_become_gray():
    stripes = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    stripes[..., ::2] = 200
    assert (resized(stripes, (8, 8)).float() - 100).abs().max() < 15  # without antialiasing: all 0 or all 200


def test_its_own_size_is_left_alone():
    assert resized(IMAGES, (12, 9)) is IMAGES
    assert all_resized(IMAGES, (12, 9)) is IMAGES


def test_a_set_in_parts_is_the_set():
    assert torch.equal(all_resized(IMAGES, (6, 6)), resized(IMAGES, (6, 6)))
