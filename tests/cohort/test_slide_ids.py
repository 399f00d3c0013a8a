"""Which files are slides, and what they are called."""

import logging
import os

import pytest
from empty_files import touch

from bundle.cohort import SlideTable, find_slides
from bundle.core import BundleError


def test_slides_are_found_in_depth(tmp_path):
    """Known suffixes in any case, in any depth, sorted; other and hidden files are not slides. The id is the name
    without its last suffix."""
    touch(tmp_path, "b.SVS", "x/y/a.tiff", "c.ndpi", "notes.txt", "x/t.csv", ".hidden.svs", "TCGA-1.2.3.svs")
    found = {slide.path.relative_to(tmp_path).as_posix(): slide.slide_id for slide in find_slides(tmp_path)}
    wanted = {"TCGA-1.2.3.svs": "TCGA-1.2.3", "b.SVS": "b", "c.ndpi": "c", "x/y/a.tiff": "a"}
    assert list(found.items()) == list(wanted.items())


def test_duplicates_get_their_path(tmp_path, caplog):
    """Two files with one name get their relative paths, joined by __, and a warning; others keep their names."""
    touch(tmp_path, "x/a.svs", "y/z/a.tif", "c.svs")
    with caplog.at_level(logging.WARNING):
        found = find_slides(tmp_path)
    assert {slide.slide_id for slide in found} == {"c", "x__a", "y__z__a"}
    assert "1 slide ids stand for several files (a)" in caplog.text


def test_ids_are_always_distinct(tmp_path):
    """Even two formats of one slide in one folder."""
    touch(tmp_path, "a.svs", "a.tif", "x/a.tif")
    ids = [slide.slide_id for slide in find_slides(tmp_path)]
    assert len(set(ids)) == 3


def test_a_dicom_series_is_one_slide(tmp_path):
    """The files of a folder of DICOM files are one slide with the folder's name."""
    touch(tmp_path, "one/1.dcm", "one/2.dcm", "two/1.dcm", "c.svs")
    found = find_slides(tmp_path)
    assert [slide.slide_id for slide in found] == ["c", "one", "two"]
    assert found[1].path.name == "1.dcm"


def test_mrxs_companions_are_none(tmp_path):
    """Of an MRXS slide and its folder of data only the slide is one."""
    touch(tmp_path, "a.mrxs", "a/Slidedat.ini", "a/Data0000.dat", "a/Index.dat")
    assert [slide.slide_id for slide in find_slides(tmp_path)] == ["a"]


def test_one_file_is_allowed(tmp_path):
    """A path to a file is that slide."""
    touch(tmp_path, "x/a.svs", "x/b.svs")
    found = find_slides(tmp_path / "x" / "a.svs")
    assert [slide.slide_id for slide in found] == ["a"] and found[0].path == tmp_path / "x" / "a.svs"


def test_nothing_found_is_an_error(tmp_path):
    """It says what was looked for and what was there."""
    with pytest.raises(BundleError, match=r"no slide found in .*\.svs, \.tif, .*it holds no file at all"):
        find_slides(tmp_path)
    touch(tmp_path, "a.png", "b.png", "c.txt")
    with pytest.raises(BundleError, match=r"it holds 2 x \.png, 1 x \.txt"):
        find_slides(tmp_path)
    with pytest.raises(BundleError, match="gone does not exist: give the folder"):
        find_slides(tmp_path / "gone")


def test_rows_without_a_slide_are_warned_about(tmp_path, caplog):
    """A table's rows that match no slide are counted, with examples; file names match too."""
    touch(tmp_path, "a.svs", "b.svs")
    (tmp_path / "t.csv").write_text("slide\na\nb.svs\nc\nd\n")
    find_slides(tmp_path, SlideTable.read(tmp_path / "t.csv"))
    assert "2 rows match no slide, such as c, d" in caplog.text


def test_rows_that_name_a_file_are_no_strangers(tmp_path, caplog):
    """Two slides of one name have ids of their own, and so has a series: rows that name the files were heeded, and
    called strangers."""
    touch(tmp_path, "one/x.svs", "two/x.svs", "three/y.svs", "four/y.tif", "series/0001.dcm")
    table = tmp_path / "t.csv"
    table.write_text("slide,mpp\nx.svs,0.25\ny,0.5\nseries,0.3\n")
    found = {slide.slide_id: slide.path for slide in find_slides(tmp_path, SlideTable.read(table))}
    rows = SlideTable.read(table)
    assert {name: rows.row(name, path).mpp for name, path in found.items()} == {
        "one__x": 0.25,
        "two__x": 0.25,
        "three__y": 0.5,
        "four__y": 0.5,
        "series": 0.3,
    }
    assert "match no slide" not in caplog.text
    table.write_text("slide\nx.tif\n")
    find_slides(tmp_path, SlideTable.read(table))
    assert "1 rows match no slide, such as x.tif" in caplog.text


