"""Ranking candidates."""

import pytest
import torch

from bundle.functional import nearest_slides, neighbors_of, rank_candidates


def _cohort(n_slides=23, size=3, share=0.7, seed=0):
    torch.manual_seed(seed)
    prototypes = torch.nn.functional.normalize(torch.randn(n_slides, size, 5, dtype=torch.float64), dim=-1)
    return prototypes, torch.rand(n_slides, size) < share


@pytest.mark.parametrize("share", [1.0, 0.6])
@pytest.mark.parametrize("n_neighbors", [1, 4])
def test_all_slides_as_candidates_give_the_exact_search(share, n_neighbors):
    """With every slide proposed, and by scanning all, the neighbors are those of the exhaustive search, sets of
    different size and empty ones included."""
    prototypes, valid = _cohort(share=share)
    truth = nearest_slides(prototypes, valid, n_neighbors)
    members = valid.any(1).nonzero()[:, 0]
    candidates = torch.stack([torch.randperm(len(valid)) for _ in members])
    index, similarity = rank_candidates(prototypes, valid, members, candidates, n_neighbors)
    torch.testing.assert_close(similarity, truth.similarity[members])
    assert torch.equal(index, truth.index[members])
    assert torch.equal(neighbors_of(prototypes, valid, members, n_neighbors), truth.index[members])


def test_only_candidates_are_found():
    """Nothing but what was proposed is returned; the slide itself, -1 and slides without prototypes never are."""
    prototypes, valid = _cohort()
    valid[5] = False
    queries = torch.tensor([2, 7])
    candidates = torch.tensor([[2, 5, -1, 9], [7, -1, -1, 5]])
    index, similarity = rank_candidates(prototypes, valid, queries, candidates, 2)
    assert index.tolist() == [[9, -1], [-1, -1]]
    assert similarity[0, 0] > -1 and bool((similarity.flatten()[1:] == -torch.inf).all())


def test_blocks_change_nothing(monkeypatch):
    """A block a query gives what one block gives."""
    from bundle.functional import candidates as module

    prototypes, valid = _cohort(40)
    queries, proposed = torch.arange(40), torch.randint(0, 40, (40, 12))
    proposed[:, 1:] = torch.where(proposed[:, 1:] == proposed[:, :-1], -1, proposed[:, 1:])
    whole = rank_candidates(prototypes, valid, queries, proposed, 3)[1], neighbors_of(prototypes, valid, queries, 3)
    monkeypatch.setitem(module._BLOCK_ELEMENTS, "cpu", 1)
    parts = rank_candidates(prototypes, valid, queries, proposed, 3)[1], neighbors_of(prototypes, valid, queries, 3)
    torch.testing.assert_close(parts[0], whole[0])
    assert torch.equal(parts[1], whole[1])
