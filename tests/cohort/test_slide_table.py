"""What users say of their slides, and mistakes they make in saying it."""

import math

import numpy as np
import pytest

from bundle.cohort import SlideTable
from bundle.core import BundleError


def table_of(tmp_path, text):
    """A table read from a CSV of this text."""
    path = tmp_path / "slides.csv"
    path.write_text(text, encoding="utf-8")
    return SlideTable.read(path)


def test_rows_are_found_by_id_or_file_name(tmp_path):
    """A slide's row is that of its id, of its file name, or of its id with any suffix; spaces do not matter."""
    table = table_of(tmp_path, "slide, mpp ,patient,site,subtype\na,0.25, p1 ,s1,x\nb.svs,,p2,,y\nc.x.tif,0.5,,,\n")
    row = table.row("a", "folder/a.svs")
    assert (row.mpp, row.patient, row.site, row.roi) == (0.25, "p1", "s1", None) and row.values["subtype"] == "x"
    assert table.row("b", "b.svs").patient == "p2" and table.row("b").mpp is None
    assert table.row("c.x").mpp == 0.5 and table.row("q__b", "q/b.svs").patient == "p2"
    assert table.row("stranger") == SlideTable.read(None).row("a") and table.row("stranger").values == {}


def test_labels_and_patients(tmp_path):
    """A label is None where it is empty or the slide unknown; a slide without a patient is its own."""
    table = table_of(tmp_path, "slide,patient,label\na,p1,x\nb,,\n\n,,\n")
    assert table.labels(["b", "a", "q"], "label") == [None, "x", None]
    assert table.patients(["b", "a", "q"]) == ["b", "p1", "q"]
    with pytest.raises(BundleError, match=r"slides.csv has no column 'grade' \(found: slide, patient, label\)"):
        table.labels(["a"], "grade")
    with pytest.raises(BundleError, match="column 'label' is asked for, but no slide table is given"):
        SlideTable.read(None).labels(["a"], "label")


def test_spreadsheet_files_are_read(tmp_path):
    """A byte-order mark and quoted commas, as spreadsheets write them."""
    assert table_of(tmp_path, '\ufeffslide,note\na,"x, y"\n').row("a").values["note"] == "x, y"


def test_roi_is_relative_to_the_table(tmp_path):
    """A region of interest is looked for beside the table, and missed with its line."""
    (tmp_path / "a.geojson").touch()
    assert table_of(tmp_path, "slide,roi\na,a.geojson\nb,\n").row("a").roi == tmp_path / "a.geojson"
    with pytest.raises(BundleError, match=r"slides.csv, line 3: the region of interest .*b.geojson is no file"):
        table_of(tmp_path, "slide,roi\na,a.geojson\nb,b.geojson\n")


@pytest.mark.parametrize("mpp", ["0,25", "none", "-1", "0", "0.005", "40", "nan", "inf"])
def test_a_wrong_mpp_is_an_error(tmp_path, mpp):
    """It names file, line and value."""
    with pytest.raises(BundleError, match=rf"slides.csv, line 2: mpp '{mpp}' is no resolution"):
        table_of(tmp_path, f'slide,mpp\na,"{mpp}"\n')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,mpp\na,1\n", r"has no column 'slide' \(found: name, mpp\)"),
        ("", r"has no column 'slide' \(found: nothing\)"),
        ("slide\na\nb\na\n", "line 4: slide 'a' stands there twice"),
        ("slide,label\na,x\n,y\n", "line 3: the column 'slide' is empty"),
    ],
)
def test_other_mistakes(tmp_path, text, message):
    """Each names the file and what to mend."""
    with pytest.raises(BundleError, match=f"slides.csv.* {message}"):
        table_of(tmp_path, text)


def test_a_file_that_is_no_table(tmp_path):
    """Missing, or not text."""
    with pytest.raises(BundleError, match="gone.csv cannot be read"):
        SlideTable.read(tmp_path / "gone.csv")
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(BundleError, match="t.csv cannot be read"):
        SlideTable.read(tmp_path / "t.csv")


def test_sites(tmp_path):
    """A site is None where it is empty or the slide unknown."""
    table = table_of(tmp_path, "slide,site\na,s1\nb,\n")
    assert table.sites(["b", "a", "q"]) == [None, "s1", None]


