"""Sets that match a few given ones best."""

from itertools import permutations

import pytest
import torch

from bundle.prototypes import nearest_sets, nearest_slides, set_search


def _cohort(n_slides=23, size=3, share=0.7, seed=0):
    torch.manual_seed(seed)
    prototypes = torch.nn.functional.normalize(torch.randn(n_slides, size, 5, dtype=torch.float64), dim=-1)
    return prototypes, torch.rand(n_slides, size) < share


@pytest.mark.parametrize("share", [1.0, 0.6])
@pytest.mark.parametrize("n_neighbors", [1, 4])
@pytest.mark.parametrize("block", [1, 1 << 24])
def test_slides_among_their_own_cohort(monkeypatch, share, n_neighbors, block):
    """Each passing over itself, slides find what the search of all slides at once does, whatever the blocks."""
    monkeypatch.setitem(set_search._BLOCK_ELEMENTS, "cpu", block)
    prototypes, valid = _cohort(share=share)
    members = valid.any(1).nonzero()[:, 0]
    truth = nearest_slides(prototypes, valid, n_neighbors)
    index, similarity = nearest_sets(
        prototypes[members], valid[members], prototypes, valid, n_neighbors, leave_out=members
    )
    torch.testing.assert_close(similarity, truth.similarity[members])
    assert torch.equal(index, truth.index[members])


@pytest.mark.parametrize("sizes", [(3, 3), (2, 4), (4, 2), (1, 1)])
@pytest.mark.parametrize("block", [1, 1 << 24])
def test_sets_from_outside_are_matched_as_brute_force_matches_them(monkeypatch, sizes, block):
    """Queries of another size than the sets, some sets empty or not usable: what comparing every pair gives."""
    monkeypatch.setitem(set_search._BLOCK_ELEMENTS, "cpu", block)
    queries, queries_valid = _cohort(5, sizes[0], 0.9, seed=1)
    sets, valid = _cohort(40, sizes[1], 0.8, seed=2)
    usable = torch.rand(40) < 0.7
    widest = max(sizes)
    truth = torch.full((5, 40), -torch.inf, dtype=torch.float64)
    for i in range(5):
        for j in usable.nonzero()[:, 0].tolist():
            a, b = queries[i][queries_valid[i]], sets[j][valid[j]]
            n = min(len(a), len(b))
            if n:
                cosines = torch.zeros(widest, widest, dtype=torch.float64)
                cosines[: len(a), : len(b)] = a @ b.T
                longer = cosines[: len(a), : len(b)] if len(a) <= len(b) else cosines[: len(a), : len(b)].T
                truth[i, j] = max(
                    sum(longer[row, column] for row, column in enumerate(columns)) / n
                    for columns in permutations(range(longer.shape[1]), n)
                )
    index, similarity = nearest_sets(queries, queries_valid, sets, valid, 4, usable=usable)
    wanted, places = truth.topk(4, dim=1)
    torch.testing.assert_close(similarity, wanted)
    assert torch.equal(index, torch.where(wanted > -torch.inf, places, -1))


def test_more_neighbors_than_sets_are_filled_up():
    """What is not there is -1 and -inf, for no set at all as well."""
    sets, valid = _cohort(3, share=1.0)
    index, similarity = nearest_sets(sets[:1], valid[:1], sets, valid, 5)
    assert index[0].tolist()[0] == 0 and index[0].tolist()[3:] == [-1, -1]
    assert similarity[0, 0] == pytest.approx(1.0) and bool((similarity[0, 3:] == -torch.inf).all())
    assert nearest_sets(sets[:1], valid[:1], sets[:0], valid[:0], 2)[0].tolist() == [[-1, -1]]
