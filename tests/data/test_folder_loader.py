import random

import numpy as np
import pytest
import torch

from lightcycle.data.batches import EvalBatches, TrainBatches
from lightcycle.data.config import ImageFolderConfig
from lightcycle.data.folder import ImageFiles
from lightcycle.data.folder_loader import FolderLoader, workers
from lightcycle.data.listing import list_images

# Python 3.12 on: torch forks its workers beside threads of its own
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def images(folder):
    root = folder({"a": 9, "b": 8})
    files = [(path, i) for i, (path, _) in enumerate(list_images(root).train)]  # labels that tell files apart
    return ImageFiles(files, ImageFolderConfig(size=12, erase=0.5), seed=1)


@pytest.fixture
def make(images):
    made = []

    def loader(num_workers=0, **options):
        batches = TrainBatches(**{"n": 17, "batch_size": 4, "seed": 1, "drop_last": False, **options})
        made.append(FolderLoader(images, batches, num_workers))
        return made[-1]

    yield loader
    for one in made:
        one.close()


def epoch(loader, number):
    loader.sampler.set_epoch(number)
    return list(loader)


def same(a, b):
    return len(a) == len(b) and all(
        torch.equal(p, q) for x, y in zip(a, b, strict=True) for p, q in zip(x, y, strict=True)
    )


def test_workers_and_persistence_change_nothing(make):
    alone, helped = make(), make(2)
    first, second = epoch(alone, 0), epoch(alone, 1)
    assert not same(first, second)
    assert same(epoch(helped, 0), first)
    assert same(epoch(helped, 1), second)  # the same workers, told of the epoch
    iterator = iter(helped)
    next(iterator)  # left half way
    assert same(epoch(helped, 0), first)
    helped.close()
    assert same(epoch(helped, 1), second)


def test_batches(make):
    (x, y), *_ = epoch(make(), 0)
    assert (x.dtype, x.shape) == (torch.uint8, (4, 3, 12, 12))
    assert y.dtype == torch.int64
    assert sorted(torch.cat([y for _, y in epoch(make(), 0)]).tolist()) == list(range(17))


def test_ranks_together_get_exactly_what_one_process_gets(make):
    alone = epoch(make(), 2)
    for (x, y), left, right in zip(alone, *(epoch(make(rank=r, world_size=2), 2) for r in (0, 1)), strict=True):
        assert torch.equal(torch.cat([left[0], right[0]])[: len(x)], x)
        assert torch.equal(torch.cat([left[1], right[1]])[: len(y)], y)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_goes_on_where_a_state_was_taken(make, num_workers):
    expected = epoch(make(), 1)
    resumed = make(num_workers)
    resumed.load_state_dict({"epoch": 1, "batch": 3, "clock": 1})
    assert same(epoch(resumed, 1), expected[3:])
    assert same(epoch(resumed, 2), epoch(make(), 2))


def test_fresh_is_another_order_and_disturbs_nothing(make):
    loader = make(2)
    iterator = iter(loader)
    begun = [next(iterator), next(iterator)]
    fresh = loader.fresh(seed=9)
    other = list(fresh)
    fresh.close()
    assert same([*begun, *iterator], epoch(make(), 0))
    assert loader.state_dict() == {"epoch": 0, "batch": 5, "clock": 0}
    assert not same(other, epoch(make(), 0))
    assert fresh.images.seed == 9


def test_evaluation_is_in_order_and_complete(images):
    parts = [
        torch.cat([y for _, y in FolderLoader(images, EvalBatches(n=17, batch_size=6, rank=r, world_size=2))])
        for r in (0, 1)
    ]
    assert sorted(torch.cat(parts).tolist()) == list(range(17))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_global_generators_are_left_alone(make, num_workers):
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    epoch(make(num_workers), 0)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_bad_image_met_on_the_way_is_named(make, images):
    path = images.files[3][0]
    with open(path, "wb"):
        pass
    with pytest.raises(OSError, match=r"3\.jpg"):
        epoch(make(), 0)


def test_number_of_workers():
    assert workers(0) == 0
    assert workers(5, processes=4) == 5
    assert workers(None, processes=1000) == 1
