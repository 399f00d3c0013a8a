"""The evaluation as a whole: nothing leaks, metrics are those of the predictions, a killed run goes on."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from cohorts import write_cohort
from edited_files import edited
from plain_metrics import c_index
from region_models import write_encoder, write_table
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from bundle.cohort import SlideTable, SplitFile
from bundle.core import BundleError, sole_run
from bundle.evaluation import (
    AttentionMIL,
    CoxRegression,
    LinearProbe,
    Method,
    MLPProbe,
    NearestNeighbors,
    RegionEncoders,
    SlideEvaluation,
    SlideFeatures,
    SurvivalMIL,
    evaluation_rows,
    evaluation_splits,
)
from bundle.evaluation.evaluation_statistics import comparisons
from bundle.evaluation.findings import Interval, Predictions
from bundle.evaluation.metrics.intervals import over_folds
from bundle.networks.pretraining import write_pretraining
from bundle.storage import TokenDataset

N = 30

ASKED = ["mean_token", "region_embedding", "regions", "prototypes", "patch_tokens"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Thirty slides of 24 patients, two encoders; labels agree with the tokens in about three of four patients."""
    root = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(0)
    write_cohort(root / "tokens", tuple(rng.integers(1, 6, N)))
    rows = []
    for i in range(N):
        patient = i % 24 if (i % 24) % 2 == i % 2 else i
        truth = patient % 2 if patient % 8 < 6 else 1 - patient % 2
        time, event = 5 + 10 * truth + patient % 7, int(patient % 3 > 0)
        grade = 1 + truth + (truth and patient % 3 == 0)
        row = {"slide": f"slide_{i}", "label": "ab"[truth], "grade": grade, "time": time, "event": event}
        rows.append({**row, "patient": f"p{patient}", "site": "xyz"[patient % 3]})
    write_table(root / "table.csv", rows)
    write_encoder(root / "a.pt", 1)
    write_encoder(root / "b.pt", 2)
    return root


def rows_of(folder, *label, **options):
    """Patients of the cohort and their targets."""
    data = TokenDataset(folder / "tokens", cache="none")
    return evaluation_rows(data.slide_ids, SlideTable.read(folder / "table.csv"), *label, **options)


def evaluation(folder, output, *, protocols=None, n_folds=4, splits=None, rows=None, **options):
    data = TokenDataset(folder / "tokens", cache="none")
    rows = rows or rows_of(folder)
    network = RegionEncoders.load({"A": folder / "a.pt", "B": folder / "b.pt"}, data.token_dim)
    return SlideEvaluation(
        SlideFeatures(data, network, output, n_prototypes=2),
        rows,
        splits or evaluation_splits(rows, n_folds),
        protocols or [NearestNeighbors(3), LinearProbe((0.1,)), AttentionMIL(n_epochs=1), CoxRegression()],
        output,
        **options,
    )


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """A folder for all runs that only differ in what they do with embeddings."""
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def found(folder, output):
    return evaluation(folder, output, settings={"seed": 0}, use_features=ASKED).run()


def test_every_method_predicts_every_patient_once(found):
    """Three encoders, four ways each, and patch tokens; two shares of the patients, four folds; rows are patients."""
    assert len(found.units) == 24 and found.slide_vectors["A"].shape == (24, 32)
    methods = {p.method for p in found.predictions}
    assert methods == {
        Method(encoder, features, protocol, fraction)
        for encoder in ("tokens", "A", "B")
        for features, protocol in (
            ("mean_token" if encoder == "tokens" else "region_embedding", "knn"),
            ("mean_token" if encoder == "tokens" else "region_embedding", "linear"),
            ("regions", "mil"),
            ("prototypes", "knn"),
        )
        for fraction in (0.25, 1.0)
    } | {Method("tokens", "patch_tokens", "mil", fraction) for fraction in (0.25, 1.0)}
    for method in methods:
        mine = [p for p in found.predictions if p.method == method]
        assert sorted(np.concatenate([p.rows for p in mine])) == list(range(24))
        for p, split in zip(mine, found.splits, strict=True):
            assert p.n_train == len(split.train) if method.train_fraction == 1 else p.n_train < 0.5 * len(split.train)
            np.testing.assert_allclose(p.scores.sum(1), 1, atol=1e-9)


