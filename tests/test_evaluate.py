"""The evaluation through MONAI's command line, as users start it."""

import csv
import json
from pathlib import Path

import pytest
from cohorts import write_cohort
from inferences import inference
from region_models import write_encoder, write_table
from warm import ENVIRONMENT, run_python
from workflows import workflow

from scripts.bench.processes import bundle_command

ROOT = Path(__file__).parents[1]
CONFIG = str(ROOT / "configs" / "evaluate.yaml")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Twenty slides of as many patients, two of them at each of ten sites; an untrained encoder."""
    root = tmp_path_factory.mktemp("cohort")
    write_cohort(root / "tokens", (2, 3) * 10)
    rows = [
        {
            "slide": f"slide_{i}",
            "label": "ab"[i % 2],
            "patient": f"p{i}",
            "site": i // 2,
            "scanner": "PL"[i // 2 % 2],
            "months": 1 + i,
            "died": i % 3 > 0,
        }
        for i in range(20)
    ]
    write_table(root / "table.csv", rows)
    write_encoder(root / "model.pt")
    return root


def with_paths(cohort, output, ids):
    """All ids of an evaluation."""
    paths = {"dataset_dir": cohort / "tokens", "slide_table": cohort / "table.csv", "output_dir": output}
    return {**paths, "encoders": {"SLPD": str(cohort / "model.pt")}, "device": "cpu", **ids}


def run(cohort, output, **ids):
    """One evaluation, to its end."""
    command = bundle_command("evaluating", [CONFIG], bundle_root=ROOT, **with_paths(cohort, output, ids))
    return run_python(command, cwd=output, env=ENVIRONMENT)


def evaluating(cohort, output, **ids):
    """The same in this process, ready to run."""
    made = workflow("evaluate.yaml", **with_paths(cohort, output, ids))
    assert made.check_properties() == []
    return made


def test_an_evaluation_leaves_what_was_promised(cohort, tmp_path):
    """Ten folds of classes with every protocol: report, tables, JSON, HParams; the console has a line a method."""
    done = run(cohort, tmp_path, protocols="['knn','mil']", train_fractions="[1.0]")
    assert done.returncode == 0, done.stderr
    names = {path.name for path in tmp_path.iterdir()}
    assert {"report.html", "results.csv", "results.json", "predictions.csv", "hparams", "features"} <= names
    rows = list(csv.DictReader((tmp_path / "results.csv").open(newline="")))
    methods = {(r["encoder"], r["features"], r["protocol"]) for r in rows}
    assert methods == {
        (encoder, features, protocol)
        for encoder, vector in (("tokens", "mean_token"), ("SLPD", "region_embedding"))
        for features, protocol in ((vector, "knn"), ("regions", "mil"), ("prototypes", "knn"))
    }
    found = json.loads((tmp_path / "results.json").read_text())
    assert len(found["splits"]) == 10 and found["settings"]["n_folds"] == 10
    assert any("is not known" in warning for warning in found["warnings"])
    knn = [r for r in found["results"] if r["protocol"] == "knn" and r["features"] == "mean_token"]
    assert knn[0]["summary"]["auc"]["value"] == 1.0, "the two kinds of slides have other tokens"
    assert "auc of label, 20 patients" in done.stdout + done.stderr


@pytest.mark.slow
def test_survival_by_a_file_of_splits(cohort, tmp_path):
    """Two columns and a CSV on the command line are enough."""
    file = write_table(
        tmp_path / "s.csv", [{"patient": f"p{i}", "split": ("train", "test")[i % 4 == 0]} for i in range(20)]
    )
    done = run(cohort, tmp_path, time="months", event="died", splits=file)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    assert (found["task"], found["split_kind"]) == ("survival", "fixed")
    assert {r["protocol"] for r in found["results"]} == {"cox"}


def test_embeddings_are_evaluated_as_their_tokens_are(cohort, tmp_path):
    """dataset_dir may be what inference wrote: the encoder's methods, and their figures, are those from token files."""
    inference(cohort / "tokens", tmp_path / "inference", cohort / "model.pt").run()
    found = {}
    for name, folder in (("tokens", cohort / "tokens"), ("embeddings", tmp_path / "inference")):
        evaluating(cohort, tmp_path / name, dataset_dir=folder, protocols=["knn"], train_fractions=[1.0]).run()
        results = json.loads((tmp_path / name / "results.json").read_text())["results"]
        found[name] = {r["features"]: r["summary"] for r in results if r["encoder"] == "SLPD"}
    assert found["tokens"] == found["embeddings"] and set(found["tokens"]) == {"region_embedding", "prototypes"}


