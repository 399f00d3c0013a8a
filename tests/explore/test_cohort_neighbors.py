"""Neighbors of all slides of a cohort: those of a search slide by slide, at the cost of one for all."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from bundle.explore.atlas import cohort_neighbors as module
from bundle.explore.atlas.cohort_neighbors import cohort_neighbors
from bundle.prototypes import matched_similarity


def made_up_sets(n, sizes, seed=0):
    """Sets of up to 3 prototypes, [n, 3, 16], of these sizes in turn."""
    random = torch.Generator().manual_seed(seed)
    valid = torch.arange(3) < torch.tensor([sizes[i % len(sizes)] for i in range(n)])[:, None]
    return normalize(torch.randn(n, 3, 16, generator=random), dim=-1) * valid[..., None], valid


def by_definition(prototypes, valid, row, n, min_prototypes, patients):
    """Every slide compared with every other that may be its neighbor."""
    sizes = valid.sum(1)
    usable = (sizes >= min(min_prototypes, int(sizes[row]))) & (torch.arange(len(sizes)) != row) & (sizes > 0)
    if patients is not None:
        usable &= torch.from_numpy(patients != patients[row])
    others = usable.nonzero()[:, 0]
    if not len(others) or not sizes[row]:
        return []
    own, own_valid = prototypes[row].expand(len(others), -1, -1), valid[row].expand(len(others), -1)
    similarity = matched_similarity(own, own_valid, prototypes[others], valid[others])[0]
    best = similarity.argsort(descending=True)[:n]
    return [(int(others[i]), float(similarity[i])) for i in best]


@pytest.mark.parametrize("sizes", [(3,), (3, 2, 1), (3, 1, 0, 2, 3), (1,)])
@pytest.mark.parametrize("slides_of_a_patient", [None, 1, 3, 25])
@pytest.mark.parametrize("min_prototypes", [1, 2])
def test_neighbors_are_those_of_the_definition(sizes, slides_of_a_patient, min_prototypes):
    """Whatever the numbers of prototypes, and with patients of more slides than are looked at beyond those wanted."""
    prototypes, valid = made_up_sets(60, sizes)
    patients = None if slides_of_a_patient is None else np.array([f"p{i // slides_of_a_patient}" for i in range(60)])
    found = cohort_neighbors(prototypes, valid, 4, min_prototypes=min_prototypes, patients=patients)
    for row, pairs in enumerate(found):
        expected = by_definition(prototypes, valid, row, 4, min_prototypes, patients)
        assert [i for i, _ in pairs] == [i for i, _ in expected]
        assert [s for _, s in pairs] == pytest.approx([s for _, s in expected], abs=1e-5)


def test_one_small_slide_does_not_cost_a_second_search(monkeypatch):
    """A slide of few prototypes among many others is searched alone, the others together."""
    prototypes, valid = made_up_sets(40, (3,))
    valid[7, 1:] = False
    searched, alone = [], []
    at_once, one = module.nearest_slides, module._alone
    monkeypatch.setattr(module, "nearest_slides", lambda p, v, n: searched.append(len(p)) or at_once(p, v, n))
    monkeypatch.setattr(module, "_alone", lambda row, *rest: alone.append(row) or one(row, *rest))
    found = cohort_neighbors(prototypes, valid, 5, min_prototypes=2, patients=np.arange(40).astype(str))
    assert (searched, alone) == ([39], [7]) and all(len(pairs) == 5 for pairs in found)
    assert all(i != 7 for row, pairs in enumerate(found) for i, _ in pairs if row != 7)


def test_a_patient_of_the_nearest_slides_only(monkeypatch):
    """The slides nearest to one are all of its patient, more of them than are looked at: the next ones are found."""
    prototypes, valid = made_up_sets(60, (3,))
    prototypes[:30] = normalize(prototypes[:1] + 0.01 * prototypes[:30], dim=-1)
    patients = np.array(["same"] * 30 + [f"p{i}" for i in range(30)])
    found = cohort_neighbors(prototypes, valid, 3, patients=patients)
    for row in (0, 29, 45):
        assert [i for i, _ in found[row]] == [i for i, _ in by_definition(prototypes, valid, row, 3, 1, patients)]
    assert all(len(pairs) == 3 for pairs in found)
