import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightcycle.data.batches import EvalBatches, TrainBatches, part
from lightcycle.data.order import permutation


def ranks(kind, world_size, **options):
    return [kind(rank=rank, world_size=world_size, **options) for rank in range(world_size)]


@settings(deadline=None, max_examples=60)
@given(n=st.integers(1, 60), share=st.integers(1, 9), world_size=st.integers(1, 5), drop_last=st.booleans())
def test_ranks_together_see_what_one_process_sees(n, share, world_size, drop_last):
    options = {"n": n, "batch_size": share * world_size, "seed": 3, "drop_last": drop_last}
    alone = list(TrainBatches(**options).epoch(2))
    together = list(zip(*(r.epoch(2) for r in ranks(TrainBatches, world_size, **options)), strict=True))
    assert len(together) == len(alone)
    for one, parts in zip(alone, together, strict=True):
        joined = torch.cat([p.indices for p in parts])
        assert torch.equal(joined[: one.total], one.indices)
        assert len(joined) == max(one.total, world_size)
        sizes = [len(p.indices) for p in parts]
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= 1
        assert [p.rows.stop - p.rows.start for p in parts] == sizes
        assert {p.total for p in parts} == {len(joined)}


@pytest.mark.parametrize(
    ("n", "drop_last", "sizes"), [(10, True, [4, 4]), (10, False, [4, 4, 2]), (3, True, [3]), (8, False, [4, 4])]
)
def test_sizes(n, drop_last, sizes):
    batches = TrainBatches(n=n, batch_size=4, drop_last=drop_last)
    assert len(batches) == len(sizes)
    assert [len(b.indices) for b in batches.epoch(0)] == sizes


def test_an_epoch_is_the_permutation_and_can_be_entered_anywhere():
    batches = TrainBatches(n=20, batch_size=6, seed=1, drop_last=False)
    whole = list(batches.epoch(4))
    assert torch.cat([b.indices for b in whole]).tolist() == permutation(20, 1, 4).tolist()
    for start in range(5):
        rest = list(batches.epoch(4, start))
        assert [b.step for b in rest] == list(range(start, 4))
        assert all(torch.equal(a.indices, b.indices) for a, b in zip(rest, whole[start:], strict=True))


def test_fewer_samples_than_ranks_go_on_from_the_front():
    order = permutation(9, 0, 0).tolist()
    last = [list(r.epoch(0))[-1].indices.tolist() for r in ranks(TrainBatches, 4, n=9, batch_size=8, drop_last=False)]
    assert last == [[order[8]], [order[0]], [order[1]], [order[2]]]


def test_batch_size_must_be_shared_evenly():
    with pytest.raises(
        ValueError, match=r"^data.batch_size must be a multiple of the 2 processes \(got 65\); try 66.$"
    ):
        TrainBatches(n=100, batch_size=65, world_size=2)


@settings(deadline=None, max_examples=80)
@given(n=st.integers(1, 90), batch_size=st.integers(1, 30), world_size=st.integers(1, 6))
def test_evaluation_sees_every_sample_once(n, batch_size, world_size):
    if n < world_size:
        with pytest.raises(
            ValueError, match=f"^{n} image.s. cannot be shared by {world_size} processes; evaluate on fewer"
        ):
            EvalBatches(n=n, batch_size=batch_size, world_size=world_size)
        return
    all_ranks = [list(r.epoch(0)) for r in ranks(EvalBatches, world_size, n=n, batch_size=batch_size)]
    assert len({len(batches) for batches in all_ranks}) == 1
    joined = [b.indices for together in zip(*all_ranks, strict=True) for b in together]
    assert torch.cat(joined).tolist() == list(range(n))
    assert min(len(indices) for indices in joined) >= 1
    if n >= batch_size * world_size and batch_size >= world_size:
        assert sum(len(b[0].indices) for b in all_ranks) <= batch_size + world_size


def test_evaluation_batches_do_not_exceed_their_size_in_one_process():
    sizes = [len(b.indices) for b in EvalBatches(n=101, batch_size=10).epoch(0)]
    assert sizes == [10, 10, *[9] * 9]


def test_parts_are_even_like_tensor_split():
    for n, parts in ((10, 3), (7, 7), (5, 2), (100, 9)):
        expected = [t.tolist() for t in torch.arange(n).tensor_split(parts)]
        assert [list(range(n))[part(n, i, parts)] for i in range(parts)] == expected
