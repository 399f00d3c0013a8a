"""Whose slide, which site: the probe beside the kNN."""

import pytest
import torch
from ignite.engine import Engine
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bundle.evaluation import IdentityProbe

LENGTHS = torch.tensor([6, 9, 4, 7, 8, 5])
INDEX = torch.arange(6).repeat_interleave(LENGTHS)
PLACE = torch.cat([torch.arange(n) for n in LENGTHS])


def feed(metric, embeddings, batch=7, order=None):
    """Run the metric through a real engine, in any order of regions."""
    order = torch.arange(len(embeddings)) if order is None else order
    engine = Engine(lambda e, rows: {"embedding": embeddings[rows], "region_id": rows})
    metric.attach(engine, "identity")
    return engine.run(order.split(batch)).metrics.get("identity")


def noisy(strength, dim=12, seed=0):
    """Regions that know their slide, more or less."""
    generator = torch.Generator().manual_seed(seed)
    slides = torch.randn(6, dim, generator=generator)
    return strength * slides[INDEX] + torch.randn(len(INDEX), dim, generator=generator)


def test_it_is_scikit_learns_ridge_classifier():
    """Every second region trains, the others test: the same accuracy as StandardScaler and RidgeClassifier give."""
    for strength in (0.0, 0.5, 1.0):
        rows, is_train = noisy(strength), PLACE % 2 == 0
        model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=1.0)).fit(rows[is_train], INDEX[is_train])
        wanted = model.score(rows[~is_train], INDEX[~is_train])
        assert feed(IdentityProbe("embedding", INDEX), rows) == pytest.approx(wanted)


def test_the_order_of_regions_does_not_matter():
    """Batches in any order give the same metric."""
    rows, order = noisy(0.7), torch.randperm(len(INDEX), generator=torch.Generator().manual_seed(1))
    assert feed(IdentityProbe("embedding", INDEX), rows) == feed(IdentityProbe("embedding", INDEX), rows, order=order)


def test_sites_are_told_on_slides_that_were_not_learned_from():
    """An embedding of the site scores 1; one of the slide alone knows nothing of another slide's site."""
    sites = ["a", "a", "b", "b", None, "a"]
    number = torch.tensor([0, 0, 1, 1, 2, 0])
    assert feed(IdentityProbe("embedding", INDEX, sites), torch.eye(3)[number[INDEX]]) == 1.0
    metric = IdentityProbe("embedding", INDEX, sites)
    trained = {int(INDEX[i]) for i in (metric.roles == 1).nonzero()[:, 0]}
    tested = {int(INDEX[i]) for i in (metric.roles == 2).nonzero()[:, 0]}
    assert trained == {0, 2, 5} and tested == {1, 3}
    assert feed(metric, torch.eye(6)[INDEX]) < 1.0


def test_nothing_is_written_where_nothing_can_be_told_apart():
    """One slide, or no site at all: no metric instead of a wrong one."""
    assert feed(IdentityProbe("embedding", torch.zeros(5, dtype=torch.long)), torch.randn(5, 3)) is None
    assert feed(IdentityProbe("embedding", INDEX, [None] * 6), noisy(1.0)) is None


def test_a_large_cohort_is_sampled():
    """Of many slides as many are looked at as was asked for, with all their regions."""
    index = torch.arange(1000).repeat_interleave(3)
    metric = IdentityProbe("embedding", index, max_slides=10)
    used = index[metric.roles > 0]
    assert metric.n_classes == 10 and len(used) == 30 and int(used.min()) == 0 and int(used.max()) == 999
