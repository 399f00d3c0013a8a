"""Tiles without bytes: filled from the finer level, background where no level has them, and counted."""

import numpy as np
import pytest
import tifffile
from pyramids import READERS, overwrite, write_pyramid
from tiny_slides import draw_tissue

from bundle.cohort import TOKENIZED, SlideOutcome
from bundle.core import SlideError
from bundle.slides import ReadSettings, SlideRegions, open_slide

HOW = {"mpp": 2.0, "patch_size": 16, "region_patches": 4, "min_tissue_patches": 1}
PICTURE = draw_tissue(640)
APERIO = "Aperio Image Library v1\n640x640 (32x32)|AppMag = 5|MPP = 2.0"


def punched(path, level, tiles):
    """Take the bytes of some tiles of a level away."""
    with tifffile.TiffFile(path) as file:
        tag = file.series[0].levels[level].keyframe.tags["TileByteCounts"]
        place, n_bytes = tag.valueoffset, {3: 2, 4: 4, 16: 8}[int(tag.dtype)]
    for tile in tiles:
        overwrite(path, place + tile * n_bytes, bytes(n_bytes))
    return path


def written(path):
    """Three levels of tiles of 32 px: 400, 100, 25; an .svs as Aperio writes it, with a thumbnail after the first."""
    is_aperio = path.suffix == ".svs"
    tags = {"description": APERIO} if is_aperio else {"resolution": (5000.0, 5000.0), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as file:
        for factor in (1, 2, 4):
            level = PICTURE.reshape(640 // factor, factor, 640 // factor, factor, 3).mean((1, 3)).astype(np.uint8)
            how = {"compression": "jpeg", "compressionargs": {"level": 95}, "photometric": "rgb", "metadata": None}
            file.write(level, tile=(32, 32), subfiletype=int(factor > 1 and not is_aperio), **tags, **how)
            if factor == 1 and is_aperio:
                file.write(level[::8, ::8], **tags, **how)
    return path


@pytest.mark.parametrize(
    ("reader", "suffix"), [("cucim", ".svs"), ("openslide", ".tif"), ("tifffile", ".svs"), ("tifffile", ".tif")]
)
def test_a_small_level_is_filled_from_the_large_one(tmp_path, reader, suffix):
    """Without any tile of its own, or with some, it shows what it would; it was white, and its tissue lost."""
    sound_file = written(tmp_path / f"sound{suffix}")
    with open_slide(sound_file, reader=reader) as sound:
        expected = [sound.read(0, 0, 640 // factor, 640 // factor, 2.0 * factor)[0] for factor in (2, 4)]
    path = punched(written(tmp_path / f"a{suffix}"), 2, range(25))
    punched(path, 1, [0, 17, 55, 99])
    with open_slide(path, reader=reader) as slide:
        for factor, whole in zip((2, 4), expected, strict=True):
            found = slide.read(0, 0, 640 // factor, 640 // factor, 2.0 * factor)[0].astype(int)
            assert abs(found - whole).mean() < 2
        part = slide.read(100, 212, 60, 70, 8.0)[0]
        assert abs(part.astype(int) - expected[1][53:123, 25:85]).mean() < 3 and slide.nowhere(8.0)[1] == 0
        how = ReadSettings(**HOW)
        mask = SlideRegions(slide, how).grid.mask
    with open_slide(sound_file, reader=reader) as sound:
        assert (SlideRegions(sound, how).grid.mask != mask).mean() < 0.04, "noise of twice JPEG at the border"


def test_readers_fill_alike(tmp_path):
    """The same px from each, read whole and in patches from tiles."""
    path = punched(written(tmp_path / "a.svs"), 1, range(0, 100, 3))
    found = []
    for reader in ("cucim", "tifffile"):
        with open_slide(path, reader=reader) as slide:
            cells = np.argwhere(np.ones((4, 4), bool))
            patches = np.empty((16, 48, 48, 3), np.uint8)
            slide.read_patches(64.0, 64.0, cells, 48, 4.0, patches)
            whole = slide.read(64.0, 64.0, 192, 192, 4.0)[0]
            parts = whole.reshape(4, 48, 4, 48, 3).swapaxes(1, 2).reshape(16, 48, 48, 3)
            np.testing.assert_array_equal(patches, parts)
            found.append(patches)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("reader", READERS)
def test_what_no_level_shows_is_background_and_counted(tmp_path, caplog, reader):
    """Tiles that are missing at level 0 hold no patch, even where a coarser level would show tissue there."""
    rows, columns = np.divmod(np.arange(400), 20)
    gone = np.flatnonzero((rows >= 8) & (rows < 12))
    path = punched(written(tmp_path / "a.tif"), 0, gone.tolist())
    regions = SlideRegions(open_slide(path, reader=reader), ReadSettings(**HOW))
    planned = np.zeros((40, 40), bool)
    for (x, y), mask in zip(regions.grid.coords, regions.grid.mask, strict=True):
        planned[y // 16 : y // 16 + 4, x // 16 : x // 16 + 4] = mask
    assert not planned[16:24].any() and planned[12:16].any() and planned[24:28].any()
    assert regions.missing_tiles == regions.attributes["missing_tiles"] == len(gone) == 80
    assert "its file leaves out 80 tiles, which are background" in caplog.text
    lost, n = regions.slide.nowhere(4.0, (40, 40))
    assert n == 0 and not lost.any(), "level 1 has them all"
    regions.close()


def test_openslide_is_not_asked_for_what_it_hides(tmp_path):
    """It makes no level of Aperio's where a finer one misses tiles, and read it as white; the others have it."""
    path = punched(written(tmp_path / "a.svs"), 2, [3, 7])
    with open_slide(path, reader="openslide") as slide, open_slide(path, reader="tifffile") as other:
        found, expected = (each.read(0, 0, 160, 160, 8.0)[0].astype(int) for each in (slide, other))
        assert abs(found - expected).mean() < 2
    punched(path, 0, range(200))
    with pytest.raises(SlideError, match="OpenSlide shows no smaller level, even if that has it.*try the reader auto"):
        open_slide(path, reader="openslide")
    with open_slide(path) as slide:
        assert slide.reader == "cucim" and slide.read(0, 0, 320, 320, 4.0)[0].mean() < 230


def test_missing_in_two_levels_is_what_both_miss(tmp_path):
    """A tile of level 1 lies over four of level 0; where one of these is there, only three quarters are lost."""
    path = punched(punched(written(tmp_path / "a.svs"), 1, [0, 5]), 0, [0, 1, 20])
    with open_slide(path) as slide:
        lost, n = slide.nowhere(4.0, (20, 20))
        assert n == 1 and lost.sum() == 3 and lost[0, :2].all() and lost[1, 0]
        picture = slide.read(0, 0, 32, 32, 4.0)[0]
        assert (picture[:16] == 255).all() and (picture[16:, 16:] != 255).any()


def test_a_slide_that_is_whole_says_nothing(tmp_path):
    """Its token file is as before; tables of before, without the column, are still read."""
    regions = SlideRegions(open_slide(write_pyramid(tmp_path / "a.tif", PICTURE, 2.0)), ReadSettings(**HOW))
    assert {"missing_tiles", "pixel_aspect", "icc_profile"}.isdisjoint(regions.attributes)
    regions.close()
    TOKENIZED.write([SlideOutcome("a", "done", missing_tiles=7)], tmp_path / "slides.csv")
    assert TOKENIZED.read(tmp_path / "slides.csv")[0].missing_tiles == 7
    (tmp_path / "slides.csv").write_text(
        "slide,status,regions,patches,seconds,reader,mpp,error\na,done,1,2,3,cucim,,\n"
    )
    assert TOKENIZED.read(tmp_path / "slides.csv")[0].missing_tiles == 0
