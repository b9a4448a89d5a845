"""Refreshed statistics against means and variances written out, and against torch's own update."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from lightcycle.ensembling.batchnorm import moved, refresh


def net(dropout=0.0):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.Dropout(dropout), nn.ReLU(),
                         nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)).eval()  # fmt: skip


BATCHES = list(torch.randn(24, 3, 8, 8, generator=torch.Generator().manual_seed(1)).split(8))


def test_statistics_are_the_means_over_the_batches():
    made = net()
    refresh(made, ["1"], BATCHES)
    with torch.no_grad():
        seen = [made[0](batch) for batch in BATCHES]
    means, variances = (
        torch.stack(v).mean(0) for v in zip(*((x.mean((0, 2, 3)), x.var((0, 2, 3))) for x in seen), strict=True)
    )
    torch.testing.assert_close(made[1].running_mean, means)
    torch.testing.assert_close(made[1].running_var, variances)
    assert made[5].running_mean.tolist() == [0.0] * 4  # not asked for


def test_all_layers_as_torch_does_it():
    ours, theirs = net(), net()
    refresh(ours, ["1", "5"], BATCHES)
    update_bn(BATCHES, theirs)
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        assert torch.equal(a, b)


def test_dropout_stays_off_and_nothing_else_changes():
    made, quiet = net(dropout=0.5), net()
    before = copy.deepcopy(dict(made.named_parameters()))
    state = torch.get_rng_state()
    refresh(made, ["1", "5"], BATCHES)
    refresh(quiet, ["1", "5"], BATCHES)
    assert torch.equal(made[5].running_mean, quiet[5].running_mean)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in made.modules())
    assert (made[1].momentum, made[5].momentum) == (0.3, 0.1)
    assert all(torch.equal(p, before[name]) for name, p in made.named_parameters())


def test_layers_are_put_back_after_an_error():
    made = net()
    with pytest.raises(RuntimeError):
        refresh(made, ["1"], [torch.zeros(2, 5, 8, 8)])
    assert (made[1].momentum, made[1].training) == (0.3, False)


def test_no_layers_no_pass():
    refresh(net(), [], iter([None]))


def test_frozen_layers_are_not_among_the_moved():
    states = [net().state_dict() for _ in range(3)]
    assert moved(net(), states) == []
    states[2]["5.running_mean"] += 1
    assert moved(net(), states) == ["5"]
    assert moved(net(), states[:1]) == ["1", "5"]
