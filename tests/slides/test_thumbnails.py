"""Thumbnails by slide id, for reports that must not fail for the lack of a slide."""

from tiny_slides import write_slide

from bundle.cohort import SlideTable
from bundle.slides import Thumbnails


def test_thumbnails_of_slides_at_hand(tmp_path):
    """A slide at hand gives its picture and um/px; one that is absent or broken gives None."""
    write_slide(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes(b"no slide")
    thumbnails = Thumbnails(tmp_path, mpp=4.0)
    picture, mpp = thumbnails("a")
    assert picture.shape == (160, 160, 3) and mpp == 4.0
    assert thumbnails("b") is None and thumbnails("c") is None and Thumbnails(None)("a") is None


def test_the_table_gives_the_resolution(tmp_path):
    """A slide that does not say its resolution needs the table's."""
    write_slide(tmp_path / "a.tif", mpp=None)
    (tmp_path / "t.csv").write_text("slide,mpp\na,2.0\n")
    assert Thumbnails(tmp_path, mpp=4.0)("a") is None
    assert Thumbnails(tmp_path, SlideTable.read(tmp_path / "t.csv"), 4.0)("a")[0].shape == (160, 160, 3)
