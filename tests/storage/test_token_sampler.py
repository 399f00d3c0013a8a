"""The batch sampler: order from seed and epoch alone, the same batches for any number of ranks."""

import pytest
import torch

from bundle.core import BundleError
from bundle.storage import RegionBatchSampler


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_share_the_batches_of_one_process(world_size):
    """The union over ranks of batch i is batch i of a single process, without an item twice."""
    one = RegionBatchSampler(53, 10, seed=7)
    ranks = [RegionBatchSampler(53, 10, rank=r, world_size=world_size, seed=7) for r in range(world_size)]
    for epoch in (0, 5):
        for sampler in (one, *ranks):
            sampler.set_epoch(epoch)
        shares = list(zip(*ranks, strict=True))
        assert len(shares) == len(ranks[0])
        assert all(share for batch in shares for share in batch)
        together = [sorted(sum(batch, [])) for batch in shares]
        assert together == [sorted(batch) for batch in one] and len(together) == 5


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


@pytest.mark.parametrize(("n_items", "batch_size"), [(0, 4), (3, 8), (8, 3), (8, 0)])
def test_a_rank_without_items_is_refused(n_items, batch_size):
    """A rank that would have nothing to do would wait for the others forever: an error at construction."""
    with pytest.raises(BundleError, match="do not give each of 4 processes|batch_size is 0"):
        RegionBatchSampler(n_items, batch_size, world_size=4)


@pytest.mark.parametrize("world_size", [1, 2])
def test_batches_may_come_from_few_slides(world_size):
    """Runs of 4 of one slide, two to a batch of 8; each item once an epoch, another order in the next, any ranks."""
    slides = torch.arange(6).repeat_interleave(8)
    ranks = [
        RegionBatchSampler(48, 8, seed=3, rank=r, world_size=world_size, slide_index=slides, slides_per_batch=2)
        for r in range(world_size)
    ]
    seen = []
    for epoch in (1, 2):
        for sampler in ranks:
            sampler.set_epoch(epoch)
        batches = [sorted(sum(shares, [])) for shares in zip(*ranks, strict=True)]
        assert sorted(sum(batches, [])) == list(range(48))
        assert all(sorted(slides[batch].bincount().tolist())[-2:] in ([4, 4], [0, 8], [8]) for batch in batches)
        seen.append(batches)
    assert seen[0] != seen[1] and any(len(set(slides[batch].tolist())) == 2 for batch in seen[0])


def test_slides_with_few_items_fill_batches_together():
    """Slides of 1 to 9 items in runs of up to 5: nothing is lost; 0 leaves the order as it is without slides."""
    slides = torch.arange(9).repeat_interleave(torch.arange(1, 10))
    few = list(RegionBatchSampler(45, 9, slide_index=slides, slides_per_batch=2))
    assert sorted(sum(few, [])) == list(range(45)) and [len(batch) for batch in few] == [9] * 5
    plain = list(RegionBatchSampler(45, 9))
    assert list(RegionBatchSampler(45, 9, slide_index=slides)) == plain

    def n_slides(batches):
        return sum(len(set(slides[batch].tolist())) for batch in batches)

    assert n_slides(few) < n_slides(plain)


@pytest.mark.parametrize("options", [{"slide_index": torch.zeros(9)}, {}])
def test_slides_of_a_batch_that_cannot_be_had_are_refused(options):
    """More slides than items, or slides that nobody named."""
    with pytest.raises(BundleError, match="cannot take them from 5 slides"):
        RegionBatchSampler(9, 4, slides_per_batch=5, **options)


def test_batches_that_are_left_out_have_others_in_their_place():
    """Only those, in their epoch alone; the same for any number of ranks, and when an epoch is taken up midway."""
    plain, other = (RegionBatchSampler(20, 4, seed=7) for _ in range(2))
    other.left_out = {7, 9}
    for epoch in (1, 2, 3):
        plain.set_epoch(epoch), other.set_epoch(epoch)
        same = [a == b for a, b in zip(plain, other, strict=True)]
        assert same == [epoch != 2 or i not in (1, 3) for i in range(5)]
    other.set_epoch(2)
    whole = list(other)
    shares = []
    for rank in (0, 1):
        ranks = RegionBatchSampler(20, 4, seed=7, rank=rank, world_size=2)
        ranks.left_out = other.left_out
        ranks.set_epoch(2, n_done=1)
        shares.append(list(ranks))
    assert [sorted(a + b) for a, b in zip(*shares, strict=True)] == [sorted(batch) for batch in whole[1:]]
