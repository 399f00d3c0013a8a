"""A row of a table never reaches another slide than the one that it names."""

import logging
import os
import random
import shutil
import unicodedata

import pytest
from empty_files import touch

from bundle.cohort import SlideTable, find_slides
from bundle.cohort.slide_names import TableNames
from bundle.core import BundleError

N_DRAWS = int(os.environ.get("SLPD_NAME_DRAWS", "200"))  # 2,000 before a release
FOLDERS = ["", "", "x", "y", "x/y", "S1", "x__y"]
STEMS = ["S1", "S1.1", "S1.2", "a", "a.tif", "x__a", "y__a", "S1.svs", "a__svs", "M\u00fcller", "Mu\u0308ller", "A"]
SUFFIXES = [".svs", ".tif", ".ndpi"]


def found(names, slide_id, path=None):
    """The name under which a table of these names has a slide."""
    hit = TableNames(names, "t.csv").find(slide_id, path)
    return hit and hit.name


def test_dots_are_part_of_names():
    """`S1.2` is another slide than `S1`; only suffixes of slides and features are not part of it."""
    assert found(["S1.1", "S1.2"], "S1", "S1.tif") is None and found(["S1.1", "S1.2"], "S1") is None
    assert found(["S1.2"], "S1.2", "f/S1.2.svs") == "S1.2" and found(["S1.2.svs"], "S1.2") == "S1.2.svs"
    assert found(["S1.H5"], "S1") == "S1.H5" and found(["S1.ndpi"], "S1", "S1.tif") == "S1.ndpi"


def test_what_names_most_of_the_path_counts():
    """Id before path, the longer path before the shorter; a relative path of another folder is another file's."""
    names = ["a.svs", "y/a.svs", "x/y/a.svs"]
    assert found(names, "a", "/data/x/y/a.svs") == "x/y/a.svs"
    assert found(names, "a", "/data/q/y/a.svs") == "y/a.svs"
    assert found(names, "a", "/data/q/a.svs") == "a.svs"
    assert found([*names, "a"], "a", "/data/x/y/a.svs") == "a"
    assert found(["x/a.svs"], "a", "/data/q/a.svs") is None
    assert found(["/old/x/a.svs"], "a", "/data/q/a.svs") == "/old/x/a.svs", "a path of another machine"
    assert found(["x\\a.svs"], "x__a", "/data/x/a.svs") == "x\\a.svs", "a path as Windows writes it"
    assert found(["x/a.svs"], "x__a") == "x/a.svs", "by the id, where no path is known"


def test_two_rows_for_one_slide_are_refused():
    """Both are named, and the way out."""
    with pytest.raises(BundleError, match=r"t.csv: the rows 'a.svs' and 'a.tif' may each be that of slide a; keep one"):
        found(["a.svs", "a.tif"], "a")
    assert found(["a.svs", "a.tif"], "a__tif", "a.tif") == "a.tif"


def test_accents_may_be_written_in_either_way():
    """A Mac writes letter and accent apart; a table that does not still finds the slide."""
    composed, apart = (unicodedata.normalize(form, "M\u00fcller") for form in ("NFC", "NFD"))
    assert composed != apart
    assert found([composed], apart, f"{apart}.svs") == composed and found([apart], composed) == apart


def test_a_series_is_found_by_its_folder():
    """Instances of all series have the same names: `0001.dcm` says nothing, the folder does."""
    path = "/data/series/0001.dcm"
    assert found(["0001.dcm"], "series", path) is None
    for name in ("series", "series/0001.dcm"):
        assert found([name], "series", path) == name


def cohort(rng, folder):
    """Files that look like one another, some of them in folders."""
    shutil.rmtree(folder, ignore_errors=True)
    names = {f"{rng.choice(FOLDERS)}/{rng.choice(STEMS)}{rng.choice(SUFFIXES)}" for _ in range(rng.randint(2, 9))}
    return find_slides(touch(folder, *(name.lstrip("/") for name in names)))


def plain(name):
    """A name in one way of writing accents."""
    return unicodedata.normalize("NFC", name)


def meaning(name, slides, root):
    """The slides that a name is of, said slowly: an id, else a path, else a file's name."""
    for key in (
        lambda slide: {slide.slide_id},
        lambda slide: {slide.path.relative_to(root).as_posix(), str(slide.path)},
        lambda slide: {slide.path.name},
    ):
        of = [slide.slide_id for slide in slides if plain(name) in map(plain, key(slide))]
        if of:
            return of
    return []


