"""What is predicted of whom: tasks, classes, patients, splits."""

import numpy as np
import pytest
from region_models import write_table

from bundle.cohort import SlideTable
from bundle.core import BundleError
from bundle.evaluation import evaluation_rows, evaluation_splits


def table(tmp_path, labels, **columns):
    """A table of slides s0, s1, ..., with any further columns."""
    rows = [{"slide": f"s{i}", "label": label} for i, label in enumerate(labels)]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return SlideTable.read(write_table(tmp_path / "table.csv", rows))


def slides(n):
    return [f"s{i}" for i in range(n)]


def test_numbers_are_classes_in_their_order(tmp_path):
    """10 comes after 9; as grades and as plain classes."""
    labels = ["10", "9", "2", "10"]
    rows = evaluation_rows(slides(4), table(tmp_path, labels), ordered="true")
    assert (rows.task, rows.classes, rows.targets.tolist()) == ("ordinal", ["2", "9", "10"], [2, 1, 0, 2])
    assert evaluation_rows(slides(4), table(tmp_path, labels)).classes == ["2", "9", "10"]


def test_stages_need_an_order(tmp_path):
    """Words as grades: an error without classes; with them, in their order, and others are left out and counted."""
    made = table(tmp_path, ["III", "I", "II", "X", "I"])
    with pytest.raises(BundleError, match="--classes"):
        evaluation_rows(slides(5), made, ordered=True)
    rows = evaluation_rows(slides(5), made, task="ordinal", classes=["I", "II", "III"])
    assert rows.targets.tolist() == [2, 0, 1, 0]
    assert any("1 slides of other classes" in note and "s3" in note for note in rows.notes)


def test_slides_of_a_patient_are_one_row(tmp_path):
    """Labels, sites and places come by patient; a slide without label is left out and counted."""
    made = table(tmp_path, ["a", "b", "a", ""], patient=["p", "q", "p", "r"], site=["x", "y", "x", "y"])
    rows = evaluation_rows(slides(4), made)
    assert rows.patients.units == ["p", "q"] and rows.patients.members == [[0, 2], [1]]
    assert rows.patients.sites == ["x", "y"] and any("1 slides without" in note for note in rows.notes)


def test_time_and_event_make_it_survival(tmp_path):
    """Two columns are the task; both are needed."""
    made = table(tmp_path, ["a"] * 3, months=[3, 5.5, 9], died=["dead", "alive", "1"])
    rows = evaluation_rows(slides(3), made, time="months", event="died")
    assert (rows.task, rows.label, rows.classes) == ("survival", "months / died", [])
    np.testing.assert_array_equal(rows.targets, [[3, 1], [5.5, 0], [9, 1]])
    for given in ({"time": "months"}, {"event": "died"}, {"task": "survival"}):
        with pytest.raises(BundleError, match="--time and --event"):
            evaluation_rows(slides(3), made, **given)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (["a", "a"], {}, "all 2 labelled patients are of one class"),
        (["a", "b"], {"classes": ["c", "d"]}, "the column 'label' holds a, b"),
        (["a", "b"], {"classes": "ab"}, "list of at least two"),
        (["a", "b"], {"classes": ["a", "a"]}, "list of at least two"),
        (["a", "b"], {"task": "regression"}, "auto, classification, ordinal, survival"),
        (["a", "b"], {"label": "grade"}, "no column 'grade'"),
        (["", ""], {}, "no slide has a value"),
    ],
)
def test_a_user_s_mistake_is_one_message(tmp_path, labels, options, message):
    """What failed, what was found."""
    with pytest.raises(BundleError, match=message):
        evaluation_rows(slides(2), table(tmp_path, labels), **options)


def test_folds_and_files_of_splits(tmp_path):
    """Folds hold every patient once; a file takes their place; sites are kept apart where asked for."""
    rows = evaluation_rows(slides(12), table(tmp_path, ["a", "b"] * 6, site=["x", "x", "y", "y", "z", "z"] * 2))
    made = evaluation_splits(rows, 6)
    assert made.kind == "folds" and sorted(np.concatenate([s.test for s in made.splits])) == list(range(12))
    assert any("sites stand on both sides" in note for note in made.notes)
    apart = evaluation_splits(rows, 3, preserve_sites="true")
    for split in apart.splits:
        assert not {rows.patients.sites[i] for i in split.train} & {rows.patients.sites[i] for i in split.test}
    file = write_table(
        tmp_path / "splits.csv", [{"slide": f"s{i}", "split": "test" if i < 4 else "train"} for i in range(12)]
    )
    fixed = evaluation_splits(rows, 10, splits=file)
    assert fixed.kind == "fixed" and fixed.splits[0].test.tolist() == [0, 1, 2, 3]


def test_folds_that_cannot_be(tmp_path):
    """More folds than patients of a class; sites apart without sites."""
    rows = evaluation_rows(slides(8), table(tmp_path, ["a", "b"] * 4))
    with pytest.raises(BundleError, match="too few for 10 folds"):
        evaluation_splits(rows)
    with pytest.raises(BundleError, match="column site"):
        evaluation_splits(rows, 2, preserve_sites=True)


def test_sites_may_stand_in_any_column(tmp_path):
    """A scanner counts as a site; a column that is not there is an error that names it."""
    made = table(tmp_path, ["a", "b", "a"], site=["x", "x", "x"], scanner=["P", "L", "NA"])
    assert evaluation_rows(slides(3), made, site="scanner").patients.sites == ["P", "L", None]
    assert evaluation_rows(slides(3), made).patients.sites == ["x"] * 3
    assert evaluation_rows(slides(3), made, site=None).patients.sites == [None] * 3
    with pytest.raises(BundleError, match="'stain'"):
        evaluation_rows(slides(3), made, site="stain")
