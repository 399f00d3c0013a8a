"""Broken files: one error that names the slide, and where; never a crash, never garbage in silence."""

import sys
from pathlib import Path

import numpy as np
import pytest
from pyramids import READERS, overwrite, tile_places, write_pyramid
from scipy import ndimage
from warm import run_python

from bundle.core import SlideError
from bundle.slides import open_slide
from bundle.slides.jpeg_tiles import jpeg_damage

ROOT = Path(__file__).parents[2]


@pytest.fixture
def slide_file(tmp_path):
    """A sound slide: 16 tiles of 128 px at level 0."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(512, 512, 3)), (1, 1, 0))
    return write_pyramid(tmp_path / "a.tif", (noise * 200 + 150).clip(0, 255).astype(np.uint8), tile=(128, 128))


def damaged(path, kind):
    """Damage the tile in row 1, column 1."""
    offset, size = tile_places(path)[5]
    data = path.read_bytes()[offset : offset + size]
    frame = data.index(b"\xff\xc0")
    places = {
        "zeros": (offset, b"\x00" * size),
        "start": (offset, b"\x17\x23"),
        "random half": (offset + size // 2, np.random.default_rng(0).bytes(size // 2)),
        "random middle": (offset + size // 3, np.random.default_rng(0).bytes(size // 3)),
        "lost end": (offset + size // 2, b"\x00" * (size - size // 2)),
        "other size": (offset + frame + 5, b"\x01\x80\x01\x80"),
        "header": (offset + frame, b"\xff\xf7"),
    }
    return overwrite(path, *places[kind])


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["zeros", "start", "random half", "random middle", "lost end", "other size", "header"])
def test_a_damaged_tile_is_an_error(slide_file, reader, kind):
    """The error names the slide, the reader and the rectangle; other places are still read.

    cuCIM used to give garbage for most of these, and to crash the process for the last two.
    """
    damaged(slide_file, kind)
    with open_slide(slide_file, reader=reader) as slide:
        slide.read(256, 256, 128, 128, 0.5)
        with pytest.raises(SlideError, match=rf"slide a \(a.tif\): {reader} cannot decode 60 x 50 px at \(100, 110\)"):
            slide.read(100, 110, 60, 50, 0.5)


def test_a_sound_tile_is_no_damage(slide_file, real_slide):
    """No false alarm on the tiles of a synthetic and of a real slide, nor on padding after their end."""
    for path, size in ((slide_file, 128), (real_slide, 240)):
        data = path.read_bytes()
        for offset, n_bytes in tile_places(path):
            tile = data[offset : offset + n_bytes]
            assert jpeg_damage(tile, size, size) is None and jpeg_damage(tile + b"\x00", size, size) is None
            assert jpeg_damage(tile[:-40], size, size) == "it is cut short"


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("reader", [*READERS, "auto"])
def test_a_file_cut_short_is_an_error(slide_file, share, reader):
    """A copy that stopped is noticed, wherever it stopped, at the latest when its part is read."""
    data = slide_file.read_bytes()
    slide_file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SlideError, match="slide a"):
        open_slide(slide_file, reader=reader, default_mpp=0.5).thumbnail(0.5)


@pytest.mark.parametrize("reader", [*READERS, "auto"])
@pytest.mark.parametrize(
    ("content", "message"), [(b"", "is empty"), (b"hello", "cannot be"), (b"II*\x00" * 9, "cannot be")]
)
def test_a_file_that_is_no_slide_is_an_error(tmp_path, reader, content, message):
    """Empty, text, a TIFF in name alone: the message says what each library said."""
    path = tmp_path / "a.svs"
    path.write_bytes(content)
    with pytest.raises(SlideError, match=message):
        open_slide(path, reader=reader)
    with pytest.raises(SlideError, match="is no file"):
        open_slide(tmp_path / "b.svs", reader=reader)


FUZZ = """
import sys
from pathlib import Path
import numpy as np
from bundle.core import SlideError
from bundle.slides import open_slide
source, target = Path(sys.argv[1]), Path(sys.argv[2])
data, random = source.read_bytes(), np.random.default_rng(0)
starts = eval(sys.argv[3])
n_errors = 0
for trial in range(60):
    bad = bytearray(data)
    for _ in range(random.integers(1, 5)):
        start = starts[random.integers(len(starts))] if trial % 2 else random.integers(len(bad) - 250)
        bad[start + random.integers(250)] = random.integers(256)
    target.write_bytes(bytes(bad))
    for reader in ("cucim", "openslide", "tifffile"):
        try:
            with open_slide(target, reader=reader, default_mpp=0.5) as slide:
                if slide.width * slide.height < 1e7:
                    slide.read(0, 0, slide.width, slide.height, slide.mpp)
        except SlideError:
            n_errors += 1
print(n_errors)
"""


def test_random_damage_raises_nothing_but_slide_errors(slide_file, tmp_path):
    """Bytes changed at random, in headers and elsewhere: the process lives, and every failure is a SlideError."""
    import tifffile

    with tifffile.TiffFile(slide_file) as file:
        starts = [page.offset for page in file.pages]
    command = [sys.executable, "-c", FUZZ, str(slide_file), str(tmp_path / "bad.tif"), repr(starts)]
    run = run_python(command, cwd=ROOT)
    assert run.returncode == 0, run.stderr[-2000:]
    assert int(run.stdout.split()[-1]) > 20  # cuCIM may print before: of what decodes badly but decodes


@pytest.mark.parametrize("reader", READERS)
def test_fewer_pixels_than_asked_for_are_an_error(slide_file, reader, monkeypatch):
    """A file whose strips are shorter than it says once ended in numpy's words."""
    with open_slide(slide_file, default_mpp=0.5, reader=reader) as slide:
        whole = slide._backend.read
        monkeypatch.setattr(slide._backend, "read", lambda *asked: whole(*asked)[:3])
        with pytest.raises(SlideError, match=r"a \(a.tif\).*what came is 32 x 3 px"):
            slide.read(0, 0, 32, 32, slide.mpp)
