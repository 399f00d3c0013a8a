"""Folds, shares, files of splits, patients: nobody on both sides, and every mistake named."""

import warnings

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from bundle.cohort import (
    Split,
    check_splits,
    duplicates_across,
    find_duplicates,
    fingerprint_of,
    fraction_of,
    patient_folds,
    pool_patients,
    read_splits,
)
from bundle.cohort.splits import check_split
from bundle.core import BundleError

UNITS = ["p1", "p2", "p3", "p4"]
SLIDES = [["a", "b"], ["c"], ["d"], ["e"]]


def split_file(tmp_path, text):
    """A file of splits of this text."""
    path = tmp_path / "splits.csv"
    path.write_text(text, encoding="utf-8")
    return path


def sides(splits):
    """Name -> (train, test) as lists."""
    return {split.name: (split.train.tolist(), split.test.tolist()) for split in splits}


@pytest.mark.parametrize(("counts", "n_folds"), [((12, 12), 10), ((53, 17, 11), 5), ((20, 3), 3)])
def test_folds_partition_the_rows_and_keep_the_shares(counts, n_folds):
    """Each row is tested once and never learned from then; classes and sizes of folds differ by one row at most."""
    targets = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    splits = patient_folds(targets, n_folds, seed=3)
    assert sorted(np.concatenate([s.test for s in splits])) == list(range(len(targets)))
    for split in splits:
        assert sorted([*split.train, *split.test]) == list(range(len(targets)))
    assert np.ptp([len(s.test) for s in splits]) <= 1
    for c in range(len(counts)):
        assert np.ptp([(targets[s.test] == c).sum() for s in splits]) <= 1


def test_folds_depend_on_the_seed_only():
    """The same seed gives the same folds, another seed others."""
    targets = np.arange(40) % 2
    first, again, other = (sides(patient_folds(targets, 5, seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_survival_folds_share_events_and_times():
    """Every fold has its share of events, and of early ones; a handful of censored patients is no obstacle."""
    rng = np.random.default_rng(0)
    targets = np.column_stack([rng.exponential(20, 100) + 0.1, rng.random(100) < 0.6])
    events, is_early = targets[:, 1] > 0, targets[:, 0] < np.median(targets[targets[:, 1] > 0, 0])
    splits = patient_folds(targets, 5)
    assert np.ptp([events[s.test].sum() for s in splits]) <= 4
    assert np.ptp([(events & is_early)[s.test].sum() for s in splits]) <= 2
    targets[:, 1] = np.arange(100) > 2
    assert len(patient_folds(targets, 10)) == 10
    targets[:, 1] = np.arange(100) < 4
    with pytest.raises(BundleError, match="patients with an event: 4, too few for 10 folds; give n_folds up to 4, or"):
        patient_folds(targets, 10)


def test_folds_that_cannot_be_made_are_errors():
    """A class smaller than the number of folds is named with its count and the ways out."""
    targets = np.repeat([0, 1], [30, 7])
    with pytest.raises(BundleError, match="class rare: 7, too few for 10 folds; give n_folds up to 7, merge the class"):
        patient_folds(targets, 10, names=["common", "rare"])
    with pytest.raises(BundleError, match="class 1: 1, too few for 2 folds; merge"):
        patient_folds(np.array([0, 0, 1]), 2)
    with pytest.raises(BundleError, match="n_folds is 1"):
        patient_folds(targets, 1)


@pytest.mark.parametrize("seed", range(4))
def test_site_preserving_folds(seed):
    """No site on both sides, no empty fold, and not less even than scikit-learn's one attempt."""
    rng = np.random.default_rng(seed)
    site_of = rng.choice(24, 200, p=rng.dirichlet(np.ones(24)))
    targets = (rng.random(200) < 0.2 + 0.4 * (site_of % 2)).astype(int)
    splits = patient_folds(targets, 5, seed, sites=[f"s{i}" for i in site_of])
    for split in splits:
        assert not set(site_of[split.train]) & set(site_of[split.test]) and len(split.test)

    def unevenness(folds):
        columns = [np.ones(200), targets == 0, targets == 1]
        return sum((c[test].sum() / c.sum() - 0.2) ** 2 for c in columns for test in folds)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(np.zeros(200), targets, site_of)
        assert unevenness([s.test for s in splits]) <= unevenness([test for _, test in theirs]) + 1e-9
    assert check_splits(splits, targets, sites=[f"s{i}" for i in site_of]) == []


def test_too_few_sites_are_an_error_and_unknown_ones_stay_together():
    """Patients without a site are one site, since any of them may share one."""
    targets = np.arange(20) % 2
    with pytest.raises(BundleError, match=r"from 2 sites \(x, y\), too few for 4 folds .* give n_folds up to 2"):
        patient_folds(targets, 4, sites=["x", "y"] * 10)
    with pytest.raises(BundleError, match="fill the column site"):
        patient_folds(targets, 4, sites=[None] * 20)
    sites = [None if i < 5 else f"s{i % 4}" for i in range(20)]
    splits = patient_folds(targets, 3, sites=sites)
    assert sum(bool(set(s.test) & set(range(5))) for s in splits) == 1
    assert any("5 patients have no site" in note for note in check_splits(splits, targets, sites=sites))


def test_shares_of_the_training_rows_are_nested():
    """25 % is part of 50 %, both keep the classes' shares and two rows of each class, and 100 % is everybody."""
    targets, train = np.repeat([0, 1, 2], [40, 20, 3]), np.arange(63)[::-1]
    quarter, half, full = (fraction_of(train, targets, f, seed=5) for f in (0.25, 0.5, 1.0))
    assert set(quarter) < set(half) < set(full) == set(train)
    assert np.bincount(targets[quarter]).tolist() == [10, 5, 2]
    assert not np.array_equal(quarter, fraction_of(train, targets, 0.25, seed=6))
    survival = np.column_stack([np.ones(63), targets > 0])
    assert np.bincount((targets > 0)[fraction_of(train, survival, 0.1)].astype(int)).tolist() == [4, 2]
    with pytest.raises(BundleError, match="a train fraction is 0"):
        fraction_of(train, targets, 0)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, 1], [1, 2], "1 patients stand on both sides, such as row 1"),
        ([], [1], "no patient to learn from"),
        ([1], [], "no patient to predict"),
        ([0, 0], [1], "same patient twice"),
    ],
)
def test_unusable_splits_are_errors(train, test, message):
    """Overlap, an empty side, a row twice."""
    with pytest.raises(BundleError, match=f"fold 1.*{message}"):
        check_split(Split("fold 1", np.array(train, np.int64), np.array(test, np.int64)))


