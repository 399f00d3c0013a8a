"""TIFFs that lead in circles, and giants of which nothing is there."""

import struct
import threading

import numpy as np
import pytest
from pyramids import ramps, write_pyramid

from bundle.core import heed
from bundle.core.stopping import StoppedError
from bundle.pipelines.checking.look import side_by_side
from bundle.slides import open_slide
from bundle.slides.backend import SlideError
from bundle.slides.missing_tiles import _covered


def test_pages_that_lead_in_a_circle(tmp_path):
    """The last page is followed by the first: tifffile read on for ever."""
    path = write_pyramid(tmp_path / "a.tif", ramps(128, 128), tile=(64, 64), factors=(1, 2))
    whole = bytearray(path.read_bytes())
    first = at = struct.unpack_from("<I", whole, 4)[0]
    while at:
        end = at + 2 + 12 * struct.unpack_from("<H", whole, at)[0]
        at = struct.unpack_from("<I", whole, end)[0]
    struct.pack_into("<I", whole, end, first)
    path.write_bytes(whole)
    for reader in ("auto", "tifffile"):
        with pytest.raises(SlideError, match="its pages lead in a circle"):
            open_slide(path, reader=reader)


def test_windows_are_covered_as_one_by_one():
    """The places within any of many windows, a window after the other."""
    random = np.random.default_rng(0)
    starts = random.integers(0, [9, 7], (40, 2))
    ends = np.minimum(starts + random.integers(1, 4, (40, 2)), [9, 7])
    for n in (0, 1, 5, 40):
        expected = np.zeros((7, 9), bool)
        for (x0, y0), (x1, y1) in zip(starts[:n], ends[:n], strict=True):
            expected[y0:y1, x0:x1] = True
        np.testing.assert_array_equal(_covered(starts[:n], ends[:n], (7, 9)), expected)


def test_a_look_that_nobody_waits_for_ends(tmp_path):
    """Ctrl-C waited until a giant slide had been looked at to its end: now until the next piece of it."""
    path, ended = write_pyramid(tmp_path / "a.tif", ramps(128, 128), tile=(64, 64), factors=(1,)), []
    begun = threading.Event()

    def endless():
        try:
            with open_slide(path) as slide:
                begun.set()
                while True:
                    slide.read(0, 0, 16, 16, slide.mpp)
        except StoppedError as error:
            ended.append(str(error))
            raise

    looks = side_by_side(iter([lambda: "done", endless]), 2)
    assert next(looks) == "done" and begun.wait(60)
    looks.close()  # as an interrupt does
    assert ended == ["stopped before it was done."]


def test_other_threads_go_on(tmp_path):
    """Only threads of the pool that was stopped end."""
    stop = threading.Event()
    stop.set()
    path = write_pyramid(tmp_path / "a.tif", ramps(128, 128), tile=(64, 64), factors=(1,))
    threading.Thread(target=heed, args=(stop,)).start()
    with open_slide(path) as slide:
        assert slide.read(0, 0, 16, 16, slide.mpp)[1].all()


def test_numbers_that_libraries_divide_by(tmp_path):
    """Too few tiles in an SVS ended the process within OpenSlide; a list as compression was a traceback."""
    words = "Aperio Image Library v1|MPP = 0.5"
    options = {"tile": (64, 64), "factors": (1, 2), "description": words}
    path = write_pyramid(tmp_path / "a.svs", ramps(256, 256), **options)
    whole = path.read_bytes()
    second = struct.unpack_from(
        "<I", whole, (at := struct.unpack_from("<I", whole, 4)[0]) + 2 + 12 * struct.unpack_from("<H", whole, at)[0]
    )[0]
    for tag, value in ((256, 1024), (322, 0), (259, (7, 3))):
        changed = bytearray(whole)
        for entry in range(second + 2, second + 2 + 12 * struct.unpack_from("<H", whole, second)[0], 12):
            if struct.unpack_from("<H", whole, entry)[0] == tag:
                count = len(value) if isinstance(value, tuple) else 1
                changed[entry + 4 : entry + 8] = struct.pack("<I", count)
                changed[entry + 8 : entry + 12] = struct.pack("<HH", *value) if count == 2 else struct.pack("<I", value)
        path.write_bytes(changed)
        try:
            open_slide(path).close()
        except SlideError as error:
            assert "a.svs" in str(error)
