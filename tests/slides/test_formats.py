"""Which reader may read which file follows from its format; what is refused says what it is and what to do."""

import io
import sys
import zipfile

import numpy as np
import pytest
import tifffile
from PIL import Image
from pyramids import write_pyramid

from bundle.cohort import find_slides
from bundle.core import SlideError
from bundle.slides import formats, open_slide
from bundle.slides.first_page import first_page
from bundle.slides.recognizing import recognized
from scripts.pins import formats_table
from scripts.pins.dicom_files import write_wsi

PICTURE = (np.random.default_rng(0).integers(90, 220, (26, 30, 3)).repeat(10, 0).repeat(10, 1)).astype(np.uint8)
OME = '<?xml version="1.0"?><OME><Image><Pixels PhysicalSizeX="0.5"/></Image></OME>'
PHILIPS = '<?xml version="1.0"?><DataObject ObjectType="DPUfsImport"></DataObject>'


def jpeg():
    """A picture's file."""
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, "JPEG")
    return file.getvalue()


def packed():
    """A slide in an archive."""
    file = io.BytesIO()
    zipfile.ZipFile(file, "w").writestr("a.svs", b"slide")
    return file.getvalue()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, formats.TIFF),
        ({"description": "Aperio Image Library v11\n|MPP = 0.5"}, formats.SVS),
        ({"description": OME}, formats.OME),
        ({"description": PHILIPS, "software": "Philips DP v1.0"}, formats.PHILIPS),
        ({"software": "PerkinElmer-QPI"}, formats.QPTIFF),
        ({"software": "MedScan"}, formats.TRESTLE),
        ({"description": '<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"></scn>'}, formats.SCN),
        ({"extratags": [(700, 1, 25, b'<x><iScan Magnification="', True)]}, formats.BIF),
        ({"extratags": [(65420, 4, 1, 1, True), (271, 2, 9, "Hamamatsu", True)]}, formats.NDPI),
    ],
)
def test_a_tiff_is_known_by_what_it_says(tmp_path, options, expected):
    """Its name does not count."""
    path = write_pyramid(tmp_path / "a.svs", PICTURE, None, factors=(1,), **options)
    assert recognized(path) is expected


@pytest.mark.parametrize("how", [{"bigtiff": True}, {"byteorder": ">"}, {"bigtiff": True, "byteorder": ">"}])
def test_tiff_has_four_ways_of_writing(tmp_path, how):
    """Long offsets or short, either end first: the first page says the same."""
    options = {"description": "Aperio x", "software": "a", "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.tif", **how) as file:
        file.write(PICTURE, tile=(128, 128), **options)
    page = first_page(tmp_path / "a.tif")
    assert (page.description, page.software, page.xmp, page.is_ome) == ("Aperio x", "a", "", False)
    assert {256, 322, 324} < page.tags and recognized(tmp_path / "a.tif") is formats.SVS


def test_ndpi_beyond_four_gigabytes(tmp_path):
    """Its first page lies where TIFF's own offsets do not reach; it passed for a damaged file."""
    path, place = tmp_path / "a.ndpi", (1 << 32) + 64
    with path.open("wb") as file:  # sparse: it takes no room
        file.write(b"II*\0" + place.to_bytes(8, "little"))
        file.seek(place)
        file.write(b"".join([(1).to_bytes(2, "little"), (65420).to_bytes(2, "little"), (3).to_bytes(2, "little")]))
        file.write((1).to_bytes(4, "little") * 2)
    assert recognized(path) is formats.NDPI


def test_other_formats_are_known_by_how_they_begin(tmp_path):
    """With an extension that says something else, or none."""
    begins = {
        b"ZISRAWFILE": formats.CZI,
        b"SQLite format 3\0": formats.SVSLIDE,
        b"[Virtual Microscope Specimen]\n": formats.VMS,
        b"[Uncompressed Virtual Microscope Specimen]\n": formats.VMS,
        b"hello": formats.UNKNOWN,
        jpeg(): formats.JPEG,
        packed(): formats.PACKED,
    }
    for begin, expected in begins.items():
        (tmp_path / "a").write_bytes(begin + bytes(200))
        assert recognized(tmp_path / "a") is expected, begin[:20]
    assert recognized(write_wsi(tmp_path / "b", PICTURE, "1.2.3")) is formats.DICOM


@pytest.mark.parametrize("reader", ["auto", "cucim", "openslide", "tifffile"])
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.vsi", None, "it is Olympus VSI, which is not read here: convert it to OME-TIFF with bioformats2raw"),
        ("a.isyntax", b'<DataObject ObjectType="DPUfsImport">', "it is Philips iSyntax, .*: export it as TIFF"),
        ("a.jpg", jpeg(), "it is JPEG, which is not read here: it is a picture and no slide"),
        ("a.svs", packed(), "it is a packed archive, .*: unpack it"),
        ("a.mrxs", jpeg(), "its folder a with Slidedat.ini, in which all of its pixels lie, is not beside it"),
        ("a.ndpi", None, "by its name it is Hamamatsu NDPI, and it has none of that format's marks"),
        ("a.scn", None, "by its name it is Leica SCN"),
        ("a.dcm", b"no DICOM", "it has no format that is known here; it is damaged, cut short or no slide"),
    ],
)
def test_what_is_not_read_is_named(tmp_path, reader, name, content, said):
    """VSI is a TIFF with a thumbnail, and NDPI without its marks passes for one: both were read by the next reader."""
    if content is None:
        write_pyramid(tmp_path / name, PICTURE)
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SlideError, match=rf"slide a: {name} cannot be opened: {said}"):
        open_slide(tmp_path / name, reader=reader, default_mpp=0.5)


