"""What ours is compared with computes the same."""

import pytest
import torch
import torch.nn.functional as F

from bundle.networks import Distiller, Encoder, LastLayer, PatchViT, ProjectionHead, RegionViT
from bundle.prototypes import batched_kmeans, nearest_slides
from scripts.bench import reference_way
from scripts.bench.cohort import region_features, regions_per_slide, slide_prototypes
from scripts.bench.loss import Problem


def test_loss_and_gradients_are_the_same():
    """The loop over pairs and our loss agree, and so do the gradients of bottlenecks and last layer."""
    problem = Problem(3, out_dim=500)
    for ours, theirs in zip(problem.by_us(), problem.by_reference(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_networks_are_the_same():
    """Plainly applied, region and patch ViT give what ours give, and the teacher's features are the bottlenecks."""
    region, patch = RegionViT(in_dim=8, dim=12, depth=3, n_heads=2), PatchViT(32, 8, dim=12, depth=2, n_heads=2)
    crop, image = torch.randn(2, 8, 6, 6), torch.randn(2, 3, 40, 40)
    torch.testing.assert_close(reference_way.backbone(region, crop), region(crop), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(reference_way.patch_tokens(patch, image), patch(image), rtol=1e-4, atol=1e-5)
    distiller = Distiller(Encoder(region, ProjectionHead(12, 16, 6)), LastLayer(6, 20))
    features = reference_way.region_features(distiller, crop)
    torch.testing.assert_close(features, distiller.encoder.project(crop), rtol=1e-4, atol=1e-5)
    views = [crop[None], torch.randn(3, 2, 8, 4, 4)]
    bottlenecks, weight = distiller(views)
    logits = bottlenecks @ F.normalize(weight, dim=1).T
    torch.testing.assert_close(reference_way.forward(distiller, views), logits, rtol=1e-4, atol=1e-5)


def test_a_step_learns():
    """The reference's step lowers the loss on one batch, so it is a training step indeed."""
    torch.manual_seed(0)
    region = RegionViT(in_dim=8, dim=12, depth=2, n_heads=2)
    pair = [Distiller(Encoder(region, ProjectionHead(12, 16, 6)), LastLayer(6, 20)) for _ in range(2)]
    optimizer = torch.optim.AdamW(pair[0].parameters(), lr=1e-2)
    views = reference_way.crops_by_sample(torch.randn(4, 16, 16, 8))
    assert [tuple(group.shape) for group in views] == [(2, 4, 8, 14, 14), (8, 4, 8, 6, 6)]
    centers = torch.zeros(20), torch.zeros(20)
    losses = [reference_way.train_step(*pair, optimizer, views, None, centers) for _ in range(6)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("n_neighbors", [1, 3])
def test_neighbors_are_the_same(n_neighbors):
    """A product for each permutation finds the neighbors that ours finds."""
    prototypes = slide_prototypes(30, 3, dim=8)
    ours = nearest_slides(prototypes, torch.ones(30, 3, dtype=torch.bool), n_neighbors)
    similarity, index = reference_way.match_by_permutations(prototypes, n_neighbors)
    assert torch.equal(index, ours.index)
    torch.testing.assert_close(similarity, ours.similarity)


def test_clusters_are_as_good():
    """faiss slide by slide ends at the inertia of ours within a percent, and leaves out slides with too few regions."""
    pytest.importorskip("faiss")
    lengths = regions_per_slide(40)
    lengths[3] = 2
    points, slide_index = region_features(lengths, dim=16)
    centroids, _, inertia = reference_way.kmeans_of_slides(points.numpy(), lengths.tolist(), 4)
    ours = batched_kmeans(points, slide_index, torch.full((40,), 4)).inertia[lengths >= 4].sum()
    assert float(ours) / inertia == pytest.approx(1.0, abs=0.01)
    assert not bool(centroids[3].any()) and bool(centroids[4].any())
