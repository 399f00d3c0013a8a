"""Prototypes of training patients, and vectors that a user brings, as methods of an evaluation: paired, no leak."""

import numpy as np
import pytest
from given_features import GivenFeatures
from region_models import write_table

from bundle.cohort import SlideTable, SplitFile
from bundle.core import BundleError
from bundle.evaluation import (
    CohortPrototypes,
    Composition,
    CoxRegression,
    LinearProbe,
    Mixture,
    NearestNeighbors,
    SlideEvaluation,
    Transport,
    evaluation_rows,
    evaluation_splits,
)
from bundle.evaluation.features.brought_features import BroughtFeatures
from bundle.evaluation.protocols.inputs import Bags

N = 24
SLIDES = [f"slide_{i}" for i in range(N)]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Twenty-four slides of 22 patients."""
    rows = [
        {"slide": s, "label": "ab"[i % 2], "patient": f"p{i % 22}", "months": 1 + i % 22, "died": int(i % 22 % 3 > 0)}
        for i, s in enumerate(SLIDES)
    ]
    return SlideTable.read(write_table(tmp_path_factory.mktemp("table") / "t.csv", rows))


def regions(seed=0):
    """Three to six regions a slide, of kinds that lean with the label; and whose they are."""
    rng = np.random.default_rng(seed)
    index = np.repeat(np.arange(N), rng.integers(3, 7, N))
    kinds = rng.normal(size=(4, 5))
    which = np.where(rng.random(len(index)) < 0.7, index % 2, rng.integers(2, 4, len(index)))
    made = {name: (kinds[which] + rng.normal(size=(len(index), 5))).astype(np.float32) for name in ("tokens", "A")}
    return made, index


def given(values, index):
    """Features of two encoders, "tokens" and "A"."""
    return GivenFeatures(values, np.bincount(index))


def evaluation(table, output, features=None, n_prototypes=3, splits=None, **options):
    cohort = CohortPrototypes(n_prototypes)
    rows = evaluation_rows(SLIDES, table, **options.pop("task", {}))
    options = {"use_features": ["mean_token", "region_embedding", "mixture", "composition", "transport"], **options}
    return SlideEvaluation(
        features or given(*regions()),
        rows,
        splits or evaluation_splits(rows, 2),
        [NearestNeighbors(3), LinearProbe((0.1,)), CoxRegression()],
        output,
        pooling=[Mixture(cohort), Composition(cohort), Transport(cohort)],
        train_fractions=[1.0],
        n_bootstrap=100,
        **options,
    )


def test_every_encoder_has_every_pooling(table, tmp_path):
    """Also "tokens", whose regions are mean tokens; compared with one another and with the first encoder's vector."""
    found = evaluation(table, tmp_path).run()
    kinds = {(a.encoder, a.features, a.protocol) for a in (r.method for r in found.results)}
    pooled = ("mixture", "composition", "transport")
    assert kinds == {
        (encoder, features, protocol)
        for encoder, vector in (("tokens", "mean_token"), ("A", "region_embedding"))
        for features in (vector, *pooled)
        for protocol in ("knn", "linear")
    }
    pairs = [(c.a[:2], c.b[:2]) for c in found.comparisons if c.a.protocol == "linear"]
    plain = ("tokens", "mean_token")
    expected = [(("A", "region_embedding"), plain)]
    for kind in pooled:
        expected += [(("tokens", kind), plain), (("A", kind), plain), (("A", kind), ("tokens", kind))]
    assert pairs == expected
    np.testing.assert_array_equal(found.slide_vectors["A"].shape, (22, 5))


def test_scores_are_those_of_vectors_pooled_by_hand(table, tmp_path):
    """kNN on what is fitted on the training patients' regions, for each split; other prototypes, other predictions."""
    made = evaluation(table, tmp_path, use_protocols=["knn"], use_features=["composition"])
    found = made.run()
    members, (values, index) = made.rows.patients.members, regions()
    groups = [values["A"][np.isin(index, slides)] for slides in members]
    bags = Bags(np.concatenate(groups), np.array([len(group) for group in groups]))
    mine = [p for p in found.predictions if p.method.encoder == "A"]
    for split, predicted in zip(found.splits, mine, strict=True):
        pooling = Composition(CohortPrototypes(3)).fit(bags.take(split.train))
        train, test = pooling.transform(bags.take(split.train)), pooling.transform(bags.take(split.test))
        scores = NearestNeighbors(3)(train, found.targets[split.train], test, 2, 0)
        np.testing.assert_allclose(predicted.scores, scores, atol=1e-9)
    other = evaluation(table, tmp_path, n_prototypes=2, use_protocols=["knn"], use_features=["composition"]).run()
    pairs = zip(found.predictions, other.predictions, strict=True)
    assert any(not np.allclose(a.scores, b.scores) for a, b in pairs)


