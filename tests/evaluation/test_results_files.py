"""Results as files for other programs: complete, equal to the records, readable by strict parsers."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from evaluations import bare_evaluation
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bundle.cohort import Split
from bundle.core import BundleError
from bundle.evaluation import Comparison, Method
from bundle.evaluation.findings import Interval, Predictions, Result, Robustness
from bundle.evaluation.report.results_files import ResultsFiles, as_json

NAN = math.nan
METHODS = [Method("tokens", "mean_token", "knn", 0.25), Method("a/b, c", "region_embedding", "linear", 1.0)]


def evaluation(task="classification"):
    """Four patients, one split, two methods, an interval without bounds."""
    is_survival = task == "survival"
    split = Split("test", np.array([0, 2]), np.array([1, 3]))
    scores = np.array([[0.5], [-1.25]]) if is_survival else np.array([[0.25, 0.75], [0.9, 0.1]])
    targets = np.array([[1.5, 1], [2, 0], [3, 1], [4, 0]]) if is_survival else np.array([0, 1, 1, 0])
    return bare_evaluation(
        targets,
        [split],
        classes=[] if is_survival else ["a", 'b "x"'],
        slides=[["s0"], ["s1", "s1b"], ["s2"], ["s3"]],
        sites=["x", None, "x", "y"],
        split_kind="fixed",
        predictions=[Predictions(method, "test", split.test, scores, 2) for method in METHODS],
        results=[
            Result(method, {"auc": [0.7], "ece": [NAN]}, {
                "auc": Interval(0.7, 0.5, 0.9, 0.1, "bootstrap", 2000),
                "ece": Interval(NAN, NAN, NAN, NAN, "bootstrap", 0),
            })
            for method in METHODS
        ],
        comparisons=[Comparison(*METHODS, "auc", Interval(0.0, NAN, NAN, 0.0, "bootstrap", 9), 1.0)],
        warnings=["Look out."],
        pretraining_overlap={"a/b, c": ["s1"]},
        slide_vectors={"tokens": np.zeros((4, 2), np.float32)},
        settings={"seed": 0, "encoders": {"SLPD": None}, "device": object},
    )  # fmt: skip


def table(path):
    return list(csv.DictReader(path.open(newline="")))


def test_the_table_has_a_row_a_method_and_metric(tmp_path):
    """Names, metrics and bounds, in any order of encoders' names with commas and slashes."""
    ResultsFiles(tmp_path / "new")(evaluation())
    rows = table(tmp_path / "new" / "results.csv")
    assert [(r["encoder"], r["metric"]) for r in rows] == [(a.encoder, m) for a in METHODS for m in ("auc", "ece")]
    assert [float(rows[0][name]) for name in ("value", "low", "high", "sd", "n")] == [0.7, 0.5, 0.9, 0.1, 2000]
    assert rows[1]["value"] == "nan" and rows[0]["interval"] == "bootstrap"


def test_robustness_has_a_row_a_figure_and_number_of_neighbors(tmp_path):
    """An index is a row for each k, a probe one row; JSON has both, and null where there is no bound."""
    curve = {1: Interval(0.4, 0.1, 0.7, 0.1, "bootstrap", 9), 5: Interval(0.5, NAN, NAN, 0.1, "bootstrap", 9)}
    items = [
        Robustness("A", "region_embedding", "robustness_index", 5, curve[5], 0.6, curve),
        Robustness("A", "regions", "slide_identity", 0, curve[1], 0.25, {}),
    ]
    ResultsFiles(tmp_path)(replace(evaluation(), robustness=items))
    rows = table(tmp_path / "robustness.csv")
    assert [(r["metric"], r["k"], r["value"], r["chance"]) for r in rows] == [
        ("robustness_index", "1", "0.4", "0.6"),
        ("robustness_index", "5", "0.5", "0.6"),
        ("slide_identity", "", "0.4", "0.25"),
    ]
    index, probe = json.loads((tmp_path / "results.json").read_text())["robustness"]
    assert index["interval"]["low"] is None and index["curve"]["1"]["low"] == 0.1 and index["k"] == 5
    assert probe["interval"]["value"] == 0.4 and probe["curve"] == {}


def test_predictions_name_patients_and_slides(tmp_path):
    """A row a prediction, with truth, what was said, and all probabilities; risks for survival."""
    ResultsFiles(tmp_path)(evaluation())
    rows = table(tmp_path / "predictions.csv")
    assert len(rows) == 4
    first = rows[0]
    assert (first["patient"], first["slides"], first["label"], first["predicted"]) == ("p1", "s1 s1b", 'b "x"', 'b "x"')
    assert float(first["probability of a"]) == 0.25 and rows[1]["predicted"] == "a"
    ResultsFiles(tmp_path)(evaluation("survival"))
    rows = table(tmp_path / "predictions.csv")
    assert [(r["time"], r["event"], r["risk"]) for r in rows[:2]] == [("2", "0", "0.5"), ("4", "0", "-1.25")]


def test_json_is_strict_and_complete(tmp_path):
    """No NaN, which JSON does not know; everything but the vectors is there; what is no number or word is its text."""
    ResultsFiles(tmp_path)(evaluation())
    found = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert found == as_json(evaluation())
    assert found["results"][0]["summary"]["ece"]["value"] is None
    assert found["patients"][1] == {"patient": "p1", "slides": ["s1", "s1b"], "site": None, "target": 1}
    assert found["splits"] == [{"name": "test", "train": [0, 2], "test": [1, 3]}]
    assert found["comparisons"][0]["a"]["encoder"] == "tokens" and found["comparisons"][0]["p_value"] == 1.0
    assert found["warnings"] == ["Look out."] and found["pretraining_overlap"] == {"a/b, c": ["s1"]}
    assert found["settings"]["encoders"] == {"SLPD": None} and "class" in found["settings"]["device"]


def test_tensorboard_finds_every_method_once(tmp_path):
    """A run a method with its metrics; a second evaluation takes the place of the first."""
    ResultsFiles(tmp_path)(evaluation())
    again = evaluation()
    again.results = again.results[1:]
    ResultsFiles(tmp_path)(again)
    (run,) = (tmp_path / "hparams").iterdir()
    events = EventAccumulator(str(run)).Reload()
    assert events.Tags()["scalars"] == ["metric/auc"], "a metric that is not defined is not there"
    assert events.Scalars("metric/auc")[0].value == pytest.approx(0.7)
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_a_folder_that_cannot_be_written_to_is_one_message(tmp_path):
    """It is a file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="another output_dir"):
        ResultsFiles(tmp_path / "file")(evaluation())
