"""Common prototypes of many sets."""

from itertools import permutations

import pytest
import torch
from torch.nn.functional import normalize

from bundle.prototypes import merge_sets


def _planted(n_slides=30, n_kinds=6, size=4, noise=0.1, seed=0):
    """Sets of distinct kinds with noise, some of fewer members; the kind of each, -1 for none."""
    draws = torch.Generator().manual_seed(seed)
    kinds = normalize(torch.randn(n_kinds, 16, generator=draws), dim=1)
    truth = torch.stack([torch.randperm(n_kinds, generator=draws)[:size] for _ in range(n_slides)])
    noisy = normalize(kinds[truth] + noise * torch.randn(n_slides, size, 16, generator=draws), dim=2)
    valid = torch.rand(n_slides, size, generator=draws) < 0.8
    valid[0] = True
    valid[1] = False
    return noisy, valid, torch.where(valid, truth, -1), kinds


def test_planted_kinds_are_found():
    """Prototypes of the same kind, and no others, belong to the same common one, which points to where the kind is."""
    prototypes, valid, truth, kinds = _planted()
    merged = merge_sets(prototypes, valid, 6)
    pairs = set(zip(truth[valid].tolist(), merged.member[valid].tolist(), strict=True))
    assert len(pairs) == len(merged.vectors) == 6
    for kind, number in pairs:
        assert float(merged.vectors[number] @ kinds[kind]) > 0.97
    assert bool((merged.member[~valid] == -1).all()) and bool(merged.similarity[~valid].isnan().all())
    expected = (prototypes * merged.vectors[merged.member.clamp(min=0)]).sum(2)
    torch.testing.assert_close(merged.similarity[valid], expected[valid])


@pytest.mark.parametrize("n_merged", [4, 5, 9])
def test_no_two_of_a_slide_belong_to_the_same(n_merged):
    """Even where there are fewer common ones than kinds, a set's members go to different ones, and the assignment is
    the best there is."""
    prototypes, valid, _, _ = _planted(12, noise=0.6, seed=3)
    merged = merge_sets(prototypes, valid, n_merged)
    for slide in range(12):
        members = merged.member[slide][valid[slide]].tolist()
        assert len(set(members)) == len(members)
        cosines = prototypes[slide][valid[slide]] @ merged.vectors.T
        best = max(
            (sum(float(cosines[i, j]) for i, j in enumerate(chosen)) for chosen in _choices(cosines)), default=0.0
        )
        assert float(merged.similarity[slide][valid[slide]].sum()) == pytest.approx(best, abs=1e-4)


def _choices(cosines):
    return permutations(range(cosines.shape[1]), len(cosines)) if len(cosines) else []


def test_the_same_seed_gives_the_same():
    """Nothing is random beyond the seed; more common ones than prototypes are as many as there are."""
    prototypes, valid, _, _ = _planted(3)
    first, second = (merge_sets(prototypes, valid, 4, seed=1) for _ in range(2))
    assert torch.equal(first.member, second.member) and torch.equal(first.vectors, second.vectors)
    everything = merge_sets(prototypes, valid, 50)
    assert len(everything.vectors) <= int(valid.sum())
    torch.testing.assert_close(everything.vectors.norm(dim=1), torch.ones(len(everything.vectors)))


def test_what_cannot_be_merged_is_an_error():
    """Fewer common ones than a set has members, or no prototype at all."""
    prototypes, valid, _, _ = _planted(4)
    with pytest.raises(ValueError, match="at least the largest"):
        merge_sets(prototypes, valid, 3)
    with pytest.raises(ValueError, match="at least 1"):
        merge_sets(prototypes, torch.zeros_like(valid), 3)
