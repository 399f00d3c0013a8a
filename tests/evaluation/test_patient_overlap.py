"""Published splits with patients on both sides: an error, or run and said in every table."""

import csv
import json

import pytest
from cohorts import write_cohort
from region_models import write_encoder
from workflows import run_config, workflow

from bundle.cohort import SlideTable
from bundle.console.commands import COMMANDS
from bundle.console.config_ids import top_ids
from bundle.console.starting import monai_words
from bundle.console.words import read_words
from bundle.core import CONFIGS, BundleError, user_error
from bundle.evaluation import evaluation_rows, evaluation_splits

PROTOCOLS = sorted((CONFIGS / "protocols").glob("*.yaml"))
SLIDES = [f"slide_{i}" for i in range(8)]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Eight slides of seven patients in HIPT's shapes: p0 has two slides, which the first of two splits parts."""
    root = tmp_path_factory.mktemp("published")
    write_cohort(root / "tokens", (1, 2) * 4)
    write_encoder(root / "model.pt")
    rows = [
        f"{i},p{i % 7},slide_{i}.svs,{'LUAD' if i % 7 % 2 else 'LUSC'},{3 + i % 7}.5,{i % 7 % 2}.0" for i in range(8)
    ]
    (root / "table.csv").write_text(
        "\n".join([",case_id,slide_id,oncotree_code,survival_months,censorship", *rows, ""])
    )
    (root / "splits").mkdir()
    lists = [("0123", "4", "567"), ("0734", "", "1256")]
    for number, (train, val, test) in enumerate(lists):
        lines = [
            ",".join([str(row), *(f"slide_{side[row]}" if row < len(side) else "" for side in (train, val, test))])
            for row in range(4)
        ]
        (root / "splits" / f"splits_{number}.csv").write_text("\n".join([",train,val,test", *lines, ""]))
    return root


def asked(cohort, **options):
    """Rows, and the splits over them."""
    table = SlideTable.read(cohort / "table.csv")
    rows = evaluation_rows(SLIDES, table, "oncotree_code", splits=cohort / "splits", **options)
    return rows, evaluation_splits(rows, splits=cohort / "splits")


def test_a_patient_on_both_sides_is_an_error_by_default(cohort):
    """For rows of patients and of slides; the message has the way out."""
    for unit in ("patient", "slide"):
        with pytest.raises(BundleError, match=r"'p0'.*allow_patient_overlap: true"):
            asked(cohort, unit=unit)
    with pytest.raises(BundleError, match="unit is slide, and folds are made of patients; give --splits"):
        evaluation_rows(SLIDES, SlideTable.read(cohort / "table.csv"), "oncotree_code", unit="slide")
    with pytest.raises(BundleError, match="unit is 'case'; choose from patient, slide"):
        asked(cohort, unit="case")


def test_only_the_parted_patient_is_taken_apart(cohort):
    """Each of its slides is a row; all others are pooled; the splits that part it are named."""
    rows, splits = asked(cohort, allow_patient_overlap="true")
    assert rows.patients.units == ["p0 (slide_0)", *(f"p{i}" for i in range(1, 7)), "p0 (slide_7)"]
    assert rows.patient_of == [f"p{i % 7}" for i in range(8)]
    assert splits.overlap == {"split 0": ["p0"]} and "1 patient has slides on both sides" in splits.notes[-1]
    assert any("1 patients have slides on different sides" in note for note in rows.notes)
    by_slide, splits = asked(cohort, unit="slide", allow_patient_overlap=True)
    assert by_slide.patients.units == SLIDES and splits.overlap == {"split 0": ["p0"]}
    assert any("8 slides of 7 patients" in note for note in by_slide.notes)


def test_censorship_is_the_opposite_of_an_event(cohort):
    """A column of either kind, not of both; words such as dead mean the same in both."""
    table = SlideTable.read(cohort / "table.csv")
    opposite, as_event = (
        evaluation_rows(SLIDES, table, time="survival_months", **{name: "censorship"}) for name in ("censored", "event")
    )
    assert opposite.label == "survival_months / censorship"
    assert (opposite.targets[:, 1] + as_event.targets[:, 1] == 1).all()
    with pytest.raises(BundleError, match="give one"):
        evaluation_rows(SLIDES, table, time="survival_months", event="censorship", censored="censorship")


def test_every_table_says_how_many_patients(cohort, tmp_path):
    """HIPT's protocol as a second config: results.csv, predictions.csv, results.json and the report."""
    run_config(
        "evaluate.yaml",
        "protocols/hipt_lung.yaml",
        bundle_root=str(tmp_path),
        dataset_dir=str(cohort / "tokens"),
        slide_table=str(cohort / "table.csv"),
        splits=str(cohort / "splits"),
        encoders={"SLPD": str(cohort / "model.pt")},
        output_dir=str(tmp_path),
        device="cpu",
        protocols=["knn"],
        features=["mean_token", "region_embedding"],
        k_neighbors=2,
        train_fractions=[1.0],
    )
    rows = {name: list(csv.DictReader((tmp_path / f"{name}.csv").open())) for name in ("results", "predictions")}
    assert {row["patients_on_both_sides"] for row in rows["results"]} == {"1"}
    marked = {(row["split"], row["patient"]) for row in rows["predictions"] if row["learned_from_the_patient"] == "1"}
    assert marked == {("split 0", "slide_7")}
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["unit"] == "slide" and found["patient_overlap"] == {"split 0": ["p0"]}
    assert any("1 patient has slides on both sides of a split (1 in split 0)" in text for text in found["warnings"])
    page = (tmp_path / "report.html").read_text()
    n_tables = 4  # results, comparisons, robustness, confusion matrices
    assert page.count('<p class="both-sides">') == n_tables
    assert "7 patients, 8 slides" in page and "Each slide is a row of its own" in page


def test_a_comparison_takes_such_splits_when_it_is_allowed_to(cohort, tmp_path):
    """What evaluating would refuse is refused before anything is trained, and run with the same word."""
    given = {"slide_table": cohort / "table.csv", "splits": cohort / "splits", "label": "oncotree_code"}
    for allows in (False, True):
        made = workflow("compare.yaml", kind="train", run_id="comparing", dataset_dir=cohort / "tokens",
                        output_dir=tmp_path, allow_patient_overlap=allows, **given)  # fmt: skip
        check = made.parser.get_parsed_content("comparison")._check
        if allows:
            assert check(str(cohort / "tokens"))[0] == []
        else:
            with pytest.raises(Exception, match="Failed") as caught:
                check(str(cohort / "tokens"))
            assert "allow_patient_overlap: true" in str(user_error(caught.value))


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
def test_a_protocol_names_only_ids_of_evaluate(path):
    """A misspelled id would change nothing and say nothing; by its short name it becomes MONAI's second config."""
    assert top_ids(path) <= top_ids(CONFIGS / "evaluate.yaml")
    command = COMMANDS["evaluate"]
    read = read_words(command, ["tokens", "--with", f"protocols/{path.stem}"])
    assert str(path) in monai_words(command, read, read.values)[2]
