"""Three libraries, one answer: pixels, resolution, errors."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from pyramids import READERS, write_pyramid
from scipy import ndimage

from bundle.core import SlideError
from bundle.slides import open_slide

OME = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
    'DimensionOrder="XYCZT" Type="uint8" SizeX="600" SizeY="520" SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="{}" '
    'PhysicalSizeY="{}"{}><Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData/></Pixels></Image></OME>'
)


@pytest.fixture(scope="module")
def textured():
    """RGB [520, 600, 3], smooth noise."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(520, 600, 3)), (2, 2, 0))
    return (noise / noise.std() * 40 + 150).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("rectangle", [(0, 0, 300, 200, 0.5), (-50, -70, 900, 800, 0.5), (101, 203, 300, 280, 1.3)])
def test_readers_agree_on_a_real_slide(real_slide, rectangle):
    """Inside, across the border and resampled: the same pixels, to the bit, whoever reads."""
    pictures = []
    for reader in READERS:
        with open_slide(real_slide, reader=reader) as slide:
            assert slide.reader == reader and (slide.width, slide.height) == (2220, 2967) and slide.mpp == 0.499
            pictures.append(slide.read(*rectangle))
    for picture, inside in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0][0])
        np.testing.assert_array_equal(inside, pictures[0][1])


@pytest.mark.parametrize("mpp", [0.5, 0.8, 1.0, 2.0, 3.0])
def test_readers_agree_on_a_pyramid(textured, tmp_path, mpp):
    """Every level, and what is resampled from it, is the same for all readers."""
    path = write_pyramid(tmp_path / "a.tif", textured, tile=(128, 128))
    pictures = []
    for reader in READERS:
        with open_slide(path, reader=reader) as slide:
            assert slide.level_downsamples == [1, 2, 4]
            pictures.append(slide.read(36, 52, 90, 80, mpp)[0])
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0], pictures[2])


def test_a_missing_tile_is_white(textured, tmp_path):
    """A tile that the file leaves out is white for all readers; cuCIM alone would give black."""

    def tiles():
        for row in range(4):
            for column in range(4):
                tile = np.ascontiguousarray(textured[row * 128 : row * 128 + 128, column * 128 : column * 128 + 128])
                yield None if (row, column) == (2, 1) else tile

    path = tmp_path / "a.tif"
    shape = {"shape": (512, 512, 3), "dtype": "uint8", "tile": (128, 128), "photometric": "rgb"}
    tifffile.imwrite(path, tiles(), compression="jpeg", metadata=None, **shape)
    for reader in READERS:
        with open_slide(path, reader=reader, default_mpp=0.5) as slide:
            picture, _ = slide.read(100, 200, 200, 250, 0.5)
        assert (picture[56:184, 28:156] == 255).all()
        assert picture[:56].mean() < 200 and picture[:, 156:].mean() < 200


@pytest.mark.parametrize("compression", ["zlib", None])
def test_auto_takes_the_first_reader_that_fits(textured, tmp_path, compression):
    """JPEG goes to cuCIM; compressions in which damage would end its process go to the next reader."""
    path = write_pyramid(tmp_path / "a.tif", textured, compression=compression)
    with open_slide(path) as slide:
        assert slide.reader == "openslide"
        np.testing.assert_array_equal(slide.read(0, 0, 600, 520, 0.5)[0], textured)
    with open_slide(write_pyramid(tmp_path / "b.tif", textured)) as slide:
        assert slide.reader == "cucim"
    with pytest.raises(SlideError, match="JPEG and JPEG 2000 alone.*try the reader auto"):
        open_slide(path, reader="cucim")


