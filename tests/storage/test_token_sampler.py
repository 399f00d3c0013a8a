"""The batch sampler: order from seed and epoch alone, the same batches for any number of ranks."""

import pytest
import torch

from bundle.core import BundleError
from bundle.storage import RegionBatchSampler


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("drop_last", [True, False])
def test_ranks_share_the_batches_of_one_process(world_size, drop_last):
    """The union over ranks of batch i is batch i of a single process, without an item twice."""
    options = {"seed": 7, "drop_last": drop_last}
    one = RegionBatchSampler(53, 10, **options)
    ranks = [RegionBatchSampler(53, 10, rank=r, world_size=world_size, **options) for r in range(world_size)]
    for epoch in (0, 5):
        for sampler in (one, *ranks):
            sampler.set_epoch(epoch)
        shares = list(zip(*ranks, strict=True))
        assert len(shares) == len(ranks[0])
        assert all(share for batch in shares for share in batch)
        together = [sorted(sum(batch, [])) for batch in shares]
        if drop_last or world_size < 4:
            assert together == [sorted(batch) for batch in one]
        else:  # three items left over for four ranks: they join the batch before
            assert [len(batch) for batch in together] == [10, 10, 10, 10, 13]


def test_order_depends_on_seed_and_epoch_alone():
    """Asking again, or in a new object, gives the same order; another epoch or seed gives another."""

    def order(seed, epoch):
        sampler = RegionBatchSampler(40, 8, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3) and order(1, 2) != order(2, 2)
    assert sorted(sum(order(1, 2), [])) == list(range(40))


def test_fewer_items_than_a_batch(caplog):
    """One partial batch and a warning, not an empty epoch."""
    sampler = RegionBatchSampler(5, 32)
    assert len(sampler) == 1 and sorted(next(iter(sampler))) == [0, 1, 2, 3, 4]
    assert "only 5 items for a batch of 32" in caplog.text


@pytest.mark.parametrize("world_size", [1, 3])
def test_only_chosen_items_are_dealt_out(world_size):
    """In the order that as many items without a choice have, whatever their numbers."""
    chosen = torch.tensor([3, 4, 8, 15, 16, 23, 42, 50])
    for rank in range(world_size):
        options = {"seed": 4, "rank": rank, "world_size": world_size}
        sampler = RegionBatchSampler(60, 4, chosen=chosen, **options)
        plain = RegionBatchSampler(8, 4, **options)
        assert [[chosen.tolist().index(i) for i in batch] for batch in sampler] == list(plain) and len(sampler) == 2


def test_without_shuffling():
    """Evaluation order is the data set's, the last batch smaller."""
    assert list(RegionBatchSampler(5, 2, shuffle=False, drop_last=False)) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(("n_items", "batch_size"), [(0, 4), (3, 8), (8, 3), (8, 0)])
def test_a_rank_without_items_is_refused(n_items, batch_size):
    """A rank that would have nothing to do would wait for the others forever: an error at construction."""
    with pytest.raises(BundleError, match="do not give each of 4 processes|batch_size is 0"):
        RegionBatchSampler(n_items, batch_size, world_size=4)