def test_predictions_are_those_of_the_protocol_alone(folder, output, found):
    """A method's scores equal the protocol called by hand on means over regions of the training patients' slides."""
    data = TokenDataset(folder / "tokens", cache="none")
    features = SlideFeatures(data, RegionEncoders.load({"A": folder / "a.pt"}, 12), output)
    vectors, owner = features.regions("A").embedding, data.slide_index.numpy()
    place = {slide: i for i, slide in enumerate(data.slide_ids)}
    means = np.stack([vectors[np.isin(owner, [place[s] for s in slides])].mean(0) for slides in found.slides])
    method = Method("A", "region_embedding", "knn", 1.0)
    for split, p in zip(found.splits, [p for p in found.predictions if p.method == method], strict=True):
        similarity = means / np.linalg.norm(means, axis=1, keepdims=True)
        similarity = similarity[split.test] @ similarity[split.train].T
        for row, scores in zip(similarity, p.scores, strict=True):
            best = np.argsort(-row)[:3]
            votes = np.bincount(found.targets[split.train][best], weights=row[best].clip(0), minlength=2)
            np.testing.assert_allclose(scores, votes / votes.sum(), atol=1e-5)


def test_figures_are_those_of_the_predictions(found):
    """AUC of each fold by scikit-learn; the interval over folds and every comparison from them."""
    values = {}
    for result in found.results:
        mine = [p for p in found.predictions if p.method == result.method]
        values[result.method] = [roc_auc_score(found.targets[p.rows], p.scores[:, 1]) for p in mine]
        np.testing.assert_allclose(result.per_split["auc"], values[result.method])
        sizes = [p.n_train for p in mine], [len(p.rows) for p in mine]
        expected = over_folds(values[result.method], *sizes).interval
        np.testing.assert_allclose(result.summary["auc"].value, expected.value)
        np.testing.assert_allclose(result.summary["auc"].low, np.clip(expected.low, 0, 1))
    assert len(found.comparisons) == 4 * 3, "four ways, three pairs of encoders"
    for c in found.comparisons:
        assert c.a.protocol == c.b.protocol and c.a.train_fraction == c.b.train_fraction == 1.0
        n_train = [len(s.train) for s in found.splits]
        expected = over_folds(np.subtract(values[c.a], values[c.b]), n_train, [len(s.test) for s in found.splits])
        np.testing.assert_allclose(c.difference[:3], np.clip(expected.interval[:3], -1, 1), atol=1e-12)
        np.testing.assert_allclose(c.difference.sd, expected.interval.sd, atol=1e-12)
        np.testing.assert_allclose(c.p_value, expected.p_value, atol=1e-12)


@pytest.mark.parametrize("is_fixed", [False, True])
def test_what_is_random_is_trained_with_several_seeds(folder, output, is_fixed):
    """Metrics, intervals and comparisons are those of the mean over seeds; kNN, which draws nothing, runs once."""
    rows = rows_of(folder)
    folds = evaluation_splits(rows, 3).splits
    splits = SplitFile(folds[:1], "fixed") if is_fixed else SplitFile(folds, "folds")
    options = {"rows": rows, "splits": splits, "train_fractions": [1.0], "n_bootstrap": 100}
    protocols = [NearestNeighbors(3), MLPProbe(n_epochs=3), AttentionMIL(n_epochs=1)]
    several = evaluation(folder, output, protocols=protocols, n_seeds=2, seed=4, **options).run()
    alone = [evaluation(folder, output, protocols=protocols, seed=seed, **options).run() for seed in (4, 5)]
    for both, first, second in zip(several.results, *(one.results for one in alone), strict=True):
        is_random = both.method.protocol != "knn"
        for name, values in both.per_split.items():
            pair = [first.per_split[name], (second if is_random else first).per_split[name]]
            np.testing.assert_allclose(values, np.mean(pair, 0))
            if is_random:
                np.testing.assert_allclose(both.per_seed[name], np.mean(pair, 1))
        assert bool(both.per_seed) == is_random and not first.per_seed
        if is_fixed:
            interval = both.summary["auc"]
            assert interval.value == pytest.approx(both.per_split["auc"][0]) and interval.method == "bootstrap"
        elif not is_random:
            np.testing.assert_equal(*({n: tuple(i) for n, i in one.summary.items()} for one in (both, first)))
    value = {result.method: result.summary["auc"].value for result in several.results}
    for c in several.comparisons:
        assert c.difference.value == pytest.approx(value[c.a] - value[c.b])


def test_labels_of_test_patients_are_not_looked_at(folder, output, found):
    """With the labels of one fold's test patients turned around, its scores are bit for bit the same."""
    rows = rows_of(folder)
    rows.targets[found.splits[1].test] = 1 - rows.targets[found.splits[1].test]
    splits = SplitFile(found.splits[1:2], "folds")
    turned = evaluation(folder, output, rows=rows, splits=splits, seed=0, use_features=ASKED).run()
    before = {p.method: p for p in found.predictions if p.split == "fold 2"}
    assert len(turned.predictions) == len(before) == 26
    for p in turned.predictions:
        np.testing.assert_array_equal(p.scores, before[p.method].scores)


