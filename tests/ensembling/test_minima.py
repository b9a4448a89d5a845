"""Nets of which it is known whether they are minima apart."""

import numpy as np
import torch
from torch import nn

from lightcycle.ensembling.measure import measure
from lightcycle.ensembling.survey import along_lines, barrier, verdict

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(400, 2, generator=GENERATOR)
Y = (X.prod(1) > 0).long()  # two diagonal quarters: no line tells them apart


def trained(net, steps):
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(X), Y).backward()
        optimizer.step()
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def barriers(net, states):
    survey = along_lines(len(states), len(states), 7)
    losses = np.stack([measure(net, states, row, [(X, Y)])[0].numpy() for row in survey.rows.tolist()])
    return [barrier(losses[line]) for line in survey.lines]


def test_a_net_and_itself_with_its_units_in_another_order_are_minima_apart():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
    first = trained(net, 150)
    later = trained(net, 20)
    turned = {
        "0.weight": later["0.weight"].roll(5, 0),
        "0.bias": later["0.bias"].roll(5, 0),
        "2.weight": later["2.weight"].roll(5, 1),
        "2.bias": later["2.bias"],
    }
    same, apart = barriers(net, [first, later, turned])
    assert (same.separates, apart.separates) == (False, True)
    assert abs(apart.ends[0] - apart.ends[1]) < 1e-6  # the same function
    assert verdict([same]).startswith("one valley: ")
    assert verdict([same, apart]).startswith("1 of 2 ways cross a barrier: the loss climbs ")
    assert verdict([apart]).startswith("different minima: the loss climbs ")
