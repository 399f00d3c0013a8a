"""The table of slides: nothing lost on the way to the file, what matters first on the console."""

import math

import pytest

from bundle.core import BundleError
from bundle.pipelines import SlideRecord, format_slide_report, read_slide_report, write_slide_report

RECORDS = [
    SlideRecord("b", "done", 12, 2300, 4.26, "cucim", 0.2528),
    SlideRecord("a, or A", "failed", error='no mpp; set "default_mpp"\nor a table'),
    SlideRecord("c", "skipped", 3, 0, 0.0, "openslide", 0.5),
]


def test_records_survive_the_file(tmp_path):
    """Commas, quotes, line breaks and unknown mpp come back as they were, sorted by slide; no part file remains."""
    write_slide_report(RECORDS, tmp_path / "deep" / "slides.csv")
    read = read_slide_report(tmp_path / "deep" / "slides.csv")
    assert [record.slide for record in read] == ["a, or A", "b", "c"]
    assert read[0].error == RECORDS[1].error and math.isnan(read[0].mpp)
    assert read[1] == RECORDS[0] and read[2] == RECORDS[2]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["slides.csv"]


def test_the_console_shows_failures_first():
    """Counts, then failed slides with their reasons, then the others, cut where it gets long."""
    lines = format_slide_report(RECORDS * 20, max_rows=21).splitlines()
    assert lines[0] == "60 slides: 20 failed, 20 done, 20 skipped"
    assert lines[2].startswith("a, or A") and 'set "default_mpp" or a table' in lines[2]
    assert "2,300" in format_slide_report(RECORDS) and lines[-1] == "... and 39 more"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    """A file where the folder should be gives an error with the path."""
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="slides.csv cannot be written"):
        write_slide_report(RECORDS, tmp_path / "file" / "slides.csv")
