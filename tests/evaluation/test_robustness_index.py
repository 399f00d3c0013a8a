"""The robustness index: PathoROB's, by counting; and what sites that are planted do to it."""

import numpy as np
import pytest

from bundle.evaluation.metrics.robustness_index import neighbor_kinds, random_index


def slow_index(vectors, classes, sites, k):
    """SO / (SO + OS) over the k nearest by cosine of every patient with a site, patient by patient."""
    same_class = same_site = 0
    for i in range(len(vectors)):
        if sites[i] is None:
            continue
        cosine = [
            (-np.dot(vectors[i], v) / np.linalg.norm(vectors[i]) / np.linalg.norm(v), j)
            for j, v in enumerate(vectors)
            if j != i and sites[j] is not None
        ]
        for _, j in sorted(cosine)[:k]:
            same_class += classes[j] == classes[i] and sites[j] != sites[i]
            same_site += classes[j] != classes[i] and sites[j] == sites[i]
    return same_class / (same_class + same_site)


def planted(strength, n=60, d=8, seed=0):
    """Two classes at three sites; a class is a direction of length 3, a site one of the given length."""
    rng = np.random.default_rng(seed)
    classes, sites = np.arange(n) % 2, np.arange(n) // 2 % 3
    directions = np.eye(d)
    values = rng.normal(size=(n, d)) * 0.4 + 3 * directions[classes] + strength * directions[2 + sites]
    return values, classes, [f"site {s}" for s in sites]


def index(values, classes, sites, k):
    everyone = np.arange(len(values))
    same_class, same_site = neighbor_kinds(values, classes, sites, everyone, k)
    return same_class[:, k - 1].sum() / (same_class[:, k - 1].sum() + same_site[:, k - 1].sum())


@pytest.mark.parametrize("k", [1, 4, 11, 45])
def test_it_is_the_definition(k):
    """Equal to counting, with unbalanced classes, and patients without a site left out on both sides."""
    values, classes, sites = planted(2.0, n=50)
    classes[:20] = 0
    sites[3] = sites[17] = None
    assert index(values, classes, sites, k) == pytest.approx(slow_index(values, classes, sites, k), abs=1e-15)


def test_counts_grow_with_k_and_end_with_the_patients():
    """More neighbors than there are patients are all of them: the index of random neighbors."""
    values, classes, sites = planted(1.0, n=20)
    sites[0] = None
    same_class, same_site = neighbor_kinds(values, classes, sites, np.arange(20), 30)
    assert same_class.shape == (20, 30) and (np.diff(same_class) >= 0).all() and (np.diff(same_site) >= 0).all()
    assert same_class[0].sum() == same_site[0].sum() == 0
    ends = same_class[:, -1].sum(), same_site[:, -1].sum()
    assert random_index(classes, sites) == pytest.approx(ends[0] / sum(ends))


def test_it_moves_with_what_is_planted():
    """Without an effect of the site it is near 1; with a strong one below .5; in between it falls.

    Fifteen neighbors are more than the nine others of the same class and site, which count for neither side.
    """
    found = [index(*planted(strength), k=15) for strength in (0, 2, 3, 4, 8)]
    assert found[0] > 0.95 and found[-1] < 0.1 and found[-2] < 0.5
    assert found == sorted(found, reverse=True)


def test_some_patients_may_ask_alone():
    """Neighbors are looked for among all, whoever asks."""
    values, classes, sites = planted(2.0)
    everyone = neighbor_kinds(values, classes, sites, np.arange(60), 7)
    some = np.array([5, 2, 40])
    for whole, part in zip(everyone, neighbor_kinds(values, classes, sites, some, 7), strict=True):
        np.testing.assert_array_equal(whole[some], part)


def test_there_is_no_random_index_of_one_class_and_one_site():
    """Nobody could be of the same class at another site, or of another class at this one."""
    assert np.isnan(random_index(np.zeros(4, np.int64), ["x"] * 4))
    assert np.isnan(random_index(np.zeros(4, np.int64), [None] * 4))
