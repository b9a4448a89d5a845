import random

import numpy as np
import pytest
import torch
from torch.utils.data import SequentialSampler

from lightcycle.data.augment import Augment
from lightcycle.data.batches import EvalBatches, TrainBatches
from lightcycle.data.memory import MemoryLoader

N = 50
IMAGES = torch.randint(0, 256, (N, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
LABELS = torch.arange(N)
AUGMENT = Augment(crop=2, flip=True, erase=0.5, fill=torch.tensor([1.0, 2.0, 3.0]))


def loader(augment=AUGMENT, fixed=False, **options):
    return MemoryLoader(IMAGES, LABELS, TrainBatches(**{"n": N, "batch_size": 8, "seed": 1, **options}), augment, fixed)


def same(a, b):
    return len(a) == len(b) and all(
        torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(a, b, strict=True)
    )


def epoch(loader, number):
    loader.sampler.set_epoch(number)
    return list(loader)


def test_batches_are_ready_and_without_augmentation_they_are_the_stored_images():
    for x, y in loader(augment=None):
        assert x.dtype == torch.uint8
        assert torch.equal(x, IMAGES[y])
    assert len(loader()) == len(list(loader())) == 6


def test_epochs_differ_and_repeat_by_number():
    one = loader()
    zero, first = epoch(one, 0), epoch(one, 1)
    assert not same(zero, first)
    assert same(epoch(loader(), 1), first)
    assert same(epoch(one, 0), zero)
    assert not same(epoch(loader(seed=2), 0), zero)


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("drop_last", [True, False])
def test_ranks_together_get_exactly_what_one_process_gets(world_size, drop_last):
    alone = epoch(loader(drop_last=drop_last), 3)
    parts = [epoch(loader(drop_last=drop_last, rank=r, world_size=world_size), 3) for r in range(world_size)]
    for (x, y), *shares in zip(alone, *parts, strict=True):
        n = len(y)  # a last batch smaller than the ranks is filled up
        assert torch.equal(torch.cat([share[0] for share in shares])[: len(x)], x) or n < world_size
        assert torch.equal(torch.cat([share[1] for share in shares])[:n], y)


def test_augmentation_is_per_sample():
    images = IMAGES[:1].expand(N, -1, -1, -1)
    x, _ = next(iter(MemoryLoader(images, LABELS, TrainBatches(n=N, batch_size=N), Augment(crop=2, flip=True))))
    versions = {tuple(image.flatten().tolist()) for image in x}
    assert 25 < len(versions) <= 50  # 5 x 5 shifts, mirrored or not


def test_the_epoch_is_read_at_the_first_batch():
    expected = epoch(loader(), 5)
    late = loader()
    iterator = iter(late)
    late.sampler.set_epoch(5)  # Lightning does so after iter()
    assert same(list(iterator), expected)


@pytest.mark.parametrize("start", range(6))
def test_goes_on_where_a_state_was_taken(start):
    expected = epoch(loader(), 2)
    first = loader()
    first.sampler.set_epoch(2)
    iterator = iter(first)
    for _ in range(start):
        next(iterator)
    state = first.state_dict()
    if start:
        assert state == {"epoch": 2, "batch": start, "clock": 2}
    second = loader()
    second.load_state_dict(state)
    assert second.state_dict() == state
    assert same(epoch(second, 2), expected[start:])
    assert same(epoch(second, 2), expected)  # only the next iteration goes on


@pytest.mark.parametrize("batch", [3, 6])
def test_after_a_state_of_an_earlier_epoch_comes_the_next_epoch(batch):
    state = {"epoch": 1, "batch": batch, "clock": 1}
    for clock in (2, 3):  # Lightning counts one epoch twice when it resumes with max_steps from the end of an epoch
        resumed = loader()
        resumed.load_state_dict(state)
        assert same(epoch(resumed, clock), epoch(loader(), 2))
        assert same(epoch(resumed, clock + 1), epoch(loader(), 3))
        assert resumed.state_dict() == {"epoch": 3, "batch": 6, "clock": clock + 1}


def test_a_state_taken_before_the_first_batch_says_nothing():
    resumed = loader()
    resumed.load_state_dict(loader().state_dict())
    assert same(epoch(resumed, 4), epoch(loader(), 4))


def test_a_fixed_loader_repeats_its_first_epoch():
    fixed = loader(fixed=True)
    assert isinstance(fixed.sampler, SequentialSampler)
    assert same(list(fixed), list(fixed))
    assert same(list(fixed), epoch(loader(), 0))


def test_evaluation_is_in_order_and_complete():
    x, y = zip(*MemoryLoader(IMAGES, LABELS, EvalBatches(n=N, batch_size=16)), strict=True)
    assert torch.equal(torch.cat(x), IMAGES)
    assert torch.equal(torch.cat(y), LABELS)


def test_global_generators_are_left_alone():
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    first = epoch(loader(), 0)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    assert same(epoch(loader(), 0), first)
