"""Searches over an index are exact, with bounds and without."""

import numpy as np
import pytest
import torch
from search_cohorts import brute_force, simulated_index
from slide_embeddings import unit

from bundle.explore import NearestSlides
from bundle.prototypes import SetSketch, nearest_sets

pytest.importorskip("faiss")


@pytest.fixture(scope="module")
def two_thousand(tmp_path_factory):
    return simulated_index(tmp_path_factory.mktemp("index"), 2000)


@pytest.mark.parametrize("n_at_once", [4096, 100])
@pytest.mark.parametrize("share_allowed", [1.0, 0.3])
def test_set_search_equals_brute_force_on_2000_slides(two_thousand, n_at_once, share_allowed):
    """Compared with all, or with those alone whose upper bound is large enough: the ten best of every fiftieth slide
    are those of a double loop over scipy's assignment, with and without a filter."""
    index, slides = two_thousand
    nearest = NearestSlides(index, n_at_once)
    allowed = np.random.default_rng(1).random(2000) < share_allowed
    for number in range(0, 2000, 100):
        rows, similarity = nearest.by_sets(slides[number].prototypes, 10, allowed)
        truth = brute_force(slides[number], slides)
        np.testing.assert_allclose(similarity, np.sort(truth[allowed])[::-1][:10], atol=2e-6)
        np.testing.assert_allclose(truth[rows], similarity, atol=2e-6)
        assert len(set(rows.tolist())) == 10 and allowed[rows].all()


@pytest.mark.parametrize("n_dims", [1, 8, 32])
@pytest.mark.parametrize("sizes", ["one", "many"])
def test_bounds_are_never_too_small(two_thousand, n_dims, sizes):
    """Whatever the subspace leaves out, no similarity is above its bound; with all dimensions the bound is that of the
    cosines themselves."""
    index, slides = two_thousand
    sets, valid = NearestSlides(index).sets
    if sizes == "one":
        sets, valid = sets[valid.all(1)], valid[valid.all(1)]
    sketch = SetSketch(sets, valid, n_dims)
    for number in (0, 1, 2, 3, 4, 5):
        query = torch.from_numpy(slides[number].prototypes)
        bounds = sketch.bounds(query)
        truth = nearest_sets(query[None], torch.ones(1, len(query), dtype=torch.bool), sets, valid, len(sets))
        assert bool((bounds[truth[0][0]] >= truth[1][0]).all())
        if n_dims == 32:
            exact = (sets @ query.T).amax(2).masked_fill(~valid, 0).sum(1) / valid.sum(1)
            smaller = valid.sum(1) <= len(query)
            assert bool((bounds[smaller] <= exact[smaller] + 2e-5).all())


def test_bounds_pass_most_slides_over(two_thousand):
    """Of 2,000 slides less than a fifth remains to be compared: what makes large cohorts fast."""
    index, slides = two_thousand
    nearest = NearestSlides(index)
    left = [
        len(nearest._possible(torch.from_numpy(slides[number].prototypes), 10, np.arange(2000)))
        for number in range(0, 2000, 100)
        if len(slides[number].prototypes) == 4
    ]
    assert np.mean(left) < 400


def test_embedding_search_is_the_cosine(two_thousand):
    """The neighbors by embedding are those of a matrix product, among the allowed only."""
    index, slides = two_thousand
    vectors = unit(np.stack([slide.slide_embedding for slide in slides]))
    allowed = np.random.default_rng(0).random(2000) < 0.3
    for number in (0, 7, 1999):
        cosines = np.where(allowed, vectors @ vectors[number], -2)
        rows, similarity = NearestSlides(index).by_embedding(3 * slides[number].slide_embedding, 6, allowed)
        assert rows.tolist() == np.argsort(-cosines)[:6].tolist()
        np.testing.assert_allclose(similarity, np.sort(cosines)[::-1][:6], rtol=1e-5)