class Seeing(NearestNeighbors):
    """kNN that keeps what it was given to learn from."""

    seen = []  # noqa: RUF012

    def __call__(self, train, *others):
        self.seen.append(train.values)
        return super().__call__(train, *others)


@pytest.mark.parametrize("kind", ["mixture", "composition", "transport"])
def test_test_patients_do_not_change_what_is_fitted(table, tmp_path, kind):
    """With other regions of the tested patients, the vectors of the training patients are bit for bit the same."""
    values, index = regions()
    first = evaluation(table, tmp_path, use_features=[kind])
    split = first.splits.splits[0]
    tested = np.isin(index, [slide for row in split.test for slide in first.rows.patients.members[row]])
    changed = {name: np.where(tested[:, None], 7 - 3 * regions, regions) for name, regions in values.items()}
    seen = []
    for regions_of in (values, changed):
        made = evaluation(
            table, tmp_path, given(regions_of, index), splits=SplitFile([split], "folds"), use_features=[kind]
        )
        seeing = Seeing(3)
        seeing.seen = []
        made._ways = [way._replace(protocol=seeing) for way in made._ways if way.protocol.name == "knn"]
        made._store.folder = tmp_path / f"none_{len(seen)}"
        made.run()
        seen.append(seeing.seen)
    assert len(seen[0]) == 2
    for before, after in zip(*seen, strict=True):
        np.testing.assert_array_equal(before, after)


def test_survival_is_learned_from_them_too(table, tmp_path):
    """Cox regression takes each."""
    found = evaluation(table, tmp_path, task={"time": "months", "event": "died"}).run()
    assert len(found.results) == 8 and {r.method.protocol for r in found.results} == {"cox"}


def test_slide_vectors_stand_beside_the_encoders(table, tmp_path):
    """A row of its own with every protocol of vectors, the mean of a patient's slides, compared on the same patients;
    nobody has to name its features; that it may have seen the test slides is said."""
    rng = np.random.default_rng(1)
    vectors = np.stack([np.arange(N) % 2, rng.random(N)], 1).astype(np.float32)
    features = BroughtFeatures(given(*regions()), {"TITAN": vectors})
    assert features.names == ["tokens", "A", "TITAN"] and features.kinds("TITAN") == ["slide_vector"]
    pooled = features.of_patients("TITAN", "slide_vector", [[3, 5], [1]]).values
    np.testing.assert_allclose(pooled, [(vectors[3] + vectors[5]) / 2, vectors[1]])
    found = evaluation(table, tmp_path, features, use_features=["mean_token", "region_embedding"]).run()
    mine = {r.method.protocol: r for r in found.results if r.method[:2] == ("TITAN", "slide_vector")}
    assert set(mine) == {"knn", "linear"} and mine["linear"].summary["auc"].value == 1
    pairs = {(c.a.encoder, c.b.encoder) for c in found.comparisons if c.a.protocol == "knn"}
    assert pairs == {("A", "tokens"), ("TITAN", "tokens"), ("TITAN", "A")}
    assert found.slide_vectors["TITAN"].shape == (22, 2)
    assert any("TITAN was pre-trained on is not known: whether" in warning for warning in found.warnings)


def test_names_that_are_taken_are_refused(table, tmp_path):
    """A source of vectors that is called as an encoder is; a way of pooling that nobody hands in."""
    with pytest.raises(BundleError, match="slide_vectors are called 'A'"):
        BroughtFeatures(given(*regions()), {"A": np.zeros((N, 2), np.float32)})
    made = evaluation(table, tmp_path)
    with pytest.raises(BundleError, match="features is .*choose from mean_token"):
        SlideEvaluation(made.features, made.rows, made.splits, [NearestNeighbors()], tmp_path, ["mixture"])
