"""Batched K-means."""

import pytest
import reference
import torch

from bundle.parallel import keyed_uniform
from bundle.prototypes import batched_kmeans, kmeans


def _cohort(lengths, dim=6, seed=0):
    torch.manual_seed(seed)
    slide_index = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    points = torch.randn(len(slide_index), dim, dtype=torch.float64)
    return torch.nn.functional.normalize(points, dim=1), slide_index


@pytest.mark.parametrize("dim", [3, 40])
@pytest.mark.parametrize("n_clusters", [1, 2, 4])
def test_clusters_equal_lloyd_by_hand(dim, n_clusters):
    """Gram space (n < d) and plain space give what k-means++ and Lloyd give in loops with the same random numbers."""
    lengths = [9, 17, 30]
    points, slide_index = _cohort(lengths, dim)
    found = batched_kmeans(points, slide_index, torch.full((3,), n_clusters), n_restarts=3, n_iterations=5, seed=4)
    uniforms = keyed_uniform(4, 0, torch.arange(3), kmeans._SEEDING_STREAM, n_clusters * 3).view(3, n_clusters, 3)
    for slide, part in enumerate(points.split(lengths)):
        runs = [reference.kmeans(part, n_clusters, uniforms[slide, :, restart].double(), 5) for restart in range(3)]
        centroids, assignment, inertia = min(runs, key=lambda run: run[2])
        assert float(found.inertia[slide]) == pytest.approx(inertia, rel=1e-9)
        torch.testing.assert_close(found.centroids[slide], centroids)
        assert torch.equal(found.assignment[slide_index == slide], assignment)


def test_a_point_of_no_weight_is_never_drawn(monkeypatch):
    """With random numbers of exactly 0 the seeds are still different points: what is a seed already has no weight."""
    monkeypatch.setattr(kmeans, "keyed_uniform", lambda seed, epoch, ids, stream, n: torch.zeros(len(ids), n))
    lengths = [9, 17, 30]
    points, slide_index = _cohort(lengths)
    found = batched_kmeans(points, slide_index, torch.full((3,), 4), n_restarts=1, n_iterations=1)
    for slide, part in enumerate(points.split(lengths)):
        centroids, assignment, _ = reference.kmeans(part, 4, torch.zeros(4), 1)
        torch.testing.assert_close(found.centroids[slide], centroids)
        assert torch.equal(found.assignment[slide_index == slide], assignment)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_slide_does_not_depend_on_its_company(monkeypatch, dtype):
    """Alone, in small buckets, in large ones and again, a slide's clusters are the same to the bit."""
    points, slide_index = _cohort([5, 40, 12, 12, 64, 13], dim=32)
    points, wanted = points.to(dtype), torch.full((6,), 3)
    together = batched_kmeans(points, slide_index, wanted)
    monkeypatch.setitem(kmeans._BUCKET_ELEMENTS, "cpu", 1)
    for slide in range(6):
        is_own = slide_index == slide
        alone = batched_kmeans(points[is_own], slide_index[is_own] * 0, wanted[:1], keys=torch.tensor([slide]))
        assert torch.equal(alone.centroids[0], together.centroids[slide])
        assert torch.equal(alone.assignment, together.assignment[is_own])
    for one, other in zip(batched_kmeans(points, slide_index, wanted), together, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dim", [2, 40])
def test_equal_regions_make_one_cluster(dim):
    """K_i = min(K, distinct regions): copies of one, two and three points give one, two and three centroids."""
    torch.manual_seed(0)
    distinct = torch.nn.functional.normalize(torch.randn(3, dim), dim=1)
    points = torch.cat([distinct[:n].repeat(7, 1)[: n * 7] for n in (1, 2, 3)])
    slide_index = torch.arange(3).repeat_interleave(torch.tensor([7, 14, 21]))
    found = batched_kmeans(points, slide_index, torch.full((3,), 5))
    assert found.valid.sum(1).tolist() == [1, 2, 3]
    assert float(found.inertia.max()) < 1e-5
    assert bool(found.centroids.isfinite().all()) and not bool(found.centroids[~found.valid].any())
    assert bool(found.valid[slide_index, found.assignment].all())


def test_more_clusters_than_regions_makes_each_region_a_cluster():
    """K > n gives n centroids, each used once."""
    points, slide_index = _cohort([3, 1])
    found = batched_kmeans(points, slide_index, torch.tensor([8, 8]))
    assert found.valid.sum(1).tolist() == [3, 1]
    assert sorted(found.assignment[:3].tolist()) == [0, 1, 2]
    torch.testing.assert_close(found.centroids[slide_index, found.assignment], points)


def test_slides_left_out_stay_empty():
    """Slides with no region or with 0 wanted clusters have no valid centroid, and -1 for their regions."""
    points, slide_index = _cohort([4, 0, 5])
    found = batched_kmeans(points, slide_index, torch.tensor([2, 2, 0]))
    assert found.valid.any(1).tolist() == [True, False, False]
    assert found.assignment[4:].tolist() == [-1] * 5 and bool((found.assignment[:4] >= 0).all())
    assert batched_kmeans(points, slide_index, torch.zeros(3, dtype=torch.long)).valid.shape == (3, 1)


def test_an_empty_cluster_takes_the_farthest_point():
    """A cluster without points gets the one farthest from its centroid, from a cluster that has several."""
    points = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [9.0, 0.0], [50.0, 0.0]]])
    bucket = kmeans._Bucket(points, torch.ones(1, 4, dtype=torch.bool), torch.tensor([3]), torch.zeros(1, 1, 3))
    bucket.exists = torch.ones(1, 1, 3, dtype=torch.bool)
    before = torch.tensor([[[0, 0, 0, 1]]])
    distance = torch.tensor([[[1.0, 4.0, 30.0, 99.0]]])
    after, members = bucket.repaired(distance, before, bucket.membership(before))
    assert after.tolist() == [[[0, 0, 2, 1]]]
    assert members.sum(3).tolist() == [[[2.0, 1.0, 1.0]]]


def test_ungrouped_points_are_refused():
    """Points that are not grouped by slide, or belong to no slide, raise."""
    with pytest.raises(ValueError, match="ascending"):
        batched_kmeans(torch.randn(3, 2), torch.tensor([0, 1, 0]), torch.tensor([1, 1]))
    with pytest.raises(ValueError, match="below"):
        batched_kmeans(torch.randn(3, 2), torch.tensor([0, 1, 2]), torch.tensor([1, 1]))