def test_prototypes_of_the_cohort_and_brought_vectors_are_rows_beside_the_others(cohort, tmp_path):
    """By ids of the config alone: three more features of every encoder, and an encoder that is a table of vectors."""
    vectors = [{"slide": f"slide_{i}", "v0": i % 2, "v1": i} for i in range(20)]
    made = evaluating(
        cohort,
        tmp_path,
        slide_vectors={"TITAN": str(write_table(tmp_path / "vectors.csv", vectors))},
        features=["mean_token", "mixture", "composition", "transport"],
        n_cohort_prototypes=3,
        protocols=["knn"],
        train_fractions=[1.0],
    )
    made.run()
    found = json.loads((tmp_path / "results.json").read_text())
    pooled = {(encoder, kind) for encoder in ("tokens", "SLPD") for kind in ("mixture", "composition", "transport")}
    expected = {("tokens", "mean_token"), ("TITAN", "slide_vector"), *pooled}
    assert {(r["encoder"], r["features"]) for r in found["results"]} == expected
    assert found["settings"]["n_cohort_prototypes"] == 3 and "TITAN" in found["settings"]["slide_vectors"]
    page = (tmp_path / "report.html").read_text()
    assert "mixture of prototypes" in page and "slide vector" in page


def test_what_people_would_do_instead_is_in_the_same_table(cohort, tmp_path):
    """Attention MIL on tokens, MLP and an untrained encoder, with two seeds; settings say so."""
    made = evaluating(
        cohort,
        tmp_path,
        features=["mean_token", "region_embedding", "patch_tokens"],
        protocols=["mlp", "mil"],
        train_fractions=[1.0],
        untrained="true",
        n_seeds=2,
        mil_max_patches=100,
        n_folds=2,
    )
    made.run()
    found = json.loads((tmp_path / "results.json").read_text())
    methods = {(r["encoder"], r["features"], r["protocol"]): r for r in found["results"]}
    assert set(methods) == {
        ("tokens", "mean_token", "mlp"),
        ("SLPD", "region_embedding", "mlp"),
        ("untrained", "region_embedding", "mlp"),
        ("tokens", "patch_tokens", "mil"),
    }
    assert all(len(r["per_seed"]["auc"]) == 2 for r in methods.values())
    assert methods["tokens", "patch_tokens", "mil"]["summary"]["auc"]["value"] == 1.0, "the two kinds have other tokens"
    assert not any("untrained" in warning for warning in found["warnings"])
    assert found["settings"]["n_seeds"] == 2 and found["settings"]["mil_max_patches"] == 100
    page = " ".join((tmp_path / "report.html").read_text().split())
    assert "MIL, MLP: mean over 2 trainings" in page


def test_sites_are_taken_out_and_measured(cohort, tmp_path):
    """Harmonizing by a column of the table: methods as ever, and how far encoders still go by slide and by scanner."""
    ids = {"protocols": "['knn']", "train_fractions": "[1.0]", "n_folds": 2, "n_bootstrap": 100}
    done = run(cohort, tmp_path, harmonize="combat", site="scanner", **ids)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    assert {patient["site"] for patient in found["patients"]} == {"P", "L"}
    assert (found["settings"]["harmonize"], found["settings"]["site"]) == ("combat", "scanner")
    figures = {(item["encoder"], item["metric"]): item["interval"]["value"] for item in found["robustness"]}
    encoders, names = ("tokens", "SLPD"), ("robustness_index", "slide_identity", "site_identity")
    assert set(figures) == {(encoder, name) for encoder in encoders for name in names}
    assert figures["tokens", "robustness_index"] > 0.9, "tokens go by the two kinds of slides, and not by scanner"
    assert "Robustness" in (tmp_path / "report.html").read_text() and (tmp_path / "robustness.csv").is_file()


def test_a_user_s_mistake_is_one_message(cohort, tmp_path):
    """Too few patients of a class for the folds: how many there are and what to do; no traceback, nothing embedded."""
    done = run(cohort, tmp_path, n_folds=11)
    assert done.returncode != 0
    assert "Stopped: " in done.stderr and "too few for 11 folds" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize(
    "ids", [{}, {"preserve_sites": True}, {"ordered": "true", "classes": ["b", "a"]}, {"encoders": {}}]
)
def test_it_has_all_that_monai_asks_for(cohort, tmp_path, ids):
    """check_properties finds nothing missing, and every part is built."""
    made = evaluating(cohort, tmp_path, **ids)
    assert len(made.evaluator.splits.splits) == 10
    assert made.evaluator.rows.task == ("ordinal" if "ordered" in ids else "classification")
