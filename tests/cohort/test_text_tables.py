"""Tables as spreadsheets and scripts write them."""

import codecs

import pytest

from bundle.cohort import SlideTable
from bundle.cohort.text_tables import as_written_once, is_missing, read_table
from bundle.core import BundleError

TEXT = 'slide,mpp,note\na,0.25,"x, y"\n\u00fc.svs,,\n'


def read(tmp_path, contents):
    """What is read of a file of these bytes."""
    (tmp_path / "t.csv").write_bytes(contents)
    return read_table(tmp_path / "t.csv", "slide table", ("slide",))


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (b"", "utf-16-le"),
        (b"", "utf-16-be"),
    ],
)
def test_encodings(tmp_path, mark, encoding):
    """UTF-8 and UTF-16, with a mark in front or without."""
    found = read(tmp_path, mark + TEXT.encode(encoding))
    assert found.columns == ["slide", "mpp", "note"]
    rows = [{"slide": "a", "mpp": "0.25", "note": "x, y"}, {"slide": "\u00fc.svs", "mpp": "", "note": ""}]
    assert found.rows == [(2, rows[0]), (3, rows[1])]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators(tmp_path, separator, end):
    """What separates is found in the head, whatever else stands in cells; ends of lines of any system."""
    lines = ['slide|"a;note,\twith"|label', 'x.y|"1,5;\t2"|tumor', "", "z"]
    found = read(tmp_path, end.join(lines).replace("|", separator).encode())
    assert found.columns == ["slide", "a;note,\twith", "label"]
    assert [list(row.values()) for _, row in found.rows] == [["x.y", "1,5;\t2", "tumor"], ["z", "", ""]]
    assert [line for line, _ in found.rows] == [2, 4]


def test_what_excel_writes_in_front(tmp_path):
    """A line that names the separator."""
    found = read(tmp_path, b"sep=;\r\nslide;mpp\r\na;0,25\r\n")
    assert found.columns == ["slide", "mpp"] and found.rows == [(3, {"slide": "a", "mpp": "0,25"})]


def test_decimal_commas(tmp_path):
    """Numbers have them where commas do not separate; elsewhere `0,25` is two things."""
    (tmp_path / "t.csv").write_text("slide;mpp;time;event\na;0,25;3,5;1\n")
    table = SlideTable.read(tmp_path / "t.csv")
    assert table.row("a").mpp == 0.25 and table.survival(["a"]).tolist() == [[3.5, 1.0]]
    (tmp_path / "t.csv").write_text('slide,mpp\na,"0,25"\n')
    with pytest.raises(BundleError, match="mpp '0,25' is no resolution"):
        SlideTable.read(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("slide,note\na,M\u00fcller\n".encode("latin-1"), "cannot be read .* give a CSV file, in UTF-8 or UTF-16"),
        (b"slide,label\na,b\0c\n", "cannot be read .it is no text"),
        (b'slide,label\na,"x\nb,y\nc,z\n', "cannot be read .line 4: unexpected end of data"),
        (b"slide,mpp,label\na,0,25,x\n", "line 2: 4 cells, but 3 columns: put a cell that holds a comma in quotation"),
    ],
)
def test_what_is_refused(tmp_path, contents, message):
    """Letters in another encoding, a mark that is never closed, a cell too many: values would be others' or garbage."""
    with pytest.raises(BundleError, match=f"t.csv.*{message}"):
        read(tmp_path, contents)


def test_a_column_that_stands_twice(tmp_path, caplog):
    """The last counts, as before, and that is said; empty names of empty columns are no names."""
    found = read(tmp_path, b"slide,label,label,,\na,x,y,,\n")
    assert found.rows == [(2, {"slide": "a", "label": "y", "": ""})]
    assert "has two columns label: the last of them counts" in caplog.text


def test_words_that_mean_nothing():
    """In any case, as pandas, R, TCGA and GDC write them; values that resemble them mean something."""
    nothing = ["", "NA", "nan", "N/A", "None", "Unknown", "<NA>", "[Not Available]", "'--", "null"]
    assert [word for word in [*nothing, "0", "no", "-", "negative", "NAT", "normal"] if is_missing(word)] == nothing


def test_zero_and_zero_are_one():
    """The shorter text counts, or that which is asked for; words, versions and leading zeros stay."""
    values = ["0", "0.0", "1.00", "01", "G1", "1.5", "1.0.0"]
    assert as_written_once(values) == {value: value for value in values} | {"0.0": "0"}
    assert as_written_once(["1", "1.0"], ["1.0"]) == {"1": "1.0", "1.0": "1.0"}
