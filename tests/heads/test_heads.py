"""Heads on disk: what they say is what the fitted model said, and files that are none are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fitted_heads import PROTOCOLS, cohort, fitted_head, made_up_record
from slide_embeddings import made_up_slide

from bundle.core import BundleError
from bundle.evaluation import AttentionMIL, CoxRegression, LinearProbe, SurvivalMIL
from bundle.evaluation.metrics.calibration import temperature_of, threshold_of
from bundle.evaluation.protocols.inputs import Bags, Vectors
from bundle.heads import Head, load_head, means_of, name_key, save_head

CLOSE = {"linear": 1e-9, "mlp": 1e-9, "cox": 1e-9, "mil": 1e-6, "mil_survival": 1e-6}


def numbers(n_classes=2, bias=0.0):
    """Those of a linear head."""
    return {"mean": np.zeros(6), "weight": np.ones((n_classes, 6)), "bias": np.full(n_classes, bias)}


def rows_of(protocol, bags):
    """The bags as the protocol takes them."""
    return bags if Bags.kind in protocol.takes else Vectors(means_of(bags.values, bags.sizes).astype(np.float32))


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_a_saved_head_says_what_the_fitted_model_said(protocol, n_classes, tmp_path):
    """Of new patients, from the file: scikit-learn's probabilities and risks, and those of attention MIL.

    Of four classes the third has no patient: its probability is 0.
    """
    train, test, classes, survival = cohort(n_classes)
    targets = survival if "survival" in protocol.tasks else classes
    record, tensors = fitted_head(protocol, train, targets, n_classes)
    said = protocol(rows_of(protocol, train), targets, rows_of(protocol, test), n_classes, 0)
    save_head(record, tensors, tmp_path / "head.safetensors")
    found = load_head(tmp_path / "head.safetensors").of_bags(np.split(test.values, np.cumsum(test.sizes)[:-1]))
    np.testing.assert_allclose(found, said, atol=CLOSE[protocol.name], rtol=0)
    assert np.ptp(said[:, -1]) > 0.01, "patients are told apart"
    if n_classes == 4 and protocol.name == "linear":
        assert (found[:, 2] == 0).all()


@pytest.mark.parametrize(
    "protocol", [LinearProbe(), CoxRegression(), AttentionMIL(n_epochs=3), SurvivalMIL(n_epochs=3)]
)
def test_a_slide_is_the_mean_of_its_regions(protocol):
    """Log odds, or the risk, of a slide are those of its regions under their shares; these are not alike in MIL."""
    train, _, classes, survival = cohort(2)
    is_survival = "survival" in protocol.tasks
    head = Head(*fitted_head(protocol, train, survival if is_survival else classes, 2))
    slide = replace(made_up_slide(), features=train.values[:7], coords=np.zeros((7, 2), np.int64))
    said, whole = head.of_regions(slide), head.scores([slide])
    odds = (lambda s: s[..., 0]) if is_survival else (lambda s: np.log(s[..., 1]) - np.log(s[..., 0]))
    assert said.weights.sum() == pytest.approx(1) and (np.ptp(said.weights) > 1e-4) == ("mil" in protocol.name)
    assert said.weights @ odds(said.scores) == pytest.approx(odds(whole), abs=1e-5)


def test_slides_are_centered_where_the_training_was(tmp_path):
    """A head of centered slides does not see what all regions of a slide have in common, each slide by itself."""
    train, _, classes, _ = cohort(2)
    record, tensors = fitted_head(AttentionMIL(n_epochs=2), train, classes, 2)
    head, plain = Head(replace(record, harmonize="center_slide"), tensors), Head(record, tensors)
    slide = made_up_slide()
    one, other = (replace(slide, features=train.values[:5] + shift) for shift in (0, np.float32(3)))
    np.testing.assert_allclose(head.scores([one, other]), head.scores([one, one]), atol=1e-6)
    assert abs(plain.scores([one, other]) - plain.scores([one, one])).max() > 1e-4


def test_embeddings_of_others_are_refused():
    """Another region encoder, patch encoder, um/px, size of regions, length: each is told from a file's attributes."""
    train, _, classes, _ = cohort(2)
    record, tensors = fitted_head(LinearProbe(), train, classes, 2)
    head, fine = Head(record, tensors), dict(record.encoder)
    assert head.misfit(fine, record.dim) == ""
    assert head.misfit({**fine, "region_encoder": "renamed sha256:1"}, record.dim) == "", "weights count, not names"
    others = {"region_encoder": "x sha256:2", "encoder": "x sha256:9", "mpp": 0.25, "region_size_px": 2048}
    for name, value in others.items():
        assert head.misfit({**fine, name: value}, record.dim), name
    assert "length 6, these have 24" in head.misfit(fine, 24)
    with pytest.raises(BundleError, match="slide_a: it takes embeddings of length 6"):
        head.insist(made_up_slide())


def test_other_classes_are_refused():
    """Classes that are asked for are the head's, in whatever order; a head of risks has none."""
    train, _, classes, survival = cohort(2)
    head = Head(*fitted_head(LinearProbe(), train, classes, 2))
    head.insist_on_classes(["class 1", "class 0"])
    for wrong in (["class 0"], ["class 0", "class 1", "class 2"], ["a", "b"]):
        with pytest.raises(BundleError, match="tells class 0, class 1 apart"):
            head.insist_on_classes(wrong)
    with pytest.raises(BundleError, match="no classes but risks"):
        Head(*fitted_head(CoxRegression(), train, survival, 0)).insist_on_classes(["a", "b"])


