"""The bank of prototypes."""

import pytest
import reference
import torch

from bundle.core import BundleError
from bundle.prototypes import PrototypeBank


def _cohort(lengths=(20, 3, 30, 0, 25), n_kinds=3, dim=8, noise=0.15, seed=0):
    """Slides whose regions are of a few kinds; kinds are shared by all slides."""
    torch.manual_seed(seed)
    slide_index = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    kind = torch.randint(0, n_kinds, (len(slide_index),))
    kinds = torch.nn.functional.normalize(torch.randn(n_kinds, dim), dim=1)
    features = torch.nn.functional.normalize(kinds[kind] + noise * torch.randn(len(kind), dim), dim=1)
    return features, slide_index, len(lengths), kind


def _fitted(cohort, **options):
    bank = PrototypeBank(3, **{"n_neighbors": 2, "min_regions": 5, **options})
    bank.fit(*cohort[:3])
    bank.match()
    return bank


@pytest.mark.parametrize("backend", ["batched", "faiss"])
def test_both_backends_find_the_planted_kinds(backend):
    """Each slide with enough regions has the planted kinds as its unit-norm prototypes, whichever backend clusters."""
    if backend == "faiss":
        pytest.importorskip("faiss")
    *cohort, kind = _cohort()
    bank = _fitted(cohort, kmeans_backend=backend)
    assert bank.valid.any(1).tolist() == [True, False, True, False, True]
    torch.testing.assert_close(bank.vectors.norm(dim=2), bank.valid.float())
    is_clustered = bank.assignment >= 0
    assert torch.equal(is_clustered, torch.isin(cohort[1], torch.tensor([0, 2, 4])))
    cell = torch.stack([cohort[1], kind, bank.assignment], 1)[is_clustered]
    assert len(cell.unique(dim=0)) == 9


def test_regions_belong_to_the_nearest_centroid_before_normalization():
    """The assignment is by L2 distance to the mean of a cluster, not by the cosine with its direction."""
    *cohort, _ = _cohort(noise=0.8)
    bank = _fitted(cohort, kmeans_iterations=100)
    for slide in (0, 2, 4):
        regions = cohort[0][cohort[1] == slide]
        assignment = bank.assignment[cohort[1] == slide]
        centroids = [regions[assignment == k].mean(0) for k in range(3)]
        assert assignment.tolist() == reference.nearest_centroid(regions, centroids)
        for k in range(3):
            torch.testing.assert_close(bank.vectors[slide, k], torch.nn.functional.normalize(centroids[k], dim=0))


def test_choices_are_all_prototypes_of_the_slides_that_lend_one():
    """The chosen one stands where ``number`` says, among its slide's; without being asked for, there are none."""
    *cohort, _ = _cohort(noise=0.6)
    bank, regions = _fitted(cohort, prototype_task="assign"), torch.arange(len(cohort[0]))
    vectors, valid, choices = bank.targets(regions, "cpu")
    assert 0 < int(valid.sum()) < valid.numel()
    chosen = choices.vectors.gather(2, choices.number[..., None, None].expand(-1, -1, 1, 8)).squeeze(2)
    assert torch.equal(chosen, vectors) and bool(choices.exists.gather(2, choices.number[..., None])[valid].all())
    assert torch.equal(choices.vectors[0], bank.vectors[cohort[1]]) and torch.equal(
        choices.exists[0], bank.valid[cohort[1]]
    )
    lender = bank.neighbors.index[cohort[1], 1]
    assert torch.equal(choices.vectors[2][lender >= 0], bank.vectors[lender[lender >= 0]])
    assert _fitted(cohort).targets(regions, "cpu").choices is None


@pytest.mark.parametrize("n_neighbors", [0, 1, 4])
def test_targets_are_own_and_matched_prototypes(n_neighbors):
    """Row 0 is the region's own prototype, row r the one matched with it in neighbor r; what does not exist is not
    valid: small slides, and neighbors beyond the number of slides."""
    *cohort, _ = _cohort(noise=0.6)
    bank = _fitted(cohort, n_neighbors=n_neighbors)
    regions = torch.randperm(len(cohort[0]))
    targets = bank.targets(regions, "cpu")
    lists = reference.nearest_slides(bank.vectors, bank.valid, n_neighbors)
    for b, region in enumerate(regions.tolist()):
        slide, own = int(cohort[1][region]), int(bank.assignment[region])
        wanted = [] if own < 0 else [bank.vectors[slide, own]]
        wanted += [bank.vectors[other, partner[own]] for _, other, partner in lists[slide]] if own >= 0 else []
        assert targets.valid[:, b].tolist() == [r < len(wanted) for r in range(1 + n_neighbors)]
        for row, vector in enumerate(wanted):
            torch.testing.assert_close(targets.vectors[row, b], vector)