def test_survival(tmp_path):
    """Times and events in the words that tables use; both unknown where one is."""
    rows = ["a,5,1", "b,2.5,FALSE", "c,,1", "d,3,NA", "e,12,Dead", "f,7,alive", "g,8,1:DECEASED", "h,9,0:LIVING"]
    table = table_of(tmp_path, "\n".join(["slide,os,died", *rows, ""]))
    got = table.survival([*"abcdefgh", "stranger"], "os", "died")
    nan = [math.nan, math.nan]
    np.testing.assert_equal(got, [[5, 1], [2.5, 0], nan, nan, [12, 1], [7, 0], [8, 1], [9, 0], nan])
    assert table.survival([], "os", "died").shape == (0, 2)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,-3,1", "slide a has the time '-3'; give a number above 0"),
        ("a,0,1", "slide a has the time '0'"),
        ("a,inf,1", "slide a has the time 'inf'"),
        ("a,soon,1", "slide a has the time 'soon'"),
        ("a,3,2", "slide a has the event '2'; give 1, true, yes or dead"),
        ("a,3,0", "no event in .*: 1 of 1 slides have 'time' and 'event', none of them an event"),
        ("b,3,1", "no event in .*: 0 of 1 slides .* Its rows are b, the slides are a"),
    ],
)
def test_wrong_survival_data(tmp_path, row, message):
    """The message has file, slide, value and what is allowed."""
    with pytest.raises(BundleError, match=message) as raised:
        table_of(tmp_path, f"slide,time,event\n{row}\n").survival(["a"])
    assert "slides.csv" in str(raised.value)


def test_missing_survival_columns(tmp_path):
    """The column is named, with the id by which another is chosen."""
    with pytest.raises(BundleError, match="no column 'event' .*give --event one of these"):
        table_of(tmp_path, "slide,time\na,1\n").survival(["a"])
    with pytest.raises(BundleError, match="column 'time' is asked for, but no slide table"):
        SlideTable.read(None).survival(["a"])


def test_values_that_are_not_known(tmp_path, caplog):
    """`NA` was a class of its own, and one patient of all slides that had it."""
    table = table_of(tmp_path, "slide,patient,site,label\na,NA,unknown,x\nb,nan,,NA\nc,p,s,nan\nd,p,S,none\n")
    ids = [*"abcd"]
    assert table.labels(ids, "label") == ["x", None, None, None]
    assert table.patients(ids) == ["a", "b", "p", "p"] and table.sites(ids) == [None, None, "s", "S"]
    assert "1 x NA, 1 x nan, 1 x none in column 'label' count as empty" in caplog.text
    assert table.labels(ids, "label", ["none", "x"]) == ["x", None, None, "none"], "asked for by name"
    assert table.row("a").values["site"] == "unknown", "shown as it is written"


def test_numbers_are_classes_once(tmp_path):
    """Two tables of pandas put together: `0.0` was another class than `0`, patient `12.0` another than `12`."""
    table = table_of(tmp_path, "slide,patient,label\na,12,0\nb,12.0,0.0\nc,13,1.0\nd,13,grade 1\n")
    assert table.labels([*"abcd"], "label") == ["0", "0", "1.0", "grade 1"]
    assert table.patients([*"abcd"]) == ["12", "12", "13", "13"]
    assert table.labels([*"abc"], "label", ["0", "1"]) == ["0", "0", "1"]
    with pytest.raises(BundleError, match="column 'label' holds '01' and '1', one number in two ways of writing"):
        table_of(tmp_path, "slide,label\na,01\nb,1\n").labels(["a", "b"], "label")


def test_ids_that_a_path_may_spell(tmp_path):
    """Where only ids are known, the row is that of the slide whose id spells most of the path."""
    table = table_of(tmp_path, "slide,label\nx/a.svs,t\n")
    for ids, owner in ((["a"], "a"), (["a", "x__a"], "x__a"), (["x__a", "b__x__a"], "x__a")):
        table.match(ids)
        assert [slide_id for slide_id in ids if table.row(slide_id).values] == [owner]