def test_a_library_that_is_missing_is_passed_over(textured, tmp_path, monkeypatch):
    """Without cuCIM and OpenSlide, tifffile reads; a reader asked for by name is named in the error."""
    path = write_pyramid(tmp_path / "a.tif", textured)
    for module in ("cucim", "openslide"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with open_slide(path) as slide:
        assert slide.reader == "tifffile"
    with pytest.raises(SlideError, match="OpenSlide cannot be imported"):
        open_slide(path, reader="openslide")
    with pytest.raises(SlideError, match="no reader 'bioformats': choose auto, cucim, openslide, tifffile"):
        open_slide(path, reader="bioformats")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("Aperio Image Library v1\n600x520 (256x256) JPEG|AppMag = 20|MPP = 0.4990", 0.499),
        (OME.format(0.25, 0.25, ""), 0.25),
        (OME.format(250, 250, ' PhysicalSizeXUnit="nm"'), 0.25),
        ('<OME><Image><Pixels PhysicalSizeX="0.25" PhysicalSizeY="0.25"/></Image></OME>', 0.25),
    ],
)
def test_resolution_in_the_description(textured, tmp_path, reader, description, expected):
    """Aperio's MPP and OME's PhysicalSizeX are read, by every reader alike."""
    path = write_pyramid(tmp_path / "a.tif", textured, None, factors=(1,), description=description)
    with open_slide(path, reader=reader) as slide:
        assert slide.mpp == pytest.approx(expected)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        (20000.0, "CENTIMETER", 0.5),
        (50800.0, "INCH", 0.5),
        (72.0, "INCH", None),
        (300.0, "INCH", None),
        (1.0, "NONE", None),
    ],
)
def test_resolution_in_the_tags(textured, tmp_path, reader, resolution, unit, expected):
    """TIFF's tags are believed where they are a microscope's; 72 or 300 dpi are a screen's or a printer's."""
    tags = {"resolution": (resolution, resolution), "resolutionunit": unit}
    path = write_pyramid(tmp_path / "a.tif", textured, None, factors=(1,), **tags)
    if expected is None:
        with pytest.raises(SlideError, match=r"slide a: .*--default_mpp.*column mpp of the slide table"):
            open_slide(path, reader=reader)
    with open_slide(path, reader=reader, default_mpp=0.3) as slide:
        assert slide.mpp == pytest.approx(expected or 0.3)
    with open_slide(path, reader=reader, mpp=0.7, default_mpp=0.3) as slide:
        assert slide.mpp == 0.7


@pytest.mark.parametrize("mpp", [0.0, -1.0, 0.005, 25.0, float("nan"), float("inf")])
def test_absurd_resolutions_are_refused(textured, tmp_path, mpp):
    """No slide has them, whoever claims so."""
    path = write_pyramid(tmp_path / "a.tif", textured, None, factors=(1,))
    for given in ({"mpp": mpp}, {"default_mpp": mpp}):
        with pytest.raises(SlideError, match="slide a: .* which no slide has"):
            open_slide(path, **given)
    path = write_pyramid(tmp_path / "b.tif", textured, None, factors=(1,), description="Aperio \n|MPP = 0.0001")
    with pytest.raises(SlideError, match="slide b: its file says 0.0001 um/px"):
        open_slide(path)


def test_slides_are_opened_by_cucim_one_after_the_other(textured, tmp_path, monkeypatch):
    """Threads that open a process's first slides at once: cuCIM, which may crash there, sees one at a time."""
    import cucim

    path = write_pyramid(tmp_path / "a.tif", textured, tile=(128, 128))
    original, begun, at_once, meeting = cucim.CuImage, [], [], threading.Barrier(4)

    def slow(name):
        begun.append(name)
        at_once.append(len(begun))
        time.sleep(0.02)
        image = original(name)
        begun.remove(name)
        return image

    def read(_):
        meeting.wait()
        with open_slide(path, reader="cucim") as slide:
            return slide.read(36, 52, 90, 80, 0.5)[0]

    monkeypatch.setattr(cucim, "CuImage", slow)
    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(read, range(4)))
    assert at_once == [1, 1, 1, 1]
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)


def test_native_libraries_stay_silent(real_slide, textured, tmp_path, capfd):
    """Nothing reaches the console: not from reading, not from a file cut short, not from one that is no slide."""
    cut = write_pyramid(tmp_path / "cut.tif", textured)
    cut.write_bytes(cut.read_bytes()[:20000])
    (tmp_path / "text.tif").write_text("no slide")
    for reader in (*READERS, "auto"):
        with open_slide(real_slide, reader=reader) as slide:
            slide.read(0, 0, 600, 600, 0.5)
        for name in ("cut.tif", "text.tif"):
            with pytest.raises(SlideError):
                open_slide(tmp_path / name, reader=reader, default_mpp=0.5).read(0, 0, 600, 520, 0.5)
    assert capfd.readouterr() == ("", "")
