import numpy as np
import pytest
import torch
from torch.nn.functional import pad

from lightcycle.data.augment import COLUMNS, Augment, crop, erase, flip


def images(batch: int = 64, channels: int = 3, height: int = 12, width: int = 9, dtype=torch.uint8) -> torch.Tensor:
    return torch.randint(0, 256, (batch, channels, height, width), generator=torch.Generator().manual_seed(0)).to(dtype)


def numbers(batch: int = 64, columns: int = COLUMNS) -> torch.Tensor:
    return torch.rand(batch, columns, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("padding", [1, 4, 8])
def test_crop_is_padding_by_reflection_and_a_window(padding, dtype):
    x, u = images(dtype=dtype), numbers()
    padded = pad(x.double(), (padding,) * 4, mode="reflect")
    for got, big, (down, across) in zip(crop(x, padding, u[:, :2]), padded, u[:, :2].tolist(), strict=True):
        top, left = int(down * (2 * padding + 1)), int(across * (2 * padding + 1))
        assert torch.equal(got.double(), big[:, top : top + 12, left : left + 9])
    assert crop(x, padding, u[:, :2]).dtype == dtype


def test_crop_shifts_evenly_and_each_sample_its_own_way():
    ramp = torch.arange(21.0).view(1, 1, 21, 1).expand(9000, 1, 21, 21)
    shifts = crop(ramp, 4, numbers(9000, 2))[:, 0, 10, 10] - 10
    seen = (shifts.long() + 4).bincount(minlength=9)
    assert shifts.abs().max() == 4
    assert seen.min() > 850  # 1000 expected, sd 30
    assert seen.max() < 1150


def test_largest_number_below_one_stays_inside():
    u = torch.full((1, COLUMNS), 1 - 2**-24)
    x = images(1)
    assert torch.equal(crop(x, 4, u[:, :2])[0, :, :8, :5], x[0, :, 4:, 4:])
    assert Augment(4, True, 1.0)(x, u).shape == x.shape


def test_flip_mirrors_half():
    x, u = images(), numbers()
    got = flip(x, u[:, 2])
    for before, after, number in zip(x, got, u[:, 2], strict=True):
        expected = before.numpy()[..., ::-1].copy() if number < 0.5 else before.numpy()
        assert np.array_equal(after.numpy(), expected)
    assert 20 < int((u[:, 2] < 0.5).sum()) < 44


def test_erase_cuts_one_box_of_legal_area():
    x = torch.ones(4000, 2, 32, 32)
    got = erase(x, 1.0, numbers(4000, 5))
    assert torch.equal(got[:, 0], got[:, 1])
    gone = got[:, 0] == 0
    heights, widths = gone.any(2).sum(1), gone.any(1).sum(1)
    assert torch.equal(gone.flatten(1).sum(1), heights * widths)  # a filled box
    area = (heights * widths) / 32**2
    assert 0.01 < area.min() < 0.03
    assert 0.3 < area.max() < 0.36
    assert area.mean() == pytest.approx((0.02 + 0.33) / 2, abs=0.01)
    shape = (heights / widths).log()
    assert shape.mean() == pytest.approx(0, abs=0.05)
    assert shape.abs().max() < np.log(10 / 3) + 0.4  # rounding to whole pixels
    assert gone.any(0).all()  # boxes reach every corner


def test_erase_happens_as_often_as_asked():
    x = torch.ones(4000, 1, 8, 8)
    changed = (erase(x, 0.25, numbers(4000, 5)) != x).flatten(1).any(1)
    assert changed.float().mean() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(erase(x, 0.0, numbers(4000, 5)), x)


def test_erase_fills_with_the_given_color():
    x = images(8)
    got = erase(x, 1.0, numbers(8, 5), torch.tensor([10.0, 20.0, 30.0]))
    changed = (got != x).any(1)
    colors = got.permute(0, 2, 3, 1)[changed]
    assert got.dtype == torch.uint8
    assert (colors == torch.tensor([10, 20, 30], dtype=torch.uint8)).all()


def test_each_sample_depends_on_its_own_numbers_only():
    augment = Augment(crop=3, flip=True, erase=0.5)
    x, u = images(), numbers()
    whole = augment(x, u)
    assert torch.equal(torch.cat([augment(x[i : i + 1], u[i : i + 1]) for i in range(64)]), whole)
    same = augment(x[:1].expand(64, -1, -1, -1), u)
    assert len({tuple(image.flatten().tolist()) for image in same}) > 50  # one image, many versions


def test_nothing_is_drawn_and_the_input_is_kept():
    x, u = images(), numbers()
    before, state = x.clone(), torch.get_rng_state()
    Augment(2, True, 1.0)(x, u)
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_switch_moves_only_its_own_part():
    x, u = images(), numbers()
    assert torch.equal(Augment()(x, u), x)
    assert torch.equal(Augment(crop=2, flip=True)(x, u), flip(Augment(crop=2)(x, u), u[:, 2]))
