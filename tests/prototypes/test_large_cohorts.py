"""Cohorts in which faiss proposes."""

import pytest
import torch

from bundle.functional import nearest_slides
from bundle.prototypes import PrototypeBank, nearest_slides_by_candidates

pytest.importorskip("faiss")


def _cohort(n_slides=60, size=3):
    torch.manual_seed(1)
    prototypes = torch.nn.functional.normalize(torch.randn(n_slides, size, 6), dim=-1)
    valid = torch.rand(n_slides, size) < 0.8
    valid[3:4] = False
    return prototypes, valid


@pytest.mark.parametrize("match", ["assignment", "nearest"])
def test_enough_candidates_find_all_neighbors(match):
    """With all slides proposed, neighbors, similarities and partners are those of the exact search; recall is 1."""
    prototypes, valid = _cohort()
    found, recall = nearest_slides_by_candidates(prototypes, valid, 3, n_candidates=60, match=match)
    truth = nearest_slides(prototypes, valid, 3, match=match)
    assert recall == 1.0
    assert torch.equal(found.index, truth.index) and torch.equal(found.partner, truth.partner)
    torch.testing.assert_close(found.similarity, truth.similarity)


def test_few_candidates_say_how_much_they_miss():
    """The recall reported is the share of true neighbors that were found, and below 1 for a single candidate."""
    prototypes, valid = _cohort()
    found, recall = nearest_slides_by_candidates(prototypes, valid, 1, n_candidates=1)
    truth = nearest_slides(prototypes, valid, 1)
    members = valid.any(1)
    assert recall == pytest.approx(float((found.index == truth.index)[members].float().mean()))
    assert 0.1 < recall < 0.9


@pytest.mark.parametrize("n_slides", [1, 2])
def test_tiny_cohorts_do_not_fail(n_slides):
    """One slide has no neighbor, two have each other."""
    prototypes, valid = _cohort(n_slides)
    found, recall = nearest_slides_by_candidates(prototypes, torch.ones_like(valid), 2)
    assert recall == 1.0 and found.index[:, 0].tolist() == ([-1] if n_slides == 1 else [1, 0])


def test_bank_turns_to_candidates_beyond_its_limit():
    """Above exact_slides the bank reports a recall, and its neighbors are the proposed ones."""
    features = torch.nn.functional.normalize(torch.randn(80, 8), dim=1)
    slide_index = torch.arange(20).repeat_interleave(4)
    banks = [PrototypeBank(2, 1, exact_slides=limit) for limit in (20, 19)]
    stats = []
    for bank in banks:
        bank.fit(features, slide_index, 20)
        stats.append(bank.match())
    assert "neighbor_recall" not in stats[0] and stats[1]["neighbor_recall"] == 1.0
    assert torch.equal(banks[0].neighbors.index, banks[1].neighbors.index)
