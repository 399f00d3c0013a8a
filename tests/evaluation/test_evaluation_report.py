"""The page of an evaluation: complete, escaped, self-contained, honest about its numbers, and readable on a phone."""

import base64
import math
import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from io import BytesIO
from itertools import product

import numpy as np
import pytest
from browser import assert_fits
from evaluations import bare_evaluation, cells, write
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import confusion_matrix

from bundle.cohort import Split
from bundle.core import BundleError
from bundle.evaluation import EvaluationReport
from bundle.evaluation.evaluation_statistics import comparisons, results
from bundle.evaluation.findings import Comparison, Evaluation, Interval, Method, Predictions, Result
from bundle.evaluation.metrics.curves import holm
from bundle.evaluation.report.evaluation_figures import roc_panels
from bundle.evaluation.report.evaluation_headline import headline
from bundle.evaluation.report.evaluation_planes import plane_panels
from bundle.evaluation.report.evaluation_rows import method_name
from bundle.pages import p_text

SOURCES = [("tokens", "mean_token"), ("DINO", "region_embedding"), ("SLPD", "region_embedding")]
NASTY = "</script><img src=x onerror=alert(1)><script>alert('$x_1$ & \"y\"')</script>"
# task, label, classes, patients, folds (0: a fixed split)
KINDS = {
    "binary": ("classification", "architecture", ["nested", "scattered"], 24, 10),
    "four": (
        "classification",
        "subtype",
        ["clear cell renal cell carcinoma", "papillary", "chromophobe", "oncocytoma"],
        200,
        0,
    ),
    "grades": ("ordinal", "isup_grade", ["1", "2", "3", "4", "5"], 150, 5),
    "survival": ("survival", "months / died", [], 120, 5),
    "fixed": ("survival", "months / died", [], 80, 0),
}


def make_evaluation(kind: str, seed: int = 0) -> Evaluation:
    """A random evaluation in which later encoders are somewhat better, its metrics computed from its predictions."""
    task, label, classes, n, n_folds = KINDS[kind]
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(n) % max(len(classes), 2))
    sites = [None if i % 17 == 5 else chr(65 + i % (11 if kind == "four" else 3)) for i in range(n)]
    targets = truth
    if task == "survival":
        died, followed = rng.exponential(30 / (1 + 2 * truth)), rng.uniform(5, 60, n)
        targets = np.stack([np.minimum(died, followed), died <= followed], 1)
    order = rng.permutation(n)
    parts = np.array_split(order, n_folds) if n_folds else [order[int(0.7 * n) :]]
    splits = [
        Split(f"fold {i + 1}" if n_folds else "test", np.setdiff1d(order, test), np.sort(test))
        for i, test in enumerate(parts)
    ]
    evaluation = bare_evaluation(
        targets,
        splits,
        task=task,
        label=label,
        classes=classes,
        units=[f"patient-{i:03d}" for i in range(n)],
        slides=[[f"slide-{i:03d}"] + ([f"slide-{i:03d}b"] if i % 9 == 0 else []) for i in range(n)],
        sites=sites,
        split_kind="folds" if n_folds else "fixed",
        settings={"k_neighbors": 20, "encoders": {"SLPD": "models/model.pt"}, "classes": classes, "splits": None},
    )
    _fill(evaluation, truth, rng)
    if kind in {"grades", "fixed"}:  # pictures are slow, and the other kinds have them all
        evaluation.slide_vectors = {"SLPD": evaluation.slide_vectors["SLPD"]}
    return evaluation


def _fill(evaluation: Evaluation, truth: np.ndarray, rng: np.random.Generator) -> None:
    protocols = ["cox"] if evaluation.task == "survival" else ["knn", "linear"]
    shape = truth[:, None] == np.arange(max(len(evaluation.classes), 2))
    for strength, (encoder, features) in enumerate(SOURCES, start=1):
        vectors = np.hstack([shape * 0.7 * strength, np.zeros((len(truth), 9))])
        evaluation.slide_vectors[encoder] = (vectors + rng.normal(size=vectors.shape)).astype(np.float32)
        for protocol, fraction, split in product(protocols, (0.25, 1.0), evaluation.splits):
            noise = rng.normal(size=(len(split.test), shape.shape[1]))
            logits = 0.6 * strength * (0.6 + fraction) * shape[split.test] + noise
            scores = logits[:, 1:] if evaluation.task == "survival" else softmax(logits, 1)
            method = Method(encoder, features, protocol, fraction)
            n_train = int(len(split.train) * fraction)
            evaluation.predictions.append(Predictions(method, split.name, split.test, scores, n_train))
    evaluation.results = results(evaluation, 100, 0)
    evaluation.comparisons = comparisons(evaluation, 100, 0)


