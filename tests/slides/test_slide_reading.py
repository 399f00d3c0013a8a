"""Whether what is stored of a slide was read as a run would read it now."""

import pytest
from tiny_slides import draw_square

from bundle.cohort import SlideRow, SlideTable
from bundle.slides.slide_reading import SlideReading

STORED = {"level0_mpp": 0.25, "mpp_source": "file", "slide_bytes": 5}


@pytest.fixture
def slide(tmp_path):
    """A file of five bytes."""
    (tmp_path / "a.svs").write_bytes(b"slide")
    return tmp_path / "a.svs"


@pytest.mark.parametrize(
    ("stored", "row", "default_mpp", "said"),
    [
        ({}, SlideRow(), None, ""),
        ({}, SlideRow(), 0.5, ""),
        ({}, SlideRow(mpp=0.25 + 1e-9), None, ""),
        ({}, SlideRow(mpp=0.5), None, "it was read at 0.25 um/px, the slide table says 0.5"),
        ({"mpp_source": "default_mpp"}, SlideRow(), 0.5, "it was read at 0.25 um/px, default_mpp is 0.5"),
        ({"mpp_source": "default_mpp"}, SlideRow(), 0.25, ""),
        ({"mpp_source": "default_mpp"}, SlideRow(), None, ""),
        ({"mpp_source": "default_mpp"}, SlideRow(mpp=0.25), 0.5, ""),
        ({"mpp_source": "slide table"}, SlideRow(), 0.5, ""),
        ({"mpp_source": "slide table"}, SlideRow(values={"mpp": ""}), None, "which the slide table says no more"),
        ({"slide_bytes": 6000}, SlideRow(), None, "its file had 6,000 bytes and has 5"),
    ],
)
def test_file_and_scale(slide, stored, row, default_mpp, said):
    """What a run says must be what was done; what it leaves unsaid is no change."""
    change = SlideReading(slide, row, default_mpp).change({**STORED, **stored})
    assert said in change and bool(change) == bool(said)


def test_a_file_of_the_same_size_is_another(slide):
    """An uncompressed slide that takes another's name has as many bytes; a file that is gone is no reason to stop."""
    stored = {**STORED, **SlideReading(slide, SlideRow()).record()}
    assert SlideReading(slide, SlideRow()).change(stored) == ""
    slide.write_bytes(b"Slide")
    assert SlideReading(slide, SlideRow()).change(stored) == "its file has other contents"
    slide.write_bytes(b"slide")
    assert SlideReading(slide, SlideRow()).change(stored) == ""
    slide.unlink()
    assert SlideReading(slide, SlideRow()).change(stored).startswith("its file cannot be read (No such file")


@pytest.mark.parametrize("place", [0, 1 << 19, (1 << 20) - 1])
def test_large_files_are_known_by_samples(tmp_path, place):
    """A byte that differs at the beginning, in the middle or at the end is noticed."""
    (tmp_path / "b.svs").write_bytes(bytes(1 << 20))
    reading = SlideReading(tmp_path / "b.svs", SlideRow())
    stored = reading.record()
    assert reading.change(stored) == ""
    with (tmp_path / "b.svs").open("r+b") as file:
        file.seek(place)
        file.write(b"x")
    assert reading.change(stored) == "its file has other contents"


def test_files_that_record_none_of_it_are_good(slide):
    """Token files of other programs, which know neither bytes nor who named the scale."""
    assert SlideReading(slide, SlideRow(mpp=0.5), 1.0).change({}) == ""


def test_a_region_of_interest_is_known_by_its_contents(slide, tmp_path):
    """Drawn, moved, redrawn, withdrawn, left unsaid, and gone."""
    roi = draw_square(tmp_path / "roi.geojson", 0, 10)
    drawn = SlideReading(slide, SlideRow(roi=roi))
    stored = {**STORED, **drawn.record()}
    assert drawn.change(stored) == ""
    assert drawn.change(STORED).startswith("its region of interest is roi.geojson (sha256 ")
    moved = roi.rename(tmp_path / "moved.geojson")
    assert SlideReading(slide, SlideRow(roi=moved)).change(stored) == ""
    draw_square(moved, 0, 11)
    assert "it was read within roi.geojson (sha256" in SlideReading(slide, SlideRow(roi=moved)).change(stored)
    assert "is roi.geojson (No such file or directory)" in drawn.change(stored)
    withdrawn = SlideReading(slide, SlideRow(values={"slide": "a", "roi": ""}))
    assert "which the slide table names no more" in withdrawn.change(stored) and withdrawn.unsaid(STORED) == ""
    (tmp_path / "table.csv").write_text("slide,label\na,benign\n")
    unsaid = SlideReading(slide, SlideTable.read(tmp_path / "table.csv").row("a"))
    assert unsaid.change(stored) == "" and "roi.geojson (sha256" in unsaid.unsaid(stored)
