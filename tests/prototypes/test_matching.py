"""Matching of prototype sets."""

import pytest
import reference
import torch
from scipy.optimize import linear_sum_assignment

from bundle.prototypes import matched_similarity
from bundle.prototypes.matching import best_assignment


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 12])
def test_assignment_equals_scipy(size):
    """Subsets (K <= 10) and scipy find the same sum and partners for random scores."""
    torch.manual_seed(size)
    scores = torch.randn(30, size, size, dtype=torch.float64)
    total, partner = best_assignment(scores)
    for problem, found, columns in zip(scores, total, partner, strict=True):
        rows, best = linear_sum_assignment(problem.numpy(), maximize=True)
        assert float(found) == pytest.approx(problem.numpy()[rows, best].sum(), abs=1e-12)
        assert columns.tolist() == best.tolist()


@pytest.mark.parametrize("sizes", [(4, 4), (2, 4), (4, 1), (3, 2), (0, 3), (4, 0)])
def test_similarity_equals_the_best_permutation(sizes):
    """Sets of equal and of different size are matched as the enumeration of all bijections does."""
    torch.manual_seed(sum(sizes))
    a, b = (torch.nn.functional.normalize(torch.randn(12, 4, 6, dtype=torch.float64), dim=-1) for _ in range(2))
    a_valid, b_valid = (torch.rand(12, 4).argsort(1).argsort(1) < size for size in sizes)
    similarity, partner = matched_similarity(a, a_valid, b, b_valid)
    for pair in range(12):
        best, partners = reference.match(a[pair], a_valid[pair], b[pair], b_valid[pair])
        assert float(similarity[pair]) == pytest.approx(best, abs=1e-10)
        assert partner[pair].tolist() == partners


def test_what_stands_in_missing_prototypes_is_not_used():
    """NaN in the place of prototypes that do not exist changes nothing."""
    torch.manual_seed(0)
    a = torch.nn.functional.normalize(torch.randn(5, 3, 4), dim=-1)
    valid = torch.tensor([True, False, True]).expand(5, 3)
    broken = torch.where(valid[..., None], a, torch.nan)
    expected = matched_similarity(a, valid, a.flip(0), valid)
    torch.testing.assert_close(matched_similarity(broken, valid, broken.flip(0), valid), expected)


def test_no_pairs_give_empty_results():
    """Zero problems are solved too."""
    similarity, partner = matched_similarity(*(torch.zeros(0, 3, 2), torch.zeros(0, 3, dtype=torch.bool)) * 2)
    assert similarity.shape == (0,) and partner.shape == (0, 3)
