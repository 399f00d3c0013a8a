"""Cohorts to search in, made as arrays, and the slow way to search in them."""

from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment
from slide_embeddings import made_up_slide, unit

from bundle.explore import SearchIndex
from bundle.explore.search.catalog import Entry


def simulated_index(folder, n_slides, seed=0, dim=32, size=4):
    """Slides of 1 to ``size`` prototypes around a few common ones, straight as arrays."""
    rng = np.random.default_rng(seed)
    common = unit(rng.standard_normal((8, dim)))
    slides = []
    for number in range(n_slides):
        k = int(rng.integers(1, size + 1))
        prototypes = unit(common[rng.choice(8, k, replace=False)] + 0.15 * rng.standard_normal((k, dim)))
        slides.append(
            replace(
                made_up_slide(f"s{number}", 1, 1),
                prototypes=prototypes,
                assignment=np.zeros(1, np.int64),
                slide_embedding=rng.standard_normal(24).astype(np.float32),
            )
        )
    index = SearchIndex.open(folder, regions=False, n_examples=1)
    index.add(slides, [Entry(slide.slide_id, slide.slide_id, (0, 0), {}) for slide in slides])
    return index, slides


def brute_force(query, slides):
    """Similarity of prototype sets by scipy's assignment, one pair after the other."""
    found = []
    for slide in slides:
        cosines = query.prototypes.astype(np.float64) @ slide.prototypes.T.astype(np.float64)
        rows, columns = linear_sum_assignment(cosines, maximize=True)
        found.append(cosines[rows, columns].mean())
    return np.array(found)
