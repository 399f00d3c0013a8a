"""A head from one cohort to another, through the configs: evaluating saves it, inferring applies it."""

import csv
import json
import shutil

import numpy as np
import pytest
from cohorts import write_cohort
from edited_files import edited
from inferences import inference
from region_models import write_encoder, write_table
from workflows import run_config

from bundle.core import BundleError, user_error
from bundle.heads import load_head, name_key

N_FIRST, N_SECOND = 14, 6


def patient_of(number):
    """Two slides each, of one class."""
    return f"p{number % 2}_{number // 4}"


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """Tokens and embeddings of a first cohort (a_*), with labels, and of a second one (b_*), one patient in both."""
    root = tmp_path_factory.mktemp("cohorts")
    write_encoder(root / "model.pt")
    write_cohort(root / "all", (2, 3) * ((N_FIRST + N_SECOND) // 2))
    rows = []
    for number in range(N_FIRST + N_SECOND):
        name = f"{'a' if number < N_FIRST else 'b'}_{number:02d}"
        patient = patient_of(number) if number < N_FIRST else f"q{number % 2}_{number // 4}"
        patient = "p1_0" if number == N_FIRST + 1 else patient
        months = {"months": 1 + number // 4 + 5 * (number % 2), "died": (number // 4) % 2}
        rows.append({"slide": name, "label": "ab"[number % 2], "patient": patient, **months})
        for folder in ("tokens", f"{name[0]}_tokens"):
            (root / folder).mkdir(exist_ok=True)
            shutil.copy(root / "all" / f"slide_{number}.h5", root / folder / f"{name}.h5")
            with edited(root / folder / f"{name}.h5") as file:
                file.attrs.update({"slide_id": name, "slide_path": f"{name}.tif"})
    write_table(root / "table.csv", rows)
    inference(root / "tokens", root / "both", root / "model.pt").run()
    (root / "first").mkdir()
    for path in (root / "both" / "embeddings").glob("a_*.h5"):
        shutil.copy(path, root / "first")
    return root


def evaluated(cohorts, dataset, output, **ids):
    """`evaluating` to its end."""
    run_config(
        "evaluate.yaml",
        dataset_dir=cohorts / dataset,
        device="cpu",
        slide_table=cohorts / "table.csv",
        output_dir=output,
        encoders={"SLPD": str(cohorts / "model.pt")},
        train_fractions=[1.0],
        n_bootstrap=100,
        n_folds=3,
        **ids,
    )


def inferred(cohorts, output, head, dataset="b_tokens", **ids):
    """`inferring` with a head, to its end: rows of predictions.csv."""
    ids = {"region_encoder_ckpt": cohorts / "model.pt", "slide_table": cohorts / "table.csv", "device": "cpu", **ids}
    run_config("inference.yaml", dataset_dir=cohorts / dataset, output_dir=output, head=head, attention=False, **ids)
    return read(output / "predictions.csv")


def read(path):
    return list(csv.DictReader(path.open(newline="")))


def refused(cohorts, output, head, **ids):
    """What the user is told."""
    with pytest.raises(Exception) as caught:  # MONAI wraps what parts of its configs raise
        inferred(cohorts, output, head, **ids)
    assert isinstance(user_error(caught.value), BundleError)
    return str(user_error(caught.value))


@pytest.fixture(scope="module")
def heads(cohorts):
    """A head of each protocol: of the first cohort's embeddings, and of its token files for the linear one."""
    for protocol, dataset in (("linear", "a_tokens"), ("mil", "first")):
        features = {"linear": ["region_embedding"], "mil": ["regions"]}[protocol]
        evaluated(cohorts, dataset, cohorts / protocol, save_head=protocol, protocols=[protocol], features=features)
    ids = {"time": "months", "event": "died", "features": ["region_embedding"], "protocols": ["cox"]}
    evaluated(cohorts, "first", cohorts / "cox", save_head="cox", **ids)
    return cohorts


@pytest.fixture(scope="module")
def expected(cohorts):
    """What our own evaluation says of the second cohort when it learns from the first: patient -> probability of b."""
    patients = {row["patient"]: row["slide"][0] for row in read(cohorts / "table.csv")}
    both = {"p1_0"}
    table = [{"patient": p, "split": "train" if s == "a" or p in both else "test"} for p, s in patients.items()]
    splits = write_table(cohorts / "splits.csv", table)
    ids = {"features": ["region_embedding", "regions"], "protocols": ["linear", "mil"], "splits": str(splits)}
    rows = [row for row in read(cohorts / "table.csv") if row["slide"] != f"b_{N_FIRST + 1:02d}"]
    shutil.copytree(cohorts / "both" / "embeddings", cohorts / "compared")
    (cohorts / "compared" / f"b_{N_FIRST + 1:02d}.h5").unlink()  # of a patient of the first cohort
    write_table(cohorts / "compared.csv", rows)
    evaluated(cohorts, "compared", cohorts / "expected", **ids)
    found = {}
    for row in read(cohorts / "expected" / "predictions.csv"):
        found.setdefault(row["protocol"], {})[row["patient"]] = float(row["probability of b"])
    return found


@pytest.mark.parametrize(("protocol", "close"), [("linear", 1e-6), ("mil", 1e-6)])
def test_a_head_says_of_another_cohort_what_the_evaluation_says(heads, expected, protocol, close, tmp_path):
    """Of patients of a second cohort, with all slides of each: the evaluation's probabilities; who was seen is told."""
    rows = inferred(heads, tmp_path, heads / protocol / "head.safetensors")
    assert [row["slide_id"] for row in rows] == [f"b_{number:02d}" for number in range(N_FIRST, N_FIRST + N_SECOND)]
    patients = {row["patient"]: row for row in read(tmp_path / "patients.csv")}
    for patient, value in expected[protocol].items():
        assert float(patients[patient]["probability_b"]) == pytest.approx(value, abs=close)
    assert {row["slide_id"]: row["seen_in_training"] for row in rows}[f"b_{N_FIRST + 1:02d}"] == "true"
    assert sum(row["seen_in_training"] == "true" for row in rows) == 1
    head = load_head(heads / protocol / "head.safetensors")
    for row in rows:
        assert row["class"] == head.record.classes[float(row["probability_b"]) >= head.record.threshold]
        assert float(row["calibrated_a"]) + float(row["calibrated_b"]) == pytest.approx(1)
    maps = sorted(path.name for path in (tmp_path / "head_maps").iterdir())
    assert maps == [f"{row['slide_id']}.geojson" for row in rows]


def test_a_head_says_where_it_comes_from(heads):
    """Token files and embeddings give one fingerprint; patients, figures and held-out patients are told."""
    linear, mil = (json.loads((heads / name / "head.json").read_text()) for name in ("linear", "mil"))
    assert linear["encoder"] == mil["encoder"] and linear["patients_sha256"] == mil["patients_sha256"]
    names = {patient_of(number) for number in range(N_FIRST)}
    assert linear["patients"] == sorted(map(name_key, names)) and linear["held_out"] == len(names)
    assert (linear["features"], mil["features"], linear["dim"]) == ("region_embedding", "regions", 32)
    results = json.loads((heads / "mil" / "results.json").read_text())["results"]
    assert mil["figures"]["auc"][0] == pytest.approx(results[0]["summary"]["auc"]["value"])


def test_risks_have_groups_at_the_median_of_the_training(heads, tmp_path):
    """Of the patients that it was trained on, half are called high; all are seen."""
    rows = inferred(heads, tmp_path, heads / "cox" / "head.safetensors", dataset="a_tokens", head_maps=False)
    patients = read(tmp_path / "patients.csv")
    assert [row["group"] for row in patients].count("high") == len(patients) // 2
    assert all(row["seen_in_training"] == "true" for row in rows) and not (tmp_path / "head_maps").exists()
    risks = [float(row["risk"]) for row in patients]
    assert sorted(row["group"] for row in patients if float(row["risk"]) < np.median(risks)) == ["low"] * 4


def test_what_does_not_fit_is_refused_before_the_work(heads, tmp_path):
    """Another region encoder, tokens of another patch encoder, other classes, no such head: nothing is embedded."""
    head, output = heads / "linear" / "head.safetensors", tmp_path / "out"
    other = write_encoder(tmp_path / "other.pt", seed=1)
    assert "region encoder model sha256" in refused(heads, output, head, region_encoder_ckpt=str(other))
    assert "tells a, b apart" in refused(heads, output, head, classes=["a", "c"])
    assert "there is no head" in refused(heads, output, tmp_path / "none.safetensors")
    foreign = write_cohort(tmp_path / "foreign", (2,), encoder="another")
    assert "patch encoder test and another" in refused(heads, output, head, dataset=foreign)
    assert "no region encoder at" in refused(heads, output, head, region_encoder_ckpt=str(tmp_path / "none.pt"))
    assert not (output / "embeddings").exists()


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ({"save_head": "knn"}, "give one of linear, mlp, mil"),
        ({"save_head": "cox"}, "give one of linear, mlp, mil"),
        ({"save_head": "linear", "protocols": ["knn"]}, "add linear to --protocols"),
        ({"save_head": "mil", "features": ["region_embedding"]}, "add regions to --features"),
        ({"save_head": "mil", "harmonize": "combat"}, "sites that it does not know"),
        ({"save_head": "linear", "harmonize": "center_slide"}, "mean of a centered slide is 0"),
        ({"save_head": "linear", "head_encoder": "tokens"}, "head_encoder is 'tokens'"),
        ({"save_head": "linear", "head_path": "head.pt"}, "ends in .safetensors"),
    ],
)
def test_a_head_that_cannot_be_kept_is_refused_before_the_evaluation(cohorts, ids, said, tmp_path):
    """What is not evaluated, needs sites, or is no region encoder's: told before anything is predicted."""
    with pytest.raises(Exception) as caught:  # MONAI wraps what parts of its configs raise
        evaluated(cohorts, "first", tmp_path, **{"protocols": ["linear", "mil", "knn"], **ids})
    assert said in str(user_error(caught.value))
    assert not (tmp_path / "results.json").exists()
