"""Centering and ComBat: equal to a published implementation, and sound where there is little to learn from."""

import numpy as np
import pytest

from bundle.cohort import center_groups, center_site, combat
from bundle.core import BundleError

SITES = list("aaaaaaaaabbbbbbbbbbbbbbbccccdddddddddddd")


def vectors(seed=0, d=12):
    """Vectors of four sites, of which two have a location and a scale of their own."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(len(SITES), d)) * rng.uniform(0.3, 3, d) + 5 * rng.normal(size=d)
    for site, scale, shift in (("b", 2.0, 1.5), ("d", 0.4, -3.0)):
        values[np.array(SITES) == site] = values[np.array(SITES) == site] * scale + shift
    return values


@pytest.mark.parametrize("seed", [0, 1])
def test_combat_equals_a_published_implementation(seed):
    """CoAxLab's pycombat, run until nothing changes: fitted on some rows and applied to all, to 1e-10."""
    published = pytest.importorskip("pycombat")
    values, names = vectors(seed), np.array(SITES)
    learned = np.arange(len(SITES)) % 3 > 0
    wanted = published.Combat(conv=1e-15).fit(values[learned], names[learned]).transform(values, names)
    got = combat(values[learned], names[learned].tolist())(values, SITES)
    assert np.abs(wanted - values).max() > 1, "something is taken out"
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-10)


def test_rows_that_were_not_learned_from_change_nothing():
    """What is fitted on half of the rows maps a row as it does whatever the other rows are."""
    values = vectors()
    for fit in (center_site, combat):
        maps = fit(values[::2], SITES[::2])
        alone = np.concatenate([maps(row[None], [site]) for row, site in zip(values, SITES, strict=True)])
        np.testing.assert_array_equal(maps(values, SITES), alone)


def test_sites_have_one_mean_and_one_spread_afterwards():
    """Of sites with many rows ComBat leaves means and variances alike; centering the means alone."""
    rng = np.random.default_rng(3)
    sites = ["a", "b"] * 500
    values = rng.normal(size=(1000, 6)) + rng.normal(size=6)
    values[::2] = 3 * values[::2] + 2
    together, centered = combat(values, sites)(values, sites), center_site(values, sites)(values, sites)
    np.testing.assert_allclose(together[::2].mean(0), together[1::2].mean(0), atol=0.02)
    np.testing.assert_allclose(together[::2].std(0), together[1::2].std(0), rtol=0.04)
    np.testing.assert_allclose(together.mean(0), values.mean(0), atol=0.02)
    for half in (centered[::2], centered[1::2]):
        np.testing.assert_allclose(half.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(centered[::2].std(0), values[::2].std(0))


def test_a_site_of_one_row_is_shifted_towards_the_others_and_keeps_its_scale():
    """Its location is drawn towards the mean shift over all values: the row does not become the grand mean."""
    values = vectors()
    maps = combat(values[:25], SITES[:24] + ["alone"])
    assert set(maps.center) == {"a", "b", "alone"} and np.all(maps.scale["alone"] == 1)
    moved = maps(values[24:25], ["alone"])
    assert np.isfinite(moved).all() and np.abs(moved - maps.target).min() > 1e-6
    assert np.abs(moved - maps.target).mean() < np.abs(values[24] - maps.target).mean()


def test_unknown_sites_stay_or_lose_the_mean_of_all():
    """ComBat leaves them as they are; centering subtracts the mean of what was learned from, sites known or not."""
    values = vectors()
    sites = [*SITES[:-1], None]
    np.testing.assert_array_equal(combat(values, sites)(values[:2], ["new", None]), values[:2])
    got = center_site(values, sites)(values[:2], ["new", None])
    np.testing.assert_allclose(got, values[:2] - values.mean(0))


def test_values_that_do_not_vary_stay():
    """A constant value (a dead unit) is neither divided by 0 nor does it change the others."""
    values = vectors()
    with_dead = np.insert(values, 3, 0.7, axis=1)
    got = combat(with_dead, SITES)(with_dead, SITES)
    np.testing.assert_array_equal(got[:, 3], 0.7)
    np.testing.assert_allclose(np.delete(got, 3, 1), combat(values, SITES)(values, SITES))
    same = np.ones((len(SITES), 4))
    np.testing.assert_array_equal(combat(same, SITES)(same, SITES), same)


def test_the_mean_of_mapped_regions_is_the_mapped_mean():
    """Maps are affine by site."""
    values = vectors()
    regions = np.random.default_rng(5).normal(size=(7, 12))
    for fit in (center_site, combat):
        maps = fit(values, SITES)
        np.testing.assert_allclose(maps(regions, ["b"] * 7).mean(0), maps(regions.mean(0)[None], ["b"])[0])


def test_groups_are_centered_each_on_its_own():
    """A slide's mean is subtracted; a group without rows does not matter."""
    values, groups = vectors()[:5], np.array([0, 0, 2, 2, 2])
    got = center_groups(values, groups)
    np.testing.assert_allclose(got[:2], values[:2] - values[:2].mean(0))
    np.testing.assert_allclose(got[2:], values[2:] - values[2:].mean(0))


@pytest.mark.parametrize(
    ("fit", "sites", "message"),
    [
        (center_site, [None] * 4, "there is none"),
        (combat, ["x", "x", None, None], "only 'x'"),
        (combat, ["x", "y", "z", None], "no site has two patients"),
    ],
)
def test_too_few_sites_are_refused(fit, sites, message):
    """What was found is named, and what to do."""
    with pytest.raises(BundleError, match=message):
        fit(np.zeros((4, 3)), sites)
