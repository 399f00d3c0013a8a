"""Sketches of vectors."""

import torch

from bundle.prototypes.sketches import principal_directions, sketched


def test_products_of_sketches_are_never_below_those_of_vectors():
    """In any number of dimensions, in single precision, also for vectors that lie in the subspace almost wholly."""
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(
        torch.randn(60, 16) * torch.tensor([1.0] * 4 + [1e-4] * 6 + [0.3] * 6), dim=1
    )
    vectors[:20, 4:] *= 1e-4
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    directions = principal_directions(vectors)
    for n_dims in (1, 4, 9, 15):
        short = sketched(vectors, directions[:, :n_dims])
        assert short.shape == (60, n_dims + 1)
        assert bool((short @ short.T >= vectors @ vectors.T - 1e-6).all())
        torch.testing.assert_close(short.norm(dim=1), torch.ones(60))


def test_principal_directions_come_longest_first():
    """They are orthonormal, and the share of the length in the first ones is as large as can be."""
    torch.manual_seed(0)
    vectors = torch.randn(200, 5, dtype=torch.float64) * torch.tensor([0.1, 3.0, 1.0, 0.01, 2.0])
    directions = principal_directions(vectors)
    torch.testing.assert_close(directions.T @ directions, torch.eye(5, dtype=torch.float64))
    lengths = (vectors @ directions).square().sum(0)
    torch.testing.assert_close(lengths, torch.linalg.svdvals(vectors).square())
