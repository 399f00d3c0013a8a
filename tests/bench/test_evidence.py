"""The evidence: its figures against scikit-learn, its second scanner, and methods that exist."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from bundle.core import BundleError
from bundle.demo.pyramid import write_pyramid
from bundle.slides import open_slide
from scripts.bench.evidence.__main__ import _options as evidence_options
from scripts.bench.evidence.pieces import (
    HARMONIZED,
    Methods,
    evaluation_piece,
    picture_pieces,
    tokens_piece,
    training_pieces,
)
from scripts.bench.evidence.scores import (
    Predicted,
    auc,
    balanced_accuracy,
    read_predictions,
    resampled,
    score,
    smallest_difference,
)
from scripts.bench.evidence.second_scanner import patients_of_second, rendered, second_cohort
from scripts.bench.evidence.table import as_text
from scripts.bench.processes import Record
from scripts.bench.tissue.cohort import Cohort

ROOT = Path(__file__).parents[2]
COLUMNS = ["encoder", "features", "protocol", "train_fraction", "split", "patient", "label"]


@pytest.fixture
def predicted():
    draws = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [6, 5, 9])
    scores = draws.dirichlet([1, 1, 1], len(truth)) + 0.5 * np.eye(3)[truth]
    scores[3] = scores[7] = 1 / 3  # ties
    return Predicted(truth, scores / scores.sum(1, keepdims=True))


def test_figures_are_scikit_learns_of_the_patients_that_were_drawn(predicted):
    counts = resampled(predicted.truth, 20, 1)
    assert (counts[0] == 1).all()
    for name in range(3):  # as many of each class as there are
        assert (counts[:, predicted.truth == name].sum(1) == (predicted.truth == name).sum()).all()
    figures = {balanced_accuracy: [], auc: []}
    for row in counts.astype(int):
        drawn = np.repeat(np.arange(len(row)), row)
        truth, scores = predicted.truth[drawn], predicted.scores[drawn]
        figures[balanced_accuracy].append(balanced_accuracy_score(truth, scores.argmax(1)))
        figures[auc].append(roc_auc_score(truth, scores, multi_class="ovr", average="macro"))
    for figure, want in figures.items():
        np.testing.assert_allclose(figure(predicted, counts), want, atol=1e-12)


def test_an_interval_is_that_of_the_resamples_alone():
    values = np.array([0.5, *np.linspace(0, 1, 1001)])
    found = score(values)
    assert found.value == 0.5
    np.testing.assert_allclose([found.low, found.high], [0.025, 0.975])
    np.testing.assert_allclose(smallest_difference(values), 2.8 * np.linspace(0, 1, 1001).std(ddof=1))


def test_predictions_are_read_by_method_and_patient(tmp_path):
    rows = [
        ["A", "region_embedding", "knn", 1.0, "fold 1", "p2", "x", 0.75, 0.25],
        ["A", "region_embedding", "knn", 1.0, "fold 0", "p1", "y", 0.5, 0.5],
        ["A", "region_embedding", "knn", 0.25, "fold 0", "p1", "y", 1.0, 0.0],
    ]
    with (tmp_path / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([[*COLUMNS, "probability of x", "probability of y"], *rows])
    ((method, found),) = read_predictions(tmp_path / "predictions.csv").items()
    assert method == ("A", "region_embedding", "knn")
    assert found.truth.tolist() == [1, 0] and found.scores.tolist() == [[0.5, 0.5], [0.75, 0.25]]


def test_the_second_scanner_has_half_of_each_class_and_a_habit_of_its_own():
    rows = [{"patient": f"{name}{i}", "organ": name} for name in "ab" for i in range(4)] * 2
    chosen = patients_of_second(rows, "organ", 3)
    assert sorted(patient[0] for patient in chosen) == ["a", "a", "b", "b"]
    assert chosen == patients_of_second(rows[::-1], "organ", 3)
    draws = np.random.default_rng(0)
    pictures = draws.integers(120, 256, (2, 1100, 40, 3)).astype(np.uint8)  # more rows than a strip
    first, again, other = rendered(pictures[0], 1, 0), rendered(pictures[0], 1, 0), rendered(pictures[1], 1, 1)
    np.testing.assert_array_equal(first, again)
    shifts = [(made.astype(float) - given).mean((0, 1)) for made, given in ((first, pictures[0]), (other, pictures[1]))]
    assert np.abs(shifts[0]).max() > 3 * np.abs(shifts[0] - shifts[1]).max()  # the scanner's, more than the day's
    white = np.full((8, 8, 3), 255, np.uint8)
    assert (rendered(white, 1, 0) >= 254).all()


def test_methods_set_ids_that_training_has():
    known = yaml.safe_load((ROOT / "configs" / "train.yaml").read_text())
    methods = Methods.read()
    for changes in (methods.settings, *methods.methods.values()):
        assert not set(changes) - set(known)
    assert "prototype_warmup_epochs" not in list(methods.methods.values())[-1], (
        "the one that is compared has prototypes"
    )


def _options(tmp_path):
    words = ["--slides", "s", "--slide_table", "t.csv", "--patch_encoder", "p.pt", "--output", str(tmp_path)]
    options = evidence_options([*words, "--seeds", "0", "1"])
    options.tokens = options.output / "tokens"
    return options


def test_pieces_give_ids_that_their_configs_have(tmp_path):
    options, methods = _options(tmp_path), Methods.read()
    cohort = Cohort(tmp_path / "slides", tmp_path / "slides.csv", ["a", "b"], 4)
    pieces = [
        tokens_piece(options, cohort.slides, cohort.table, options.tokens, "tokens"),
        *(piece for seed in options.seeds for piece in training_pieces(options, cohort, methods, seed)),
        evaluation_piece(options, cohort, methods.methods, 0),
        *(
            evaluation_piece(options, cohort, methods.methods, 0, second=cohort.table, harmonize=how)
            for how in HARMONIZED
        ),
        *picture_pieces(options, cohort, methods),
    ]
    assert len({piece.name for piece in pieces}) == len(pieces)
    for piece in pieces:
        config, given = piece.words[piece.words.index("--config_file") + 1], piece.words[piece.words.index("run") + 4 :]
        known = yaml.safe_load((ROOT / config).read_text())
        assert not {word.removeprefix("--") for word in given[::2]} - set(known), piece.name


def test_the_table_is_of_what_there_is(tmp_path, predicted):
    options, methods = _options(tmp_path), Methods.read()
    cohort = Cohort(tmp_path / "slides", tmp_path / "slides.csv", ["a", "b", "c"], 20)
    assert "|" not in as_text(options, cohort, methods, {})
    ours = list(methods.methods)[-1]
    names = ["tokens", "untrained", "DINO", ours]
    for seed in options.seeds:
        folder = tmp_path / "evaluation" / str(seed)
        folder.mkdir(parents=True)
        with (folder / "predictions.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*COLUMNS, *(f"probability of {name}" for name in "abc")])
            for name in names:
                kind = "mean_token" if name == "tokens" else "region_embedding"
                for i, (truth, scores) in enumerate(zip(predicted.truth, predicted.scores, strict=True)):
                    shown = np.roll(scores, seed) if name == ours else scores
                    writer.writerow([name, kind, "knn", 1.0, "fold 1", f"p{i:02d}", "abc"[truth], *shown])
    text = as_text(options, cohort, methods, {"tokens": {"seconds": 90.0, "peak_mib": 1000.0}})
    own = balanced_accuracy(predicted, resampled(predicted.truth, 1, 0))[0]
    rolled = balanced_accuracy(Predicted(predicted.truth, np.roll(predicted.scores, 1, 1)), np.ones((2, 20)))[0]
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert f"{own:.3f} [" in rows["mean token"] and f"{(own + rolled) / 2:.3f} [" in rows[ours]
    assert f"{(rolled - own) / 2:+.3f} [" in rows[f"{ours} - DINO"]
    assert "| tokens | 1.5 | 1,000 |" in text


def test_a_rendered_slide_has_the_size_that_it_is_rendered_at(tmp_path):
    """um/px of the table is that of the file as it is made: others keep theirs."""
    draws = np.random.default_rng(0)
    rows = [{"slide": f"{p}.tif", "patient": p, "organ": "a", "mpp": "0.5"} for p in ("p", "q")]
    (tmp_path / "slides").mkdir()
    for row in rows:
        picture = draws.integers(100, 256, (300, 400, 3)).astype(np.uint8)
        write_pyramid(tmp_path / "slides" / row["slide"], picture, 0.5, jpeg_quality=90)
    table = second_cohort(tmp_path / "slides", rows, "organ", tmp_path / "second", 1.0, 0)
    with table.open(newline="") as file:
        made = list(csv.DictReader(file))
    assert sorted(row["site"] for row in made) == ["first", "second"]
    for row in made:
        with open_slide(tmp_path / "second" / "slides" / row["slide"], mpp=float(row["mpp"])) as slide:
            assert slide.width * slide.mpp == 200.0
            assert slide.mpp == (1.0 if row["site"] == "second" else 0.5)


def test_a_piece_of_other_settings_is_not_taken_for_done(tmp_path):
    record = Record(tmp_path / "pieces.json")
    record.run("one", [sys.executable, "-c", "pass"], tmp_path / "log.txt")
    Record(tmp_path / "pieces.json").run("one", ["other python", "-c", "pass"], tmp_path / "log.txt")
    with pytest.raises(BundleError, match="other settings"):
        Record(tmp_path / "pieces.json").run("one", [sys.executable, "-c", "1"], tmp_path / "log.txt")
