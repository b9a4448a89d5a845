"""Randomness as a function of time: every random number has an address, such as (seed, epoch, step).

Nothing in ``lightcycle.data`` draws from the global generators, and nothing reseeds them: a resumed run, a run with a
finder in it and a straight run see the same images in the same order.
"""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch import Tensor


def key(*parts: int | str) -> int:
    """Hash an address to 63 bits, the same on every machine and in every process.

    >>> key("order", 0, 1) == key("order", 0, 1), key("order", 0, 1) == key("order", 1, 0)
    (True, False)
    """
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest()) >> 1


def generator(*parts: int | str) -> torch.Generator:
    """Make a CPU generator that stands at an address.

    >>> bool((torch.rand(3, generator=generator(0, 1)) == torch.rand(3, generator=generator(0, 1))).all())
    True
    """
    return torch.Generator().manual_seed(key(*parts))


def permutation(n: int, seed: int, epoch: int) -> Tensor:
    """Order n samples for one epoch.

    >>> sorted(permutation(5, seed=0, epoch=3).tolist())
    [0, 1, 2, 3, 4]
    """
    return torch.randperm(n, generator=generator("order", seed, epoch))