class Counting(NearestNeighbors):
    """kNN that counts its fits, and dies at one of them."""

    fits = 0
    dies_at = 0

    def __call__(self, *arguments):
        Counting.fits += 1
        if Counting.fits == Counting.dies_at:
            raise KeyboardInterrupt
        return super().__call__(*arguments)


def test_a_killed_run_goes_on(folder, output, tmp_path):
    """Finished fits are not repeated after a kill; a complete run repeats none, other settings repeat all."""
    shutil.copytree(output / "features", tmp_path / "features")
    Counting.fits, Counting.dies_at = 0, 10
    with pytest.raises(KeyboardInterrupt):
        evaluation(folder, tmp_path, protocols=[Counting(3)]).run()
    total, Counting.dies_at = 3 * 2 * 2 * 4, 0
    resumed = evaluation(folder, tmp_path, protocols=[Counting(3)]).run()
    assert Counting.fits == 10 + total - 9
    again = evaluation(folder, tmp_path, protocols=[Counting(3)]).run()
    assert Counting.fits == 10 + total - 9
    for a, b in zip(resumed.predictions, again.predictions, strict=True):
        np.testing.assert_array_equal(a.scores, b.scores)
    evaluation(folder, tmp_path, protocols=[Counting(4)]).run()
    assert Counting.fits == 10 + total - 9 + total


def test_grades_have_their_metrics(folder, output):
    """Ordinal: quadratic kappa by scikit-learn, error in grades, compared by kappa."""
    rows = rows_of(folder, "grade", ordered=True)
    graded = evaluation(folder, output, rows=rows, n_folds=2, use_protocols=["linear"]).run()
    for result in graded.results:
        mine = [p for p in graded.predictions if p.method == result.method]
        expected = [cohen_kappa_score(graded.targets[p.rows], p.scores.argmax(1), weights="quadratic") for p in mine]
        np.testing.assert_allclose(result.per_split["quadratic_kappa"], expected, atol=1e-9)
        errors = [np.abs(graded.targets[p.rows] - p.scores.argmax(1)).mean() for p in mine]
        assert result.summary["mae"].value == pytest.approx(np.mean(errors))
    assert {c.metric for c in graded.comparisons} == {"quadratic_kappa"}


def test_survival_on_a_fixed_split_is_bootstrapped(folder, output):
    """Cox alone takes the task; c-index by hand; intervals from resampled patients."""
    rows = rows_of(folder, time="time", event="event")
    units = rows.patients.units
    sides = [{"patient": u, "split": "test" if i % 3 == 0 else "train"} for i, u in enumerate(units)]
    splits = evaluation_splits(rows, splits=write_table(output / "splits.csv", sides))
    fixed = evaluation(folder, output, rows=rows, splits=splits, n_bootstrap=200, train_fractions=[1.0]).run()
    assert {p.method.protocol for p in fixed.predictions} == {"cox"} and len(fixed.predictions) == 3
    for p, result in zip(fixed.predictions, fixed.results, strict=True):
        interval = result.summary["c_index"]
        assert interval.value == pytest.approx(c_index(*fixed.targets[p.rows].T, p.scores[:, 0]))
        assert interval.method == "bootstrap" and interval.low <= interval.value <= interval.high
    assert len(fixed.comparisons) == 3 and {c.difference.method for c in fixed.comparisons} == {"bootstrap"}


def test_attention_stands_beside_cox_regression(folder, output):
    """Survival of bags of regions and of tokens: risks of every patient, metrics as of any method."""
    rows = rows_of(folder, time="time", event="event")
    protocols = [CoxRegression(), SurvivalMIL(n_epochs=1)]
    how = {"n_folds": 2, "protocols": protocols, "train_fractions": [1.0], "use_features": ASKED}
    made = evaluation(folder, output, rows=rows, **how).run()
    assert [(r.method.encoder, r.method.features) for r in made.results if r.method.protocol == "mil_survival"] == [
        *(("tokens", features) for features in ("regions", "patch_tokens")),
        *(("A", "regions"), ("B", "regions")),
    ]
    for result in made.results:
        mine = [p for p in made.predictions if p.method == result.method]
        assert sorted(np.concatenate([p.rows for p in mine])) == list(range(24))
        expected = [c_index(*made.targets[p.rows].T, p.scores[:, 0]) for p in mine]
        assert result.per_split["c_index"] == pytest.approx(expected)


