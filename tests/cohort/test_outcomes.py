"""The table of slides: nothing lost on the way to the file, what matters first on the console."""

import math

import pytest

from bundle.cohort import EMBEDDED, MAPPED, TOKENIZED, SlideOutcome
from bundle.core import BundleError

ROWS = [
    SlideOutcome("b", "done", regions=12, patches=2300, seconds=4.26, reader="cucim", mpp=0.2528),
    SlideOutcome("a, or A", "failed", error='no mpp; set "default_mpp"\nor a table'),
    SlideOutcome("c", "skipped", regions=3, reader="openslide", mpp=0.5),
]


def test_rows_survive_the_file(tmp_path):
    """Commas, quotes, line breaks and unknown mpp come back as they were, sorted by slide; no part file remains."""
    TOKENIZED.write(ROWS, tmp_path / "deep" / "slides.csv")
    read = TOKENIZED.read(tmp_path / "deep" / "slides.csv")
    assert [row.slide for row in read] == ["a, or A", "b", "c"]
    assert read[0].error == ROWS[1].error and math.isnan(read[0].mpp)
    assert read[1] == ROWS[0] and read[2] == ROWS[2]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["slides.csv"]


def test_columns_are_the_table_s_own(tmp_path):
    """Headers and cells to the letter; columns of the slide table follow those of the index."""
    rows = [
        SlideOutcome("b", "done", 2, 9, 1, 0.126, "cucim", 0.25281234, "b.tiff;b.png", "embeddings/b.h5"),
        SlideOutcome("a", "failed", error="bad", values={"label": "benign", "file": "x"}),
    ]
    wanted = {
        TOKENIZED: [
            "slide,status,regions,patches,missing_tiles,seconds,reader,mpp,error,label",
            "b,done,2,9,0,0.13,cucim,0.252812,,",
        ],
        EMBEDDED: ["slide,status,regions,prototypes,mpp,file,error,label", "b,done,2,1,0.252812,embeddings/b.h5,,"],
        MAPPED: [
            "slide,status,regions,prototypes,seconds,maps,file,error,label",
            "b,done,2,1,0.13,b.tiff;b.png,embeddings/b.h5,,",
        ],
    }
    for table, (header, line) in wanted.items():
        table.write(rows, tmp_path / "x.csv")
        lines = (tmp_path / "x.csv").read_text().splitlines()
        assert lines[0].startswith(header) and lines[2].startswith(line)
        assert table.read(tmp_path / "x.csv")[0].values["label"] == "benign"


def test_other_slides_keep_their_lines(tmp_path):
    """Where it is asked for, a run on some slides leaves the rest as it is; a file of something else is replaced."""
    path = tmp_path / "maps.csv"
    path.write_text("what,else\n1,2\n")
    MAPPED.write(ROWS, path, keeps_others=True)
    before = MAPPED.read(path)
    MAPPED.write([SlideOutcome("c", "failed", error="gone")], path, keeps_others=True)
    after = MAPPED.read(path)
    assert str(after[:2]) == str(before[:2]) and (after[2].slide, after[2].error, len(after)) == ("c", "gone", 3)
    with pytest.raises(BundleError, match="maps.csv is no table of slides .*configs/tokenize.yaml writes one"):
        TOKENIZED.read(path)


def test_the_console_shows_failures_first():
    """Counts, then failed slides with their reasons, then the others, cut where it gets long."""
    lines = TOKENIZED.text(ROWS * 20, max_rows=21).splitlines()
    assert lines[0] == "60 slides: 20 failed, 20 done, 20 skipped"
    assert lines[2].startswith("a, or A") and 'set "default_mpp" or a table' in lines[2]
    assert "2,300" in TOKENIZED.text(ROWS) and lines[-1] == "... and 39 more"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    """A file where the folder should be gives an error with the path."""
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="slides.csv cannot be written"):
        TOKENIZED.write(ROWS, tmp_path / "file" / "slides.csv")
