"""The ensemble stands where a classifier does, and says what its members say by themselves."""

import copy

import pytest
import torch
from torch import nn

from lightcycle.ensembling import FIXED, Ensemble, combine, mix, probabilities, tta
from lightcycle.ensembling.tta import shift
from lightcycle.models import ResNet


def nets(count=3):
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        net = ResNet(1, 4, width=4)
        net(torch.randn(16, 1, 8, 8))  # BatchNorm has statistics of its own
        made.append(net.eval())
    return made


IMAGES = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("hold", ["device", "host", "stacked"])
@pytest.mark.parametrize("by", ["softmax", "logits", "votes"])
def test_what_the_members_say_alone(hold, by):
    members = nets()
    with torch.no_grad():
        alone = torch.stack([net(IMAGES).softmax(-1) for net in members])
        ensemble = Ensemble(copy.deepcopy(members[0]).train(), [net.state_dict() for net in members], by, hold=hold)
        assert hold == "stacked" or torch.equal(ensemble.members(IMAGES), alone)
        torch.testing.assert_close(ensemble.members(IMAGES), alone)
        torch.testing.assert_close(ensemble(IMAGES).softmax(-1), combine(alone, by))
        torch.testing.assert_close(ensemble.train()(IMAGES).exp(), combine(alone, by))
    assert len(ensemble) == 3


def test_weights_of_the_members():
    members = nets(2)
    with torch.no_grad():
        alone = torch.stack([net(IMAGES).softmax(-1) for net in members])
        ensemble = Ensemble(members[0], [net.state_dict() for net in members], weights=torch.tensor([1.0, 3.0]))
        torch.testing.assert_close(ensemble(IMAGES).exp(), 0.25 * alone[0] + 0.75 * alone[1])


def test_is_a_model_among_models():
    """It moves, it is saved, and an ensemble of ensembles is one."""
    members = nets(2)
    states = [net.state_dict() for net in members]
    ensemble = Ensemble(members[0], states)
    again = Ensemble(nets(1)[0], [{k: torch.zeros_like(v) for k, v in state.items()} for state in states])
    again.load_state_dict(ensemble.state_dict())
    with torch.no_grad():
        assert torch.equal(again(IMAGES), ensemble(IMAGES))
        assert ensemble.double()(IMAGES.double()).dtype == torch.float32
        both = Ensemble(again, [ensemble.float().state_dict()])
        torch.testing.assert_close(both(IMAGES), ensemble(IMAGES))


def test_the_model_keeps_its_weights():
    net, other = nets(2)
    before = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        Ensemble(net, [other.state_dict()])(IMAGES)
    probabilities(net.train(), [IMAGES], other.state_dict())
    assert net.training
    assert all(module.training for module in net.modules())
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_pass_is_that_of_a_loop():
    net, other = nets(2)
    batches = [[IMAGES[:3], torch.zeros(3)], [IMAGES[3:], torch.zeros(2)]]
    with torch.no_grad():
        own = probabilities(net, batches)
        assert torch.equal(own[:3], net(IMAGES[:3]).softmax(-1))
        assert torch.equal(probabilities(net, iter(batches), other.state_dict())[3:], other(IMAGES[3:]).softmax(-1))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda net: Ensemble(net, []), "an ensemble needs at least one member (got none); snapshots(folder) lists"),
        (
            lambda net: Ensemble(net, [net.state_dict()], hold="disk"),
            "hold must be one of device, host, stacked (got 'disk')",
        ),
        (
            lambda net: Ensemble(net, [net.state_dict(), {}], hold="stacked"),
            "hold='stacked' needs the same names in every member; hold='device' does not",
        ),
        (lambda net: Ensemble(net, [net.state_dict()], weights=[1, 1]), "weights must be 1 numbers >= 0"),
        (
            lambda net: Ensemble(net, [ResNet(1, 4, width=8).state_dict()]),
            "member 1 has stem.0.weight of shape (8, 1, 3, 3) and the model (4, 1, 3, 3); build the model that",
        ),
        (lambda net: Ensemble(net, [{"w": torch.zeros(1)}]), "member 1 has w of shape (1,) and the model no such name"),
    ],
)
def test_refusals(make, text):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        make(nets(1)[0])
    assert text in str(error.value)


# -- views ---------------------------------------------------------------------------------------------------------


def test_beta_is_the_share_of_the_plain_image():
    """fast.ai: ``torch.lerp(aug_preds, preds, beta)``."""
    generator = torch.Generator().manual_seed(0)
    plain, views = torch.rand(6, 3, generator=generator), torch.rand(4, 6, 3, generator=generator)
    torch.testing.assert_close(mix(plain, views, 0.25), torch.lerp(views.mean(0), plain, 0.25))
    torch.testing.assert_close(mix(plain, views, None), torch.cat([plain[None], views]).mean(0))
    assert torch.equal(mix(plain, views, 1.0), plain)
    with pytest.raises(ValueError, match=r"beta must be between 0 and 1 \(got 1.5\); 0.25 is fast.ai's share"):
        mix(plain, views, 1.5)


@pytest.mark.parametrize(("name", "count"), [("flips", 2), ("shifts", 6)])
def test_fixed_views_are_averaged(name, count):
    (net,) = nets(1)
    padded = nn.functional.pad(IMAGES, (1, 1, 1, 1), mode="replicate")
    corners = [padded[..., 1:-1, 1:-1], padded[..., 2:, 2:], padded[..., :-2, :-2]][: count // 2]
    turned = [nn.functional.pad(IMAGES.flip(-1), (1, 1, 1, 1), mode="replicate")]
    corners += [turned[0][..., 1:-1, 1:-1], turned[0][..., 2:, 2:], turned[0][..., :-2, :-2]][: count // 2]
    with torch.no_grad():
        by_hand = torch.stack([net(view).softmax(-1) for view in corners]).mean(0)
        torch.testing.assert_close(tta(net, IMAGES, FIXED[name]), by_hand)
    assert len(FIXED[name]) + 1 == count


def test_a_shift_moves_the_content():
    image = torch.arange(12.0).view(1, 1, 3, 4)
    assert shift(image, 1, 0)[0, 0, 1:].tolist() == image[0, 0, :-1].tolist()
    assert shift(image, 0, -1)[0, 0, :, :-1].tolist() == image[0, 0, :, 1:].tolist()


def test_views_and_members_compose():
    members = nets()
    ensemble = Ensemble(members[0], [net.state_dict() for net in members])
    with torch.no_grad():
        both = torch.stack([tta(net, IMAGES, FIXED["flips"]) for net in nets()])
        torch.testing.assert_close(tta(ensemble, IMAGES, FIXED["flips"]), combine(both))