def test_patients_are_known_without_their_names(tmp_path):
    """The file holds hashes: a training patient or slide is recognized, and stands nowhere in clear text."""
    record = replace(made_up_record("linear", ["a", "b"]), patients=[name_key("Jane")], slides=[name_key("S-17")])
    head = save_head(record, numbers(), tmp_path / "h.safetensors")
    assert head.has_seen("Jane", "new") and head.has_seen("new", "S-17") and not head.has_seen("Janet", "S-1")
    assert name_key("Mu\u0308ller") == name_key("M\u00fcller"), "one character or two"
    text = (tmp_path / "h.json").read_text() + (tmp_path / "h.safetensors").read_bytes().decode("latin1")
    assert "Jane" not in text and "S-17" not in text
    assert json.loads((tmp_path / "h.json").read_text())["patients_sha256"] == record.patients_sha256


def _with(**other):
    def change(folder):
        found = json.loads((folder / "a.json").read_text())
        (folder / "a.json").write_text(json.dumps({**found, **other}))

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "a.json").unlink(), "there is no head at"),
        (lambda f: (f / "a.safetensors").unlink(), "there is no head at"),
        (lambda f: (f / "a.json").write_text("{}"), "no head that evaluating"),
        (lambda f: (f / "a.json").write_text("["), "cannot be used"),
        (lambda f: (f / "a.safetensors").write_bytes((f / "b.safetensors").read_bytes()), "not of one head"),
        (_with(head_version=99), "version 99"),
        (_with(head_version=[1]), "version"),
        (_with(classes=["x", "y", "z"]), "gives? 2"),
        (_with(classes=["x", ["y"]]), "its classes is .* of another type"),
        (_with(threshold=[0.5, 0.5]), "its threshold is"),
        (_with(encoder=[{"mpp": 0.5}]), "its encoder is"),
        (_with(figures={"auc": 0.5}), "its figures is"),
        (_with(dim=True), "its dim is 'True'"),
    ],
)
def test_a_file_that_is_no_head_is_refused(damage, said, tmp_path):
    """Missing, damaged, of a later version, or of two heads: an error that says so."""
    for name, bias in (("a", 0.0), ("b", 1.0)):
        save_head(made_up_record("linear", ["a", "b"]), numbers(bias=bias), tmp_path / f"{name}.safetensors")
    damage(tmp_path)
    with pytest.raises(BundleError, match=said):
        load_head(tmp_path / "a.safetensors")
    with pytest.raises(BundleError, match="ends in .safetensors"):
        save_head(made_up_record("linear", ["a", "b"]), {}, tmp_path / "head.pt")


def test_a_temperature_undoes_what_sharpens(tmp_path):
    """Log probabilities that were doubled, or halved, are divided by two, or a half; classes stay as they are."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3)) * 1.5
    fair = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = np.array([rng.choice(3, p=row) for row in fair])
    for factor in (0.5, 1.0, 2.0):
        scores = fair**factor / (fair**factor).sum(1, keepdims=True)
        temperature = temperature_of(targets, scores)
        assert temperature == pytest.approx(factor, rel=0.08)
        record = replace(made_up_record("linear", ["a", "b", "c"]), temperature=temperature)
        np.testing.assert_allclose(Head(record, numbers(3)).calibrated(scores), fair, atol=0.03)


def test_probabilities_stay_where_nobody_is_mistaken():
    """Patients that are all told apart do not say how sure to be: the likelihood grows without end."""
    right = np.array([[0.8, 0.2], [0.4, 0.6], [0.7, 0.3]])
    assert temperature_of(np.array([0, 1, 0]), right) == 1
    assert temperature_of(np.array([0, 1, 1]), right) > 1


def test_what_is_no_head_is_not_replaced(tmp_path):
    """Weights with a .json beside them, or results, stay; a head is replaced, also where only its record is there."""
    record = made_up_record("linear", ["a", "b"])
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "results.json").write_text('{"kind": "slide_level"}')
    for name in ("model", "results"):
        with pytest.raises(BundleError, match="no head's: give another name"):
            save_head(record, numbers(), tmp_path / f"{name}.safetensors")
    assert (tmp_path / "model.safetensors").read_bytes() == b"weights"
    save_head(record, numbers(), tmp_path / "head.safetensors")
    (tmp_path / "head.safetensors").unlink()
    save_head(record, numbers(bias=1.0), tmp_path / "head.safetensors")
    assert load_head(tmp_path / "head.safetensors").tensors["bias"].tolist() == [1, 1]


def test_a_threshold_is_the_best_one():
    """No cut has a larger balanced accuracy; it is from this probability on that the second class is called."""
    rng = np.random.default_rng(1)
    for seed in range(20):
        second = rng.random(30) < 0.3
        second[:2] = True, False
        scores = np.round(np.clip(rng.normal(0.3 + 0.2 * second, 0.15), 0, 1), 2)
        best = threshold_of(second, scores)
        balanced = lambda cut: ((scores >= cut)[second].mean() + (scores < cut)[~second].mean()) / 2  # noqa: E731, B023
        assert balanced(best) == pytest.approx(max(balanced(cut) for cut in np.linspace(0, 1.01, 400))), seed
    assert threshold_of(np.ones(3, bool), np.array([0.2, 0.3, 0.4])) == 0.5
    assert threshold_of(np.array([False, True]), np.array([0.2, 0.4])) == pytest.approx(0.3), "halfway between the two"
    head = Head(replace(made_up_record("linear", ["a", "b"]), threshold=0.3), numbers())
    assert head.called(np.array([[0.71, 0.29], [0.7, 0.3], [0.1, 0.9]])).tolist() == [0, 1, 1]