def thumbnail(slide: str) -> tuple[np.ndarray, float] | None:
    """A colored picture of every third slide, as ``bundle.slides.Thumbnails`` gives it."""
    number = int(re.sub(r"\D", "", slide))
    color = np.array([200 - number % 90, 120, 170], np.uint8)
    return (np.tile(color, (400, 600, 1)), 16.0) if number % 3 else None


def read(page: str) -> tuple[str, list[tuple[str, dict[str, str]]]]:
    """The words of a page and its tags with their attributes; every element is closed where it should be."""
    words: list[str] = []
    tags: list[tuple[str, dict[str, str]]] = []
    stack: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append((tag, {name: value or "" for name, value in attrs}))
            if tag not in {"meta", "br", "img"}:
                stack.append(tag)

        def handle_endtag(self, tag):
            assert stack.pop() == tag

        def handle_data(self, data):
            if "style" not in stack:
                words.append(data)

    Reader().feed(page)
    assert stack == []
    return " ".join(" ".join(words).split()), tags


def without_pictures(evaluation: Evaluation) -> Evaluation:
    """The same with nothing to draw: its page is made in no time."""
    evaluation.predictions, evaluation.slide_vectors = [], {}
    return evaluation


def only(evaluation: Evaluation, *methods: Method) -> Evaluation:
    """The same with the predictions of these methods, and without embeddings."""
    evaluation.predictions = [p for p in evaluation.predictions if p.method in methods]
    evaluation.slide_vectors = {}
    return evaluation


SLPD = Method("SLPD", "region_embedding", "linear", 1.0)