def test_pretraining_slides_that_are_tested_on_are_named(folder, output, tmp_path):
    """Of an encoder that knows its slides those in a test split; of one that does not, that it does not."""
    for path in (folder / "a.pt", folder / "table.csv"):
        shutil.copy(path, tmp_path)
    shutil.copy(folder / "b.pt", tmp_path)
    shutil.copytree(folder / "tokens", tmp_path / "tokens")
    write_pretraining(tmp_path / "a.pt", ["slide_3", "slide_0", "elsewhere"])
    said = evaluation(tmp_path, tmp_path / "out", use_protocols=["knn"], use_features=["region_embedding"]).run()
    assert said.pretraining_overlap == {"A": ["slide_0", "slide_3"]}
    unknown = [w for w in said.warnings if "is not known" in w]
    assert len(unknown) == 1 and "slides B was pre-trained" in unknown[0]


def test_copies_on_both_sides_are_an_error(tmp_path):
    """The same tokens under two patients: both slides are named. With one patient it is a warning."""
    tokens = write_cohort(tmp_path / "tokens", (2,) * 8)
    shutil.copy(tokens / "slide_0.h5", tokens / "copy.h5")
    with edited(tokens / "copy.h5") as file:
        file.attrs["slide_id"] = "copy"
    rows = [{"slide": f"slide_{i}", "label": "ab"[i % 2], "patient": f"p{i}"} for i in range(8)]
    for name in "ab":
        write_encoder(tmp_path / f"{name}.pt")
    write_table(tmp_path / "table.csv", [*rows, {"slide": "copy", "label": "a", "patient": "someone"}])
    knn = {"protocols": [NearestNeighbors()], "train_fractions": [1.0], "n_folds": 4}
    with pytest.raises(BundleError, match="copy and slide_0.*same patient"):
        evaluation(tmp_path, tmp_path / "out", **knn).run()
    write_table(tmp_path / "table.csv", [*rows, {"slide": "copy", "label": "a", "patient": "p0"}])
    said = evaluation(tmp_path, tmp_path / "out", **knn).run()
    assert any("copy, slide_0" in warning for warning in said.warnings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_features": ["means"]}, "features is .*choose from mean_token"),
        ({"use_protocols": ["svm"]}, "protocols is .*choose from knn"),
        ({"use_protocols": ["cox"]}, "nothing to evaluate: for classification"),
        ({"use_protocols": ["mil"], "use_features": ["prototypes"]}, "nothing to evaluate"),
        ({"train_fractions": [0.0, 1.0]}, "learns from nobody"),
        ({"train_fractions": 0.5}, "list of shares"),
        ({"train_fractions": [1.5]}, "from 0 to 1"),
        ({"n_bootstrap": 5}, "n_bootstrap"),
    ],
)
def test_settings_that_make_no_sense_are_refused(folder, tmp_path, options, message):
    """Before anything is embedded."""
    with pytest.raises(BundleError, match=message):
        evaluation(folder, tmp_path, **options)
    assert not (tmp_path / "features").exists()


def test_many_encoders_are_compared_with_the_first_only(found):
    """Six encoders have fifteen pairs: five are kept."""
    split = found.splits[0]
    scores = np.full((len(split.test), 2), 0.5)
    methods = [Method(f"E{i}", "region_embedding", "knn", 1.0) for i in range(6)]
    many = replace(found, predictions=[Predictions(a, split.name, split.test, scores, 9) for a in methods])
    pairs = comparisons(many, 100, 0)
    assert [c.a.encoder for c in pairs] == ["E1", "E2", "E3", "E4", "E5"] and {c.b.encoder for c in pairs} == {"E0"}
    assert all(isinstance(c.difference, Interval) and c.difference.value == 0 for c in pairs)


def test_what_harmonizing_leaves_out_is_said(folder, output):
    """Patch tokens are read as they are: asked for with harmonizing, a note says so, and alone they are an error."""
    options = {"harmonize": "center_site", "train_fractions": [1.0], "protocols": [NearestNeighbors(3)]}
    made = evaluation(folder, output, use_features=["mean_token", "patch_tokens"], **options).run()
    assert any("there are no patch_tokens" in warning for warning in made.warnings)
    with pytest.raises(BundleError, match="harmonize is center_site: there are no patch_tokens"):
        evaluation(folder, output, use_features=["patch_tokens"], **{**options, "protocols": [AttentionMIL()]})


def test_results_have_one_writer(folder, tmp_path):
    """A second evaluation into the folder ends before it embeds, and is told by whom it is used."""
    with sole_run(tmp_path, "evaluation", "output_dir"), pytest.raises(BundleError, match="by process [0-9]+ on "):
        evaluation(folder, tmp_path).run()
    assert not list(tmp_path.glob("[!.]*"))