@pytest.mark.parametrize(
    ("options", "reader", "said"),
    [
        ({"software": "MedScan"}, "tifffile", "it is Trestle TIFF, and tifffile does not know where its overlapping"),
        ({"software": "PerkinElmer-QPI"}, "cucim", "it is Akoya QPTIFF, and cucim takes its thumbnail for a level"),
    ],
)
def test_a_reader_that_is_known_to_fail_is_refused(tmp_path, options, reader, said):
    """By name, with those that may read the file."""
    path = write_pyramid(tmp_path / "a.tif", PICTURE, factors=(1,), **options)
    with pytest.raises(SlideError, match=f"{said}.*: choose the reader auto or"):
        open_slide(path, reader=reader)
    with pytest.raises(SlideError, match="it is DICOM, and tifffile reads TIFF alone: choose the reader auto or opens"):
        open_slide(write_wsi(tmp_path / "b.dcm", PICTURE, "1.2.3"), reader="tifffile")


def test_a_file_that_its_own_reader_refuses_is_refused(tmp_path, monkeypatch):
    """An SVS that OpenSlide refused fell to tifffile; without OpenSlide it still does."""
    description = "Aperio Image Library v11\n|MPP = 0.25"
    path = write_pyramid(tmp_path / "a.svs", PICTURE, None, compression="lzma", factors=(1,), description=description)
    openslide = pytest.importorskip("openslide")

    def refuse(path):
        raise openslide.OpenSlideError("the levels of this file contradict one another")

    monkeypatch.setattr(openslide, "OpenSlide", refuse)
    said = r"slide a: a.svs \(Aperio SVS\) cannot be opened \(cucim: .*; openslide: the levels [^;]*\)"
    with pytest.raises(SlideError, match=said):
        open_slide(path)
    with open_slide(path, reader="tifffile") as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 300, 260, 0.25)[0], PICTURE)
    monkeypatch.setitem(sys.modules, "openslide", None)
    with open_slide(path) as slide:
        assert (slide.reader, slide.mpp) == ("tifffile", 0.25)


@pytest.mark.parametrize("codec", ["lzma", "webp", "jpegxl"])
def test_a_codec_that_its_own_reader_lacks_says_nothing_of_the_file(tmp_path, codec):
    """Then another reader of the format is asked."""
    description = "Aperio Image Library v11\n|MPP = 0.25"
    path = write_pyramid(tmp_path / "a.svs", PICTURE, None, compression=codec, factors=(1,), description=description)
    with open_slide(path) as slide:
        found = slide.read(0, 0, 300, 260, 0.25)[0]
        assert (slide.reader, slide.mpp) == ("tifffile", 0.25)
    assert np.abs(found.astype(int) - PICTURE).mean() < 12
    with pytest.raises(SlideError, match="Unsupported TIFF compression"):
        open_slide(path, reader="openslide")


def test_the_reader_that_sees_all_levels_is_taken(tmp_path):
    """Levels in SubIFDs, as OME has them, are seen by tifffile alone: a thumbnail took all of level 0."""
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        options = {"tile": (128, 128), "photometric": "rgb", "compression": "jpeg"}
        file.write(PICTURE, subifds=2, metadata={"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}, **options)
        for step in (2, 4):
            file.write(np.ascontiguousarray(PICTURE[::step, ::step]), subfiletype=1, **options)
    with open_slide(path) as slide:
        assert (slide.reader, slide.level_downsamples) == ("tifffile", [1, 2, 4])
    with open_slide(path, reader="openslide") as slide:
        assert (slide.reader, slide.level_downsamples) == ("openslide", [1])


def test_formats_that_are_not_read_are_named_beside_others(tmp_path, caplog):
    """A VSI in a folder of slides was left out without a word."""
    write_pyramid(tmp_path / "a.tif", PICTURE)
    (tmp_path / "b.vsi").write_bytes(b"II*\0")
    assert [ref.slide_id for ref in find_slides(tmp_path)] == ["a"]
    assert "1 files are Olympus VSI, which is not read here" in caplog.text


def test_the_page_shows_what_was_tried():
    """docs/slides.md holds the rows that `scripts/formats` makes of small files today, of every reader."""
    pytest.importorskip("cucim")
    page = formats_table.PAGE.read_text(encoding="utf-8")
    rows = formats_table.as_table(formats_table.small_rows())
    assert page.split(f"{formats_table.BEGIN}\n")[1].startswith(rows), "scripts/formats --write"