SECTIONS = {
    "classification": ["ROC curves", "Calibration", "Confusion matrices", "Embeddings", "Most confident errors"],
    "survival": ["Survival by predicted risk", "Embeddings", "Patients most out of place"],
}
SECTIONS["ordinal"] = SECTIONS["classification"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_complete_and_needs_nothing_else(kind, tmp_path):
    """Every part of the task in its order; no script, no address, every picture inside; well-formed; under 3 MB."""
    evaluation = make_evaluation(kind)
    page = write(evaluation, tmp_path, thumbnails=thumbnail)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"] and len(page) < 3_000_000
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert headings == ["Results", "Comparisons", *SECTIONS[evaluation.task], "What the intervals mean", "Settings"]
    text, tags = read(page)
    n, n_slides = len(evaluation.units), sum(map(len, evaluation.slides))
    assert f"{evaluation.label} : {n} patients, {n_slides} slides" in text
    how = "10 folds" if kind == "binary" else "5 folds" if evaluation.split_kind == "folds" else "a fixed split"
    assert how in text and "No warnings." in text
    assert {tag for tag, _ in tags} & {"script", "link", "iframe", "object", "base"} == set()
    assert "url(" not in page and "@import" not in page and "http" not in page.replace("http-equiv", "", 1)
    assert all(attributes["href"].startswith("#part-") for tag, attributes in tags if tag == "a")
    pictures = [attributes for tag, attributes in tags if tag == "img"]
    assert all(picture["src"].startswith("data:image/") and picture["alt"] for picture in pictures)
    for picture in pictures:
        if "svg" in picture["src"]:
            svg = base64.b64decode(picture["src"].split(",")[1]).decode()
            assert all(target.startswith(("#", "data:image/png")) for target in re.findall(r'href="([^"]*)', svg))


@pytest.mark.parametrize("kind", ["grades", "survival"])
def test_the_table_says_what_the_records_say(kind, tmp_path):
    """A row a method, a column a metric, the task's main one first: value, spread and bounds to three digits."""
    evaluation = without_pictures(make_evaluation(kind))
    page = write(evaluation, tmp_path)
    rows = cells(page, "results")
    assert len(rows) == len(evaluation.results)
    graded = "quadratic_kappa auc mae accuracy balanced_accuracy f1 kappa ece brier".split()
    names = {"grades": graded, "survival": ["c_index"]}[kind]
    for row, result in zip(rows, evaluation.results, strict=True):
        assert f"{100 * result.method.train_fraction:g}\N{NO-BREAK SPACE}%" in row[0]
        for cell, name in zip(row[1:], names, strict=True):
            value, low, high, sd, _, _ = result.summary[name]
            is_narrow = sd < 0.02 if math.isnan(low) else high - low < 0.04
            n = 3 if is_narrow or any(0 < abs(bound) < 0.005 for bound in (low, high)) else 2
            bounds = "" if math.isnan(low) else f"  [{low:.{n}f}, {high:.{n}f}]"
            expected = f"{value:.{n}f} ± {sd:.{n}f}{bounds}"
            assert cell == expected.replace("-", "−")
    assert page.count("Nadeau and Bengio") == 1


def with_metrics(name: str, intervals: list[tuple[float, float, float]]) -> Evaluation:
    """An evaluation whose methods have just these intervals."""
    evaluation = without_pictures(make_evaluation("four"))
    evaluation.results = [
        Result(
            Method(f"encoder {i}", "region_embedding", "knn", 1.0),
            {},
            {name: Interval(v, low, high, 0.1, "bootstrap", 9)},
        )
        for i, (v, low, high) in enumerate(intervals)
    ]
    return evaluation


@pytest.mark.parametrize(
    ("name", "intervals", "bold"),
    [
        ("auc", [(0.6, 0.5, 0.7), (0.9, 0.8, 0.95)], [1]),
        ("auc", [(0.6, 0.5, 0.81), (0.9, 0.8, 0.95)], []),
        ("auc", [(0.9, 0.8, 0.95), (0.6, 0.5, 0.7), (0.88, 0.7, 0.9)], []),
        ("ece", [(0.3, 0.2, 0.4), (0.1, 0.05, 0.15)], [1]),
        ("auc", [(0.6, math.nan, math.nan), (0.9, 0.8, 0.95)], []),
        ("auc", [(0.9, 0.8, 0.95)], []),
        ("someones_own", [(0.6, 0.5, 0.7), (0.9, 0.8, 0.95)], []),
    ],
)
def test_bold_is_earned(name, intervals, bold, tmp_path):
    """The best metric stands out only where its interval lies apart from all others; the direction must be known."""
    page = write(with_metrics(name, intervals), tmp_path)
    body = page.split('aria-label="results"')[1].split("</table>")[0].split("<tbody>")[1]
    rows = body.split("</tr>")[:-1]
    assert [i for i, row in enumerate(rows) if 'class="best"' in row] == bold
    assert ("Bold:" in page) == bool(bold)


def test_what_cannot_be_told_is_a_dash(tmp_path):
    """No value gives a dash, no bounds no brackets; a metric that some folds lack says over how many it is."""
    page = write(with_metrics("auc", [(math.nan,) * 3, (0.5, math.nan, math.nan)]), tmp_path)
    assert [row[1] for row in cells(page, "results")] == ["–", "0.50 ± 0.10"]
    evaluation = without_pictures(make_evaluation("binary"))
    n = min(result.summary["auc"].n for result in evaluation.results)
    assert n < 10 and f"AUC: over as few as {n} of 10 folds" in write(evaluation, tmp_path)


def test_the_page_begins_with_the_best_method(tmp_path):
    """Figure, interval, and whom it is ahead of, by p-values adjusted for their number; others are level with it."""
    evaluation = make_evaluation("four")
    methods = [result.method for result in evaluation.results if result.method.train_fraction == 1.0][:3]
    for result in evaluation.results:
        value = 0.9 if result.method == methods[0] else 0.6
        result.summary["auc"] = Interval(value, value - 0.05, value + 0.05, 0.03, "bootstrap", 2000)
    gap = Interval(0.3, 0.2, 0.4, 0.05, "bootstrap", 2000)
    ahead = Comparison(methods[0], methods[1], "auc", gap, 0.001)
    evaluation.comparisons = [ahead, Comparison(methods[2], methods[0], "auc", gap, 0.3)]
    found = headline(evaluation)
    assert found[:3] == (method_name(methods[0]), "AUC 0.90 ± 0.03", "[0.85, 0.95]")
    assert (found.ahead, found.level) == ([method_name(methods[1])], [method_name(methods[2])])
    evaluation.comparisons[0] = ahead._replace(difference=gap._replace(value=-0.3))
    assert headline(evaluation).ahead == [], "a difference that is sure and to its loss"
    evaluation.comparisons = [ahead]
    evaluation.predictions = [each for each in evaluation.predictions if each.method == methods[0]]
    evaluation.slide_vectors = {}
    words = read(write(evaluation, tmp_path))[0]
    assert f"AUC 0.90 ± 0.03 [0.85, 0.95] {found.best} Ahead of {found.ahead[0]} by more than luck." in words
    assert headline(without_pictures(evaluation)) is None


def test_comparisons_are_counted_and_adjusted(tmp_path):
    """Differences keep their sign, p-values are given as they are and after Holm; what differs has a minus."""
    evaluation = without_pictures(make_evaluation("four"))
    page = write(evaluation, tmp_path)
    rows = cells(page, "comparisons")
    first = evaluation.comparisons[0].difference
    assert rows[0][0] == "DINO − patch tokens  region embedding − mean token, kNN, 100\N{NO-BREAK SPACE}%"
    assert rows[0][2] == f"{first.value:+.2f}  [{first.low:+.2f}, {first.high:+.2f}]".replace("-", "−")
    p_values = [comparison.p_value for comparison in evaluation.comparisons]
    expected = [[escape(p_text(p)) for p in pair] for pair in zip(p_values, holm(p_values), strict=True)]
    assert [row[3:] for row in rows] == expected and ["&lt; 0.001", "0.004"] in expected
    assert "6 comparisons were made" in page


def test_every_word_of_the_user_is_text(tmp_path):
    """Markup, quotes and dollar signs in any name arrive as they are, and become neither tags nor formulas."""
    evaluation = make_evaluation("binary")
    evaluation.label, evaluation.warnings = NASTY + "label", [NASTY + "warning"]
    evaluation.classes = [NASTY + "class", "other"]
    evaluation.units = [f"{NASTY}unit{i}" for i in range(24)]
    evaluation.slides = [[f"{NASTY}slide{i}"] for i in range(24)]
    evaluation.sites = [NASTY + "site"] * 12 + ["b"] * 12
    evaluation.settings = {NASTY + "key": {NASTY + "nested": NASTY + "value"}}
    evaluation.slide_vectors = {NASTY + "encoder": evaluation.slide_vectors["tokens"]}
    method = Method(NASTY + "encoder", NASTY + "features", NASTY + "protocol", 1.0)
    evaluation.predictions = [replace(p, method=method) for p in evaluation.predictions[:10]]
    interval = Interval(0.5, 0.4, 0.6, 0.1, NASTY + "method", 10)
    evaluation.results = [Result(method, {}, {NASTY + "metric": interval})]
    evaluation.comparisons = [Comparison(method, method, NASTY + "compared", interval, 0.5)]
    evaluation.pretraining_overlap = {method.encoder: [NASTY + "overlap"]}
    page = write(evaluation, tmp_path, title=NASTY + "title")
    text, tags = read(page)
    assert {tag for tag, _ in tags}.isdisjoint({"script"}) and "<script" not in page and "<img src=x" not in page
    where = "label warning class unit slide site key nested value encoder features protocol metric method compared "
    where += "overlap title"
    readable = text.replace("_", " ")
    assert [word for word in where.split() if NASTY.replace("_", " ") + word not in readable] == []


def test_grave_warnings_come_before_the_metrics(tmp_path):
    """Pre-training overlap, patients on both sides and the run's own warnings stand above the table."""
    evaluation = without_pictures(make_evaluation("binary"))
    evaluation.pretraining_overlap = {"SLPD": [f"slide-{i:03d}" for i in range(20)], "DINO": []}
    evaluation.warnings = ["2 slides without label were left out."]
    shared = evaluation.splits[0]
    evaluation.splits[0] = Split(shared.name, np.append(shared.train, shared.test[0]), shared.test)
    page = write(evaluation, tmp_path)
    top, rest = page.split("<h2", 1)
    text, _ = read(top + "</body></html>")
    assert "SLPD was pre-trained on 20 of the slides that it is tested on: slide-000" in text and "and 8 more" in text
    assert "Patients stand on both sides of fold 1" in text and "2 slides without label" in text
    assert "DINO was" not in text and "No warnings" not in text
    marked = [row[0].split("  ")[0] for row in cells(page, "results")]
    assert {name for name in marked if "†" in name} == {"SLPD †"}


def test_sites_are_told_from_the_rows(tmp_path):
    """Whether a site stands on both sides is looked up, not believed; unknown sites make no claim."""
    evaluation = without_pictures(make_evaluation("fixed"))
    split = evaluation.splits[0]
    assert "Sites stand on both sides of a split." in write(evaluation, tmp_path)
    evaluation.sites = ["a" if i in set(split.test.tolist()) else "b" for i in range(80)]
    assert "No site stands on both sides of a split." in write(evaluation, tmp_path)
    evaluation.sites = [None] * 80
    page = write(evaluation, tmp_path)
    assert "sites unknown" in page and "both sides" not in page


def test_confusion_is_scikit_learns(tmp_path):
    """Counts of all test rows of a method trained on all patients."""
    evaluation = only(make_evaluation("grades"), SLPD)
    found = evaluation.predictions
    truth = np.concatenate([evaluation.targets[p.rows] for p in found])
    said = np.concatenate([p.scores.argmax(1) for p in found])
    page = write(evaluation, tmp_path)
    part = page.split("<figcaption>SLPD, region embedding, linear</figcaption>")[-1]
    counts = [[int(cell) for cell in row[1:]] for row in cells(part, "confusion")]
    assert counts == confusion_matrix(truth, said).tolist() and np.sum(counts) == 150


def test_the_surest_errors_come_first_with_their_slides(tmp_path):
    """Eight errors of the best method in falling order of probability; a JPEG for those whose slide is at hand."""
    evaluation = only(make_evaluation("grades"), SLPD, SLPD._replace(protocol="knn"))
    found = [result for result in evaluation.results if result.method in {p.method for p in evaluation.predictions}]
    best = max(found, key=lambda result: result.summary["quadratic_kappa"].value).method
    errors = []
    for predicted in (p for p in evaluation.predictions if p.method == best):
        for row, scores in zip(predicted.rows, predicted.scores, strict=True):
            if scores.argmax() != evaluation.targets[row]:
                errors.append((-scores.max(), int(row)))
    expected = [row for _, row in sorted(errors)[:8]]
    page = write(evaluation, tmp_path, thumbnails=thumbnail).split("Most confident errors</h2>")[1]
    cards = page.split('<div class="card">')[1:]
    assert [re.search(r"<b>patient-(\d+)</b>", card)[1] for card in cards] == [f"{row:03d}" for row in expected]
    for card, row in zip(cards, expected, strict=True):
        assert ("data:image/jpeg" in card) == (thumbnail(f"slide-{row:03d}") is not None)
        if "data:image/jpeg" in card:
            picture = Image.open(BytesIO(base64.b64decode(re.search(r"jpeg;base64,([^\"]+)", card)[1])))
            color = thumbnail(f"slide-{row:03d}")[0][0, 0].astype(int)
            assert picture.size == (320, 213) and np.abs(np.asarray(picture)[5, 5] - color).max() < 6
    bare = write(evaluation, tmp_path, thumbnails=lambda slide: np.zeros((20, 30, 3), np.uint8))
    assert bare.count("data:image/jpeg") == 8 and "data:image/jpeg" not in write(evaluation, tmp_path)


def test_survival_names_those_out_of_place(tmp_path):
    """A patient with an early event and the lowest risk of its test set is named first, with its rank."""
    evaluation = only(make_evaluation("fixed"))
    method, rows = Method("SLPD", "region_embedding", "cox", 1.0), evaluation.splits[0].test
    risk = -evaluation.targets[rows, 0]
    early = int(np.argmin(np.where(evaluation.targets[rows, 1] > 0, evaluation.targets[rows, 0], np.inf)))
    risk[early] = risk.min() - 1
    evaluation.predictions = [Predictions(method, "test", rows, risk[:, None], 56)]
    page = write(evaluation, tmp_path).split("Patients most out of place</h2>")[1]
    card = page.split('<div class="card">')[1]
    assert f"<b>{evaluation.units[rows[early]]}</b>" in card and "risk ranks 24 of 24 in test; 100 %" in card


def test_the_halves_are_told_apart_in_the_survival_figure(tmp_path):
    """Risks that are the times backward: log-rank p below .001; risks that are all equal: no halves, and said so."""
    evaluation = only(make_evaluation("fixed"))
    method, rows = Method("SLPD", "region_embedding", "cox", 1.0), evaluation.splits[0].test
    for risk, expected in ((-evaluation.targets[rows, :1], "log-rank p &lt; 0.001"), (np.ones((24, 1)), "no halves")):
        evaluation.predictions = [Predictions(method, "test", rows, risk, 56)]
        assert expected in write(evaluation, tmp_path)


def test_planes_show_labels_and_sites():
    """A panel by label and one by site; counts in the key; small and unknown sites gray and last."""
    evaluation = make_evaluation("four")
    label, site = plane_panels(evaluation)["SLPD"]
    assert [key.label for key in label.keys] == [f"{name} (50)" for name in evaluation.classes]
    assert len({key.color for key in label.keys}) == len({key.mark for key in label.keys}) == 4
    assert len(site.keys) == 9 and {key.label for key in site.keys[-2:]} == {"unknown site (12)", "4 other sites (67)"}
    assert {key.color for key in site.keys[-2:]} == {"#888888"}
    counts = [int(key.label.split("(")[1][:-1]) for key in site.keys]
    assert sum(counts) == 200
    evaluation.sites = [None] * 200
    assert [panel.title for panel in plane_panels(evaluation)["SLPD"]] == ["by label"]


def test_poor_embeddings_do_no_harm(tmp_path):
    """One dimension, no variance, rows without embedding, and fewer than three of them."""
    evaluation = make_evaluation("binary")
    some = evaluation.slide_vectors["SLPD"].copy()
    some[:5] = np.nan
    evaluation.slide_vectors = {
        "one": some[:, :1],
        "same": np.ones((24, 3), np.float32),
        "none": np.full_like(some, np.nan),
    }
    panels = plane_panels(evaluation)
    assert sum(int(key.label.split("(")[1][:-1]) for key in panels["one"][0].keys) == 19
    assert panels["same"][0].svg and "Fewer than three" in panels["none"][0].note
    assert "Fewer than three" in write(evaluation, tmp_path)


def test_an_evaluation_without_results_is_a_page_too(tmp_path):
    """A run that was cut short says what is missing instead of failing."""
    evaluation = without_pictures(make_evaluation("binary"))
    evaluation.results, evaluation.comparisons, evaluation.settings = [], [], {}
    text, _ = read(write(evaluation, tmp_path))
    assert text.count("No predictions.") == 4 and "No methods were compared." in text and "No embeddings" in text


def test_test_sets_of_one_class_have_no_roc(tmp_path):
    """Said in the panel; the rest of the page is there."""
    evaluation = only(make_evaluation("binary"), SLPD)
    evaluation.targets = np.zeros(24, int)
    assert "No test set holds two classes." in write(evaluation, tmp_path)


def test_many_methods_go_to_more_panels():
    """Nine sources are drawn on two panels, none is left out, no color comes twice on a panel."""
    evaluation = make_evaluation("four")
    base = [p for p in evaluation.predictions if p.method == Method("SLPD", "region_embedding", "knn", 1.0)]
    methods = [Method(f"encoder {i}", "region_embedding", "knn", 1.0) for i in range(9)]
    evaluation.predictions = [replace(p, method=method) for method in methods for p in base]
    panels = roc_panels(evaluation)
    assert [panel.title for panel in panels] == ["kNN", "kNN (2)"]
    assert [len(panel.keys) for panel in panels] == [7, 2] and len({key.color for key in panels[0].keys}) == 7


def test_the_same_evaluation_gives_the_same_page(tmp_path):
    """Byte for byte, so that two runs can be compared."""
    evaluations = [make_evaluation("binary") for _ in range(2)]
    for evaluation in evaluations:
        evaluation.predictions = [p for p in evaluation.predictions if p.method == SLPD]
        evaluation.slide_vectors = {"SLPD": evaluation.slide_vectors["SLPD"]}
    pages = [write(evaluation, tmp_path / str(i), thumbnails=thumbnail) for i, evaluation in enumerate(evaluations)]
    assert pages[0] == pages[1] and pages[0].count("data:image") > 4


def test_a_page_that_cannot_be_written_is_named(tmp_path):
    """A file where the folder should be."""
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="report.html cannot be written"):
        EvaluationReport(tmp_path / "file")(without_pictures(make_evaluation("binary")))


@pytest.mark.parametrize("kind", ["four", "survival"])
def test_the_page_fits_the_screen(kind, tmp_path):
    """In Chromium, on a phone and on a desk: nothing wider than the window, every picture shown and large enough."""
    evaluation = make_evaluation(kind)
    evaluation.slide_vectors = {"x" * 60: evaluation.slide_vectors["SLPD"]}
    evaluation.units = [f"{NASTY}patient_{'x' * 60}_{i}" for i in range(len(evaluation.units))]
    evaluation.warnings = ["/a/very/long/path/" + "folder" * 30]
    page = write(evaluation, tmp_path, thumbnails=thumbnail)
    assert_fits(page, tmp_path, 300)
