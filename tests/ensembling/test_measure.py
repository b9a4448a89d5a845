import pytest
import torch
from torch import nn

from lightcycle.ensembling.measure import measure

BATCHES = [(torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(i)), torch.arange(8) % 3) for i in range(2)]


def net(seed, scale=1.0):
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
                         nn.Linear(64, 3))  # fmt: skip
    for images, _ in BATCHES:
        made(images)  # statistics of its own
    return made


STATES = [net(seed).state_dict() for seed in range(2)]


@pytest.mark.parametrize("number", [0, 1])
def test_a_snapshots_own_loss_is_exact_and_its_statistics_are_its_own(number):
    made = net(5)
    losses, right = measure(made, STATES, [float(number == i) for i in range(2)], BATCHES, ["1"], [BATCHES[0][0]])
    alone = net(number).eval()
    logits = torch.cat([alone(images) for images, _ in BATCHES])
    labels = torch.cat([y for _, y in BATCHES])
    assert torch.equal(losses, nn.functional.cross_entropy(logits, labels, reduction="none"))
    assert torch.equal(right, logits.argmax(1) == labels)


def test_between_snapshots_the_statistics_are_those_of_the_blend():
    """A sign flip of the filters makes the mean of the statistics wrong; refreshed, they are the blend's own."""
    flipped = {**STATES[0], "0.weight": -0.5 * STATES[0]["0.weight"], "1.running_mean": -STATES[0]["1.running_mean"]}
    made = net(5)
    training = [images for images, _ in BATCHES]
    losses, _ = measure(made, [STATES[0], flipped], [0.5, 0.5], BATCHES, ["1"], training)
    blend = net(0)
    blend.load_state_dict({**STATES[0], "0.weight": 0.25 * STATES[0]["0.weight"]})
    with torch.no_grad():
        seen = [blend[0](images) for images in training]
    blend[1].running_mean = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
    blend[1].running_var = torch.stack([x.var((0, 2, 3)) for x in seen]).mean(0)
    logits = torch.cat([blend.eval()(images) for images, _ in BATCHES])
    wanted = nn.functional.cross_entropy(logits, torch.cat([y for _, y in BATCHES]), reduction="none")
    torch.testing.assert_close(losses, wanted)
    mixed, _ = measure(made, [STATES[0], flipped], [0.5, 0.5], BATCHES)
    assert (mixed - wanted).abs().max() > 0.01