def test_what_a_run_wrote_is_no_slide(tmp_path):
    """Files below folders that are left out neither count nor make a slide's name a duplicate."""
    touch(tmp_path, "site1/a.h5", "out/embeddings/a.h5")
    found = find_slides(tmp_path, suffixes=(".h5",), apart_from=[(tmp_path / "out").resolve()])
    assert [slide.slide_id for slide in found] == ["a"]


def test_ids_that_collide_stop(tmp_path):
    """`x__a.svs` and `x/a.svs` beside `y/a.svs` had one id, and the second was written over the first."""
    touch(tmp_path, "x/a.svs", "y/a.svs", "x__a.svs")
    with pytest.raises(BundleError, match=r"two slides would have the id x__a__svs, .*x/a.svs and .*x__a.svs: rename"):
        find_slides(tmp_path)


def test_a_known_slide_keeps_its_id(tmp_path, caplog):
    """A namesake gets its path; that which had the plain name before is told by the bytes of its file."""
    touch(tmp_path, "x/a.svs", "y/a.svs")
    (tmp_path / "y" / "a.svs").write_bytes(b"12345")
    ids = {"a": ("a.svs", 5)}
    assert [s.slide_id for s in find_slides(tmp_path, known=ids.get)] == ["x__a", "a"]
    assert "y/a.svs is slide a as before" in caplog.text
    assert [s.slide_id for s in find_slides(tmp_path, known={"a": ("a.svs", 6)}.get)] == ["x__a", "y__a"]
    both_known = ids | {"y__a": ("a.svs", 5), "x__a": ("a.svs", 0)}
    assert [s.slide_id for s in find_slides(tmp_path, known=both_known.get)] == ["x__a", "y__a"]
    (tmp_path / "x" / "a.svs").write_bytes(b"54321")
    with pytest.raises(BundleError, match="slide a has been read before, and .*x/a.svs and .*y/a.svs may each be"):
        find_slides(tmp_path, known=ids.get)


def test_another_format_of_a_known_slide(tmp_path):
    """It comes into the same folder: the new one has its suffix in its id, the known one stays."""
    touch(tmp_path, "a.svs", "a.tif")
    (tmp_path / "a.svs").write_bytes(b"12345")
    ids = [s.slide_id for s in find_slides(tmp_path, known={"a": ("a.svs", 5)}.get)]
    assert ids == ["a", "a__tif"]
    assert [s.slide_id for s in find_slides(tmp_path)] == ["a__svs", "a__tif"]


def test_links_are_slides(tmp_path):
    """Those of linked folders count; a link that leads nowhere is a slide, for the table to say that it failed."""
    touch(tmp_path, "elsewhere/there.svs", "slides/here.svs")
    (tmp_path / "slides" / "TCGA").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "slides" / "gone.svs").symlink_to(tmp_path / "not_mounted.svs")
    assert [s.slide_id for s in find_slides(tmp_path / "slides")] == ["there", "gone", "here"]


def test_a_name_that_is_no_text(tmp_path):
    """It ended the run; its bytes are %FC in the id, and the path is as it is."""
    name = os.fsencode(tmp_path) + b"/M\xfcller.svs"
    try:
        os.close(os.open(name, os.O_CREAT))
    except OSError:
        pytest.skip("the file system takes names in UTF-8 alone")
    (slide,) = find_slides(tmp_path)
    assert slide.slide_id == slide.relative == "M%FCller" and slide.path.is_file()


def test_names_that_look_the_same_are_warned_about(tmp_path, caplog):
    """Capitals, and accents in two ways: each keeps its id, and where the results lie on a disk that takes them for one
    the run stops (see the pipeline)."""
    touch(tmp_path, "a.svs", "A.tif", "M\u00fc.svs", "Mu\u0308.tif")
    if len(list(tmp_path.iterdir())) < 4:
        pytest.skip("this file system takes them for one")
    assert len({s.slide_id for s in find_slides(tmp_path)}) == 4
    assert caplog.text.count("have names that differ only in capitals or in how accents are written") == 2
