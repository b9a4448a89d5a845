"""The geometry against formulas written out with numpy, filter by filter."""

import numpy as np
import pytest
import torch
from torch import nn

from lightcycle.ensembling.landscape import barycentric, blend, corners, distance, random_direction


def net(seed):
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(180, 4))
    for tensor in made.state_dict().values():
        if tensor.is_floating_point():
            tensor.normal_()
    return made


STATES = [net(seed).state_dict() for seed in range(3)]
PARAMETERS = [name for name, _ in net(0).named_parameters()]


def test_ends_are_the_states_bit_for_bit():
    for i, state in enumerate(STATES):
        mixed = blend(STATES, [float(i == j) for j in range(3)])
        assert all(torch.equal(mixed[name], state[name]) for name in state)


def test_a_blend_is_the_weighted_sum():
    mixed, weights = blend(STATES, [0.5, -0.25, 0.75]), [0.5, -0.25, 0.75]
    for name, tensor in mixed.items():
        if tensor.is_floating_point():
            wanted = sum(w * state[name].double() for w, state in zip(weights, STATES, strict=True))
            torch.testing.assert_close(tensor.double(), wanted, rtol=1e-5, atol=1e-6)
    assert mixed["1.num_batches_tracked"].dtype == torch.int64


def test_directions_are_li_et_als():
    """Their ``normalize_direction(norm='filter')`` and ``ignore='biasbn'``, one filter after the other."""
    direction = random_direction(STATES[0], PARAMETERS, torch.Generator().manual_seed(3))
    drawn = torch.Generator().manual_seed(3)
    for name, state in STATES[0].items():
        if name not in ("0.weight", "4.weight"):
            assert not direction[name].any()
            continue
        raw = torch.randn(state.shape, generator=drawn, dtype=torch.float64).numpy()
        for got, d, w in zip(direction[name].numpy(), raw, state.numpy(), strict=True):
            np.testing.assert_allclose(got, d * np.sqrt((w**2).sum()) / np.sqrt((d**2).sum()), rtol=1e-6)


def test_a_direction_has_the_length_of_the_filters():
    direction = random_direction(STATES[0], PARAMETERS, torch.Generator().manual_seed(0))
    moved = blend([STATES[0], direction], [1.0, 0.01])
    assert distance(STATES[0], moved, PARAMETERS) == pytest.approx(0.01, rel=1e-3)


def test_directions_follow_the_scale_of_each_filter():
    """Why it is done: with BatchNorm behind, a net with larger filters is the same net, and looks the same."""
    scales = torch.tensor([1.0, 10.0, 0.1, 3.0, 7.0])
    scaled = {**STATES[0], "0.weight": STATES[0]["0.weight"] * scales.view(-1, 1, 1, 1)}
    plain, wide = (random_direction(s, PARAMETERS, torch.Generator().manual_seed(0)) for s in (STATES[0], scaled))
    torch.testing.assert_close(wide["0.weight"], plain["0.weight"] * scales.view(-1, 1, 1, 1))
    torch.testing.assert_close(wide["4.weight"], plain["4.weight"])


def vectors():
    """The states as vectors in which a filter of mean square norm 1 counts alike, whatever its size."""
    rows = []
    for state in STATES:
        parts = []
        for name in ("0.weight", "4.weight"):
            for i in range(len(state[name])):
                scale = np.sqrt(np.mean([(s[name][i].double().numpy() ** 2).sum() for s in STATES]))
                parts.append(state[name][i].double().numpy().ravel() / scale)
        rows.append(np.concatenate(parts) / np.sqrt(9))  # 5 + 4 filters
    return rows


def test_corners_are_gram_schmidt():
    a, b, c = vectors()
    e1 = (b - a) / np.linalg.norm(b - a)
    rest = (c - a) - (c - a) @ e1 * e1
    e2 = rest / np.linalg.norm(rest)
    wanted = [(0, 0), ((b - a) @ e1, 0), ((c - a) @ e1, (c - a) @ e2)]
    np.testing.assert_allclose(corners(STATES, PARAMETERS), wanted, rtol=1e-12)
    triangle = corners(STATES, PARAMETERS)
    weights = barycentric(triangle, 0.3, -0.2)
    np.testing.assert_allclose(np.array(weights) @ [a, b, c], a + 0.3 * e1 - 0.2 * e2, atol=1e-12)


def test_the_corners_of_the_plane_are_the_states():
    triangle = corners(STATES, PARAMETERS)
    for i, corner in enumerate(triangle):
        assert barycentric(triangle, *corner) == pytest.approx([float(i == j) for j in range(3)], abs=1e-12)


@pytest.mark.parametrize("third", [[0.5, 0.5, 0], [1, 0, 0]])
def test_three_on_a_line_have_no_plane(third):
    states = [STATES[0], STATES[1], blend(STATES, third)]
    with pytest.raises(ValueError, match=r"^the three snapshots lie on a line, so there is no plane through them; ch"):
        corners(states, PARAMETERS)
    with pytest.raises(ValueError, match="lie on a line"):
        corners([STATES[0]] * 3, PARAMETERS)


def test_distance_is_symmetric_and_counts_every_filter_alike():
    a, b = STATES[:2]
    squares = [
        ((a[n][i] - b[n][i]) ** 2).sum().double() / ((a[n][i] ** 2).sum() + (b[n][i] ** 2).sum()).double() * 2
        for n in ("0.weight", "4.weight")
        for i in range(len(a[n]))
    ]
    assert distance(a, b, PARAMETERS) == pytest.approx(float(sum(squares) / len(squares)) ** 0.5, rel=1e-6)
    assert distance(a, b, PARAMETERS) == distance(b, a, PARAMETERS)
