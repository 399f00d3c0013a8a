"""Harmonized features: fitted on the training patients of a split, on one vector a patient, and applied to regions."""

import numpy as np
import pytest
from given_features import GivenFeatures

from bundle.cohort import PatientRows, Split, combat
from bundle.core import BundleError
from bundle.evaluation.features.brought_features import BroughtFeatures
from bundle.evaluation.features.split_features import SplitFeatures, vectors_of

SIZES = (3, 1, 4, 2, 5, 2, 3, 3, 2)  # nine slides of eight patients; the last slide is the first patient's
MEMBERS = [[0, 8], [1], [2], [3], [4], [5], [6], [7]]
SITES = ["x", "y", "x", "y", "x", "y", None, "z"]
SPLITS = [Split("fold 1", np.arange(4), np.arange(4, 8)), Split("fold 2", np.arange(4, 8), np.arange(4))]


def patients(sites=SITES):
    names = [f"p{i}" for i in range(len(MEMBERS))]
    return PatientRows(names, [[f"s{s}" for s in group] for group in MEMBERS], MEMBERS, [None] * 8, list(sites))


def regions(seed=0):
    return np.random.default_rng(seed).normal(size=(sum(SIZES), 6)).astype(np.float32) + 2


def means(values):
    owner = np.repeat(np.arange(len(SIZES)), SIZES)
    return np.stack([values[np.isin(owner, group)].mean(0) for group in MEMBERS])


def test_vectors_are_those_of_patients_harmonized():
    """A patient's vector is its mean, mapped by what the training patients' means say; so are its regions."""
    values = regions()
    made = SplitFeatures(GivenFeatures({"A": values}, SIZES), patients(), SPLITS[:1], "combat")
    ((inputs, splits),) = made.inputs("A", "region_embedding")
    maps = combat(means(values)[:4], SITES[:4])
    assert [split.name for split in splits] == ["fold 1"]
    np.testing.assert_allclose(inputs.values, maps(means(values), SITES), atol=1e-5)
    ((bags, _),) = made.inputs("A", "regions")
    last = bags.take(np.array([5]))
    np.testing.assert_allclose(last.values, maps(values[15:17], ["y", "y"]), atol=1e-5)


@pytest.mark.parametrize("method", ["center_site", "combat"])
@pytest.mark.parametrize("kind", ["region_embedding", "regions", "prototypes"])
def test_test_patients_teach_nothing(method, kind):
    """With the test patients' regions changed, the training patients' features are the same to the bit."""
    values = regions()
    changed = values.copy()
    changed[10:-2] = 7 * changed[10:-2] - 3  # regions of patients 4 to 7
    found = []
    for given in (values, changed):
        made = SplitFeatures(GivenFeatures({"A": given}, SIZES), patients(), SPLITS[:1], method)
        ((inputs, _),) = made.inputs("A", kind)
        found.append((inputs.take(np.arange(4)).arrays(), inputs.take(np.arange(4, 8)).arrays()))
    for before, after in zip(*(trained for trained, _ in found), strict=True):
        np.testing.assert_array_equal(before, after)
    assert not np.array_equal(found[0][1][0], found[1][1][0])


def test_each_split_learns_from_its_own_patients():
    """Two splits give two sets of features; without harmonizing, and by slide, one set serves both."""
    features = GivenFeatures({"A": regions()}, SIZES)
    made = list(SplitFeatures(features, patients(), SPLITS, "center_site").inputs("A", "region_embedding"))
    assert [[split.name for split in splits] for _, splits in made] == [["fold 1"], ["fold 2"]]
    assert not np.allclose(made[0][0].values, made[1][0].values)
    for method in (None, "center_slide"):
        ((_, splits),) = SplitFeatures(features, patients(), SPLITS, method).inputs("A", "regions")
        assert splits == SPLITS


def test_projections_keep_their_length():
    """Sets of prototypes are of length 1, as before."""
    made = SplitFeatures(GivenFeatures({"A": regions()}, SIZES), patients(), SPLITS, "center_site")
    for inputs, _ in made.inputs("A", "prototypes"):
        np.testing.assert_allclose(np.linalg.norm(inputs.values[inputs.valid], axis=1), 1, atol=1e-5)


def test_slides_are_centered_on_their_own():
    """Regions lose the mean of their slide, not of their patient; vectors, which would be 0, are gone."""
    values = regions()
    made = SplitFeatures(GivenFeatures({"A": values}, SIZES), patients(), SPLITS, "center_slide")
    assert made.kinds("A") == ["regions", "prototypes", "mixture", "composition", "transport"]
    ((bags, _),) = made.inputs("A", "regions")
    np.testing.assert_allclose(bags.values[:3], values[:3] - values[:3].mean(0), atol=1e-6)
    np.testing.assert_allclose(bags.values[3:5], values[-2:] - values[-2:].mean(0), atol=1e-6)
    assert vectors_of(made.rounds()[0].features, "A", MEMBERS) is None


def test_sites_that_training_patients_lack_are_said():
    """They are named, with how often; ComBat leaves their patients as they are."""
    values = regions()
    made = SplitFeatures(GivenFeatures({"A": values}, SIZES), patients(), SPLITS[:1], "combat")
    assert len(made.notes) == 1 and "unknown (1 split), z (1 split)" in made.notes[0]
    ((inputs, _),) = made.inputs("A", "region_embedding")
    np.testing.assert_allclose(inputs.values[6:], means(values)[6:], atol=1e-6)
    assert SplitFeatures(GivenFeatures({"A": values}, SIZES), patients(), SPLITS, None).notes == []


@pytest.mark.parametrize(
    ("method", "sites", "message"),
    [
        ("zscore", SITES, "harmonize is 'zscore'; choose from center_slide"),
        ("combat", [None] * 8, "there is none"),
        ("center_site", ["x"] * 4 + ["y"] * 4, "only 'x'"),
        ("combat", list("abcdefgh"), "no site has two patients"),
    ],
)
def test_what_cannot_be_harmonized_is_refused(method, sites, message):
    """Before anything is embedded."""
    with pytest.raises(BundleError, match=message):
        SplitFeatures(GivenFeatures({}, SIZES), patients(sites), SPLITS, method)


def test_brought_vectors_lose_their_sites_too_and_patch_tokens_are_left_out():
    """A slide vector is mapped by what those of the training patients say; it has no regions and no centered mean."""
    vectors = np.random.default_rng(1).normal(size=(len(SIZES), 4)).astype(np.float32)
    brought = BroughtFeatures(GivenFeatures({"A": regions()}, SIZES), {"TITAN": vectors})
    ((inputs, _),) = SplitFeatures(brought, patients(), SPLITS[:1], "combat").inputs("TITAN", "slide_vector")
    own = np.stack([vectors[group].mean(0) for group in MEMBERS])
    np.testing.assert_allclose(inputs.values, combat(own[:4], SITES[:4])(own, SITES), atol=1e-5)
    assert SplitFeatures(brought, patients(), SPLITS, "center_slide").kinds("TITAN") == []
    assert [brought.has_regions(name) for name in ("A", "TITAN")] == [True, False]