def test_prototypes_keep_their_numbers():
    """After a turn of the embedding space and another seed a region's prototype has the number it had; the agreement
    says how many kept it."""
    *cohort, _ = _cohort(noise=0.3)
    bank = _fitted(cohort)
    before = bank.assignment.clone()
    bank.seed = 99
    turn = torch.linalg.qr(torch.randn(8, 8)).Q
    stats = bank.fit(cohort[0] @ turn, *cohort[1:])
    assert torch.equal(bank.assignment, before) and stats["agreement"] == 1.0
    assert bank.match()["neighbor_agreement"] == 1.0


def test_statistics_describe_the_clustering():
    """Prototypes per slide, dead share, usage and agreement are what the definitions give on a hand-made cohort."""
    angles = torch.tensor([0.0, 0.0, 0.0, 2.0] + [1.0] * 4 + [0.5])
    features = torch.stack([angles.cos(), angles.sin()], 1)
    bank = PrototypeBank(2, 1, 2)
    stats = bank.fit(features, torch.tensor([0] * 4 + [1] * 4 + [2]), 3)
    assert stats["clustered_slides"] == pytest.approx(2 / 3) and stats["prototypes_per_slide"] == 1.5
    assert stats["dead_share"] == 0.0 and "agreement" not in stats
    assert stats["usage_entropy"] == pytest.approx((0.25 * 2 + 0.75 * 0.415037) / 1.0, abs=1e-5)
    assert bank.match()["neighbor_similarity"] == pytest.approx(float(features[:4].matmul(features[4]).max()), abs=1e-5)


def test_state_survives():
    """A bank restored from its state gives the same targets and the same next fit; an empty bank has an empty state."""
    *cohort, _ = _cohort()
    bank, twin = _fitted(cohort), PrototypeBank(3, 2, 5)
    assert twin.state_dict() == {} and not twin.is_fitted
    twin.load_state_dict(bank.state_dict())
    assert twin.is_fitted
    both = bank.targets(torch.arange(50), "cpu"), twin.targets(torch.arange(50), "cpu")
    for one, other in zip(*(targets[:2] for targets in both), strict=True):
        assert torch.equal(one, other)
    turned = cohort[0].flip(1)
    assert bank.fit(turned, *cohort[1:]) == twin.fit(turned, *cohort[1:])
    assert bank.match() == twin.match() and torch.equal(bank.vectors, twin.vectors)


def test_neighbors_wait_for_the_next_match():
    """Between fit and match there are own prototypes but none of neighbors."""
    *cohort, _ = _cohort()
    bank = _fitted(cohort)
    bank.fit(*cohort)
    assert bank.targets(torch.tensor([0]), "cpu").valid.tolist() == [[True], [False], [False]]


def test_mistakes_are_named():
    """Impossible arguments, features that are NaN, foreign states and unknown regions raise BundleError."""
    *cohort, _ = _cohort()
    with pytest.raises(BundleError, match="backend"):
        PrototypeBank(2, kmeans_backend="sklearn")
    with pytest.raises(BundleError, match="n_prototypes"):
        PrototypeBank(0)
    with pytest.raises(BundleError, match="fit first"):
        PrototypeBank(2).match()
    with pytest.raises(BundleError, match="fit first"):
        PrototypeBank(2).targets(torch.tensor([0]), "cpu")
    with pytest.raises(BundleError, match="finite"):
        PrototypeBank(2).fit(cohort[0] * torch.nan, *cohort[1:])
    bank = _fitted(cohort)
    with pytest.raises(BundleError, match="78 regions"):
        bank.targets(torch.tensor([78]), "cpu")
    with pytest.raises(BundleError, match="n_prototypes 3"):
        PrototypeBank(4, 2).load_state_dict(bank.state_dict())


def test_regions_that_are_not_chosen_take_no_part():
    """Prototypes are those of a bank that never saw them, a slide may be too small without them, they get no target."""
    *cohort, _ = _cohort(noise=0.6)
    chosen = torch.tensor([i for i in range(len(cohort[1])) if i % 4 and not 23 <= i < 50])
    bank = _fitted(cohort, trained_regions=chosen)
    alone = _fitted((cohort[0][chosen], cohort[1][chosen], cohort[2]))
    assert bank.valid.any(1).tolist() == [True, False, False, False, True]
    assert torch.equal(bank.vectors, alone.vectors) and torch.equal(bank.assignment[chosen], alone.assignment)
    left = torch.ones(len(cohort[1]), dtype=torch.bool).index_fill_(0, chosen, False)
    assert (bank.assignment[left] == -1).all()
    got, expected = bank.targets(torch.arange(len(left)), "cpu"), alone.targets(torch.arange(len(chosen)), "cpu")
    assert torch.equal(got.valid[:, chosen], expected.valid) and not got.valid[:, left].any()
    torch.testing.assert_close(got.vectors[:, chosen][expected.valid], expected.vectors[expected.valid])
    bank.fit(cohort[0], cohort[1], cohort[2])
    assert torch.equal(bank.assignment[chosen], alone.assignment), "numbers are kept from clustering to clustering"