def test_what_a_reader_should_know_of_splits():
    """Classes and events missing from one side, and sites on both; training without anything to learn is an error."""
    targets = np.array([0, 0, 0, 1, 1, 2])
    split = Split("test", np.array([0, 1, 3]), np.array([2, 4]))
    notes = check_splits([split], targets, ["a", "b", "c"], sites=["x", "x", "x", "x", "y", None])
    assert "learns from no patient with class c" in notes[0] and "tests on no patient with class c" in notes[1]
    assert "1 of 2 sites stand on both sides" in notes[2] and "1 patients have no site" in notes[3]
    survival = np.array([[1.0, 1], [2, 0], [3, 0], [4, 1]])
    assert "no patient with an event" in check_splits([Split("t", np.array([0, 3]), np.array([1, 2]))], survival)[0]
    with pytest.raises(BundleError, match="the 2 patients to learn from have no event"):
        check_splits([Split("t", np.array([1, 2]), np.array([0, 3]))], survival)
    with pytest.raises(BundleError, match="the 2 patients to learn from are of 1 class"):
        check_splits([Split("t", np.array([0, 1]), np.array([3]))], targets)


def test_a_file_with_a_fixed_split(tmp_path):
    """Slides by id or file name; val on neither side; what is not there, or not named, is said."""
    path = split_file(tmp_path, "slide,split\na.svs,train\nb,Train\nc,val\nd,test\nstranger,test\n")
    found = read_splits(path, UNITS, SLIDES)
    assert found.kind == "fixed" and sides(found.splits) == {"test": ([0], [2])}
    assert found.notes[0] == "1 rows of splits.csv match no slide of the evaluation, such as stranger."
    assert "1 patients have no split" in found.notes[1] and "(p4)" in found.notes[1]
    assert "1 patients marked val" in found.notes[2] and "(p2)" in found.notes[2]