def rows_of(rng, slides, root):
    """A table of some slides and some strangers: what stands in a row is whose it is."""
    rows = {}
    for slide in rng.sample(slides, rng.randint(1, len(slides))):
        relative = slide.path.relative_to(root).as_posix()
        name = rng.choice([slide.slide_id, slide.path.name, relative, str(slide.path)])
        if meaning(name, slides, root) == [slide.slide_id]:
            rows.setdefault(name, slide.slide_id)
    strangers = {f"q/{rng.choice(STEMS)}.svs", f"other{rng.randint(0, 9)}.svs", f"S1.{rng.randint(3, 9)}"}
    for name in strangers:
        rows.setdefault(name, "stranger")
    return rows


def wrong(table, slides, owners):
    """Slides whose row is another's, and slides that lost theirs."""
    got = {slide.slide_id: table.row(slide.slide_id, slide.path).values.get("owner", "") for slide in slides}
    return {i: owner for i, owner in got.items() if owner not in ("", i)}, [i for i in owners if not got[i]]


@pytest.mark.parametrize("names_only", [False, True])
def test_a_row_never_reaches_another_slide(tmp_path, request, names_only):
    """Random cohorts of look-alikes, random ways of naming them: each slide has its own row, or the table is refused.

    Where only files' names are known, as after tokenizing, a row may be missed, and a relative path of a file that is
    none of the cohort's cannot be told from one of it.
    """
    rng, n_refused, n_missed, n_rows = random.Random(7), 0, 0, 0
    logging.disable(logging.WARNING)
    request.addfinalizer(lambda: logging.disable(logging.NOTSET))
    for _ in range(N_DRAWS):
        try:
            slides = cohort(rng, tmp_path / "slides")
        except BundleError as error:
            assert "two slides would have the id" in str(error)
            continue
        rows = rows_of(rng, slides, tmp_path / "slides")
        rows = {name: owner for name, owner in rows.items() if not (names_only and name.startswith("q/"))}
        (tmp_path / "t.csv").write_text("slide,owner\n" + "".join(f"{n},{o}\n" for n, o in rows.items()), "utf-8")
        table = SlideTable.read(tmp_path / "t.csv")
        owners = [owner for owner in rows.values() if owner != "stranger"]
        try:
            if names_only:
                table.match([slide.slide_id for slide in slides], [slide.path.name for slide in slides])
            else:
                find_slides(tmp_path / "slides", table)
            others, missed = wrong(table, slides, owners)
        except BundleError:
            n_refused += 1
            continue
        assert not others, (
            others,
            rows,
            [f"{s.slide_id} {s.relative}{s.path.suffix}" for s in slides if "S1" in s.slide_id],
        )
        assert names_only or not missed, (missed, rows, {s.slide_id: s.relative for s in slides})
        n_missed, n_rows = n_missed + len(missed), n_rows + len(owners)
    assert n_rows > N_DRAWS and n_refused < N_DRAWS // 5 and n_missed < n_rows // 4


def test_namesakes_share_a_row_that_gives_only_their_name(tmp_path, caplog):
    """That is said; a row with the whole path of one of them is its alone."""
    touch(tmp_path, "one/x.svs", "two/x.svs", "x.svs")
    table = tmp_path / "t.csv"
    table.write_text("slide,mpp\nx.svs,0.25\n")
    rows = SlideTable.read(table)
    found = find_slides(tmp_path, rows)
    assert {s.slide_id: rows.row(s.slide_id, s.path).mpp for s in found} == {"x": 0.25, "one__x": None, "two__x": None}
    assert "2 slides have no row, such as one__x, two__x" in caplog.text
    (tmp_path / "x.svs").unlink()
    find_slides(tmp_path, SlideTable.read(table))
    assert "the row x.svs is that of 2 slides, one__x, two__x: each file has that name" in caplog.text


def test_what_matched_how_is_said(tmp_path, caplog):
    """Counts by the way of matching, rows without a slide and slides without a row by name."""
    caplog.set_level("INFO")
    touch(tmp_path, "a.svs", "b.svs", "x/c.svs", "d.svs")
    (tmp_path / "t.csv").write_text("slide\na\nb.svs\nx/c.svs\nstranger\n")
    find_slides(tmp_path, SlideTable.read(tmp_path / "t.csv"))
    assert "3 of 4 slides have a row (1 by id, 1 by file name, 1 by path)" in caplog.text
    assert "1 rows match no slide, such as stranger" in caplog.text
    assert "1 slides have no row, such as d" in caplog.text
