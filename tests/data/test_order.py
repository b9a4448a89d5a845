import subprocess
import sys

import torch

from lightcycle.data.order import generator, key, permutation


def test_key_is_the_same_in_every_process():
    code = "from lightcycle.data.order import key; print(key('augment', 3, 1, 4))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(out) == key("augment", 3, 1, 4)


def test_key_keeps_addresses_apart_and_fits_63_bits():
    keys = [key(a, b) for a in range(40) for b in range(40)]
    assert len(set(keys)) == len(keys)
    assert key(1, 11) != key(11, 1)
    assert key("a", "b") != key("ab")
    assert all(0 <= k < 2**63 for k in keys)
    assert max(keys) > 2**62  # the whole range is used


def test_permutation_depends_on_seed_and_epoch_alone():
    orders = [permutation(100, seed, epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    torch.manual_seed(5)
    assert permutation(100, 0, 0).tolist() == orders[0]


def test_permutations_are_even():
    firsts = torch.stack([permutation(4, 0, epoch) for epoch in range(2000)])[:, 0].bincount()
    assert firsts.min() > 400  # 500 expected, sd 19
    assert firsts.max() < 600


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    torch.rand(3, generator=generator("x", 1))
    permutation(10, 0, 0)
    assert torch.equal(torch.get_rng_state(), before)