def test_a_file_with_folds(tmp_path):
    """Each fold is predicted once, by the others; patients may be named instead of slides."""
    path = split_file(tmp_path, "\ufeffpatient, fold \np1,2\np2,0\np3,2.0\np4,\n")
    found = read_splits(path, UNITS, SLIDES)
    assert found.kind == "folds" and sides(found.splits) == {"fold 0": ([0, 2], [1]), "fold 2": ([1], [0, 2])}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slide,split\na,train\nb,test\nc,test\n", "patient 'p1' stand on different sides .a in train, b in test"),
        ("slide,fold\na,0\nb,1\nc,1\n", "patient 'p1' stand on different sides .a in 0, b in 1"),
        ("slide,split\na,train\nc,test\na,train\n", "line 4: slide 'a' stands there twice"),
        ("slide,split\na,train\nc,tset\n", "line 3: 'tset' is no side of a split; write train, test or val"),
        ("slide,fold\na,one\n", "line 2: fold 'one' is no whole number"),
        ("slide,fold\na,1.5\n", "line 2: fold '1.5' is no whole number"),
        ("slide,fold\na,nan\n", "line 2: fold 'nan' is no whole number"),
        ("slide,fold\na,1\nc,1\n", "has 1 fold of patients"),
        ("slide,split\na,train\nc,train\n", "test has no patient to predict"),
        ("slide,split\na,test\n", "test has no patient to learn from"),
        ("slide,split\nx,test\ny,train\n", "matches a slide of this evaluation: it names x, y; there are a, b, c, ..."),
        ("slide,split,fold\na,test,1\n", "has the columns slide, split, fold; give slide"),
        ("name,split\na,test\n", "has the columns name, split; give slide"),
        ("", "has the columns none"),
        ("slide,split\n,test\n", "line 2: the column 'slide' is empty"),
    ],
)
def test_mistakes_in_a_file_of_splits(tmp_path, text, message):
    """Each names the file and what to mend."""
    with pytest.raises(BundleError, match=f"splits.csv.*{message}"):
        read_splits(split_file(tmp_path, text), UNITS, SLIDES)


def test_a_file_of_splits_that_is_not_there(tmp_path):
    """It is missed by name."""
    with pytest.raises(BundleError, match="gone.csv cannot be read"):
        read_splits(tmp_path / "gone.csv", UNITS, SLIDES)


def test_slides_become_patients():
    """One row a patient, in the order of first slides; slides without a label are counted and three are named."""
    slides, patients = list("abcdefg"), ["p", "q", "p", "r", "s", "s", "t"]
    rows = pool_patients(slides, patients, ["x", "y", "x", None, None, "", None], [None, "s1", "s2", *[None] * 4])
    assert (rows.units, rows.slides, rows.members) == (["p", "q"], [["a", "c"], ["b"]], [[0, 2], [1]])
    assert (rows.values, rows.sites) == (["x", "y"], ["s2", "s1"])
    assert rows.notes == ["4 slides without label are left out, such as d, e, f."]


def test_survival_of_patients():
    """Time and event of a patient's slides must agree; NaN is unknown."""
    outcomes = np.array([[5.0, 1], [5, 1], [np.nan, np.nan]])
    assert pool_patients(["a", "b", "c"], ["p", "p", "q"], outcomes).values == [(5.0, 1.0)]
    outcomes[1, 0] = 6
    with pytest.raises(
        BundleError, match="patient 'p' differ in outcome .a has time 5, event 1, b has time 6, event 1"
    ):
        pool_patients(["a", "b", "c"], ["p", "p", "q"], outcomes, what="outcome")


def test_patients_that_do_not_agree_with_themselves():
    """Two labels are an error that names them, two sites a note and the first."""
    with pytest.raises(BundleError, match="patient 'p' differ in label .a has 'x', b has 'y'"):
        pool_patients(["a", "b"], ["p", "p"], ["x", "y"])
    with pytest.raises(BundleError, match="none of the 2 slides has a grade"):
        pool_patients(["a", "b"], ["p", "p"], [None, None], what="grade")
    rows = pool_patients(["a", "b"], ["p", "p"], ["x", "x"], ["s2", "s1"])
    assert rows.sites == ["s2"] and rows.notes == ["patient p has slides of several sites (s2, s1) and counts for s2."]


def test_copies_of_a_slide_are_found_on_both_sides():
    """Equal features are one group under any name; only those that a split parts are reported."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 3, 4)).astype(np.float16)
    features = {"a": first, "b": second, "c": first.copy(), "d": first.reshape(4, 3), "e": second, "f": second[:2]}
    groups = find_duplicates({name: fingerprint_of(values) for name, values in features.items()})
    assert groups == [["a", "c"], ["b", "e"]]
    rows = [["a"], ["b", "e"], ["c", "d"], ["f"]]
    parted = [Split("fold 1", np.array([0, 1]), np.array([2, 3])), Split("fold 2", np.array([2, 3]), np.array([0, 1]))]
    together = [Split("test", np.array([0, 2]), np.array([1, 3]))]
    assert duplicates_across(groups, parted, rows) == [["a", "c"]] and duplicates_across(groups, together, rows) == []
