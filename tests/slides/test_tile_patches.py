"""Patches straight from tiles: the pixels of a whole region cut up, without its background, by every reader."""

import numpy as np
import pytest
import tifffile
from PIL import Image
from pyramids import READERS, overwrite, tile_places, write_pyramid
from scipy import ndimage

from bundle.core import SlideError
from bundle.slides import open_slide, read_patches
from bundle.slides.resample import reduced
from bundle.slides.tile_decoder import TileDecoder

APERIO = "Aperio Image Library v1\n611x523 (64x64) J2K|AppMag = 20|MPP = 0.5"
TAGS = {"resolution": (20000.0, 20000.0), "resolutionunit": "CENTIMETER", "metadata": None}


@pytest.fixture(scope="module")
def picture():
    """RGB [523, 611, 3], smooth noise; odd sizes."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(523, 611, 3)), (2, 2, 0))
    return (noise / noise.std() * 40 + 150).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def files(picture, tmp_path_factory):
    """The same picture in the ways in which scanners write."""
    folder = tmp_path_factory.mktemp("kinds")

    def holes():
        for row in range(9):
            for column in range(10):
                part = picture[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64]
                part = np.pad(part, [(0, 64 - part.shape[0]), (0, 64 - part.shape[1]), (0, 0)])
                yield None if (row + column) % 4 == 1 else np.ascontiguousarray(part)

    shape = {"shape": picture.shape, "dtype": "uint8", "tile": (64, 64), "photometric": "rgb", "compression": "jpeg"}
    tifffile.imwrite(folder / "holes.tif", holes(), **shape, **TAGS)
    ycbcr = {"photometric": "ycbcr", "subsampling": (2, 2), "compression": "jpeg"}
    tifffile.imwrite(folder / "ycbcr.tif", picture, tile=(64, 64), compressionargs={"level": 85}, **ycbcr, **TAGS)
    # tifffile stores what it is given: to the reader these three planes are Y, Cb and Cr
    for name, compression in (("j2k_rgb", 33005), ("j2k_ycbcr", 33003)):
        how = {"tile": (64, 64), "photometric": "rgb", "description": APERIO, "metadata": None}
        tifffile.imwrite(folder / f"{name}.svs", picture, compression=compression, **how)
    write_pyramid(folder / "rgb.tif", picture, tile=(64, 64))
    write_pyramid(folder / "oblong.tif", picture, tile=(48, 80), factors=(1, 4))
    write_pyramid(folder / "zlib.tif", picture, tile=(64, 64), compression="zlib", factors=(1, 2))
    return folder


def cut_up(slide, xy, mask, mpp, patch_size):
    """The claim, the slow way: the whole region, then its patches."""
    region, _ = slide.read(*map(float, xy), mask.shape[1] * patch_size, mask.shape[0] * patch_size, mpp)
    return np.stack([
        region[row * patch_size : (row + 1) * patch_size, column * patch_size : (column + 1) * patch_size]
        for row, column in np.argwhere(mask)
    ])  # fmt: skip


@pytest.mark.parametrize("name", ["rgb.tif", "ycbcr.tif", "oblong.tif", "zlib.tif", "holes.tif", "j2k_rgb.svs"])
def test_patches_are_the_region_cut_up(files, name):
    """On and off the tiles, at and between levels, over the border: equal to the bit, whoever reads.

    OpenSlide is asked for level 0 alone: of levels whose odd size was rounded it interpolates each rectangle anew.
    """
    for trial in range(8 if name.startswith("j2k") else 24):
        random = np.random.default_rng(trial)
        mpp, size = 0.5 * random.choice([1, 1, 1.01, 2, 2, 3, 4, 8]), int(random.choice([24, 32, 64]))
        xy = random.integers(-3, 8, 2) * 64 if trial % 2 else random.integers(-150, 500, 2)
        mask = random.random((4, 4)) < random.choice([0.2, 0.6, 1])
        mask[2, 1] = True
        found = {}
        for reader in READERS:
            if (reader == "openslide" and mpp > 0.51) or (reader == "cucim" and name == "zlib.tif"):
                continue
            with open_slide(files / name, reader=reader) as slide:
                how = {"mpp": mpp, "patch_size": size, "region_patches": 4, "n_threads": trial % 3}
                found[reader] = read_patches(slide, xy, mask, **how)
                np.testing.assert_array_equal(found[reader], cut_up(slide, xy, mask, mpp, size), f"{reader} {trial}")
        for reader, patches in found.items():
            np.testing.assert_array_equal(patches, found["tifffile"], f"{reader} {trial}")


@pytest.mark.parametrize(("name", "decoder"), [("ycbcr.tif", "imagecodecs"), ("j2k_rgb.svs", "imagecodecs")])
def test_cucims_tiles_are_decoded_on_the_spot(files, name, decoder):
    """Where both agree, and what decoded is said."""
    with open_slide(files / name, reader="cucim") as slide:
        assert slide.reader == "cucim" and slide.patch_decoder(0.5) == decoder
        assert slide.patch_decoder(1.0) == decoder and slide.patch_decoder(0.6) == "cucim"
    with open_slide(files / name, reader="openslide") as slide:
        assert slide.patch_decoder(0.5) == "openslide"


def test_a_level_where_decoders_disagree_is_cucims(files, monkeypatch):
    """Colors never depend on which library was quicker: one wrong pixel, or an error, and cuCIM decodes."""
    mask = np.ones((4, 4), bool)
    decode = TileDecoder.decode

    def off_by_one(self, data, out):
        decode(self, data, out)
        out[3, 5, 1] ^= 1

    def failing(self, data, out):
        raise RuntimeError("no")

    for wrong in (off_by_one, failing):
        monkeypatch.setattr(TileDecoder, "decode", wrong)
        with open_slide(files / "ycbcr.tif", reader="cucim") as slide:
            found = read_patches(slide, (-20, 300), mask, mpp=0.5, patch_size=64)
            assert slide.patch_decoder(0.5) == "cucim"
            np.testing.assert_array_equal(found, cut_up(slide, (-20, 300), mask, 0.5, 64))


def test_ycbcr_in_jpeg_2000_is_cucims(files):
    """OpenJPEG alone would show Y, Cb and Cr as red, green and blue."""
    mask = np.ones((3, 3), bool)
    path = files / "j2k_ycbcr.svs"
    with open_slide(path, reader="cucim") as slide, open_slide(path, reader="openslide") as other:
        assert slide.patch_decoder(0.5) == "cucim"
        found = read_patches(slide, (64, 64), mask, mpp=0.5, patch_size=64)
        np.testing.assert_array_equal(found, cut_up(slide, (64, 64), mask, 0.5, 64))
        expected = read_patches(other, (64, 64), mask, mpp=0.5, patch_size=64)
        assert abs(found.astype(int) - expected).max() <= 1


def test_each_tile_under_a_patch_is_decoded_once_and_no_other(files):
    """Background costs nothing, not even between tissue; a tile under four patches is decoded once."""
    with open_slide(files / "rgb.tif", reader="cucim") as slide:
        asked, read_tile = [], slide._backend.read_tile
        slide._backend.read_tile = lambda *tile: asked.append(tile[:2]) or read_tile(*tile)
        mask = np.zeros((8, 8), bool)
        mask[1, 1] = mask[6, 5] = True
        read_patches(slide, (0, 0), mask, mpp=0.5, patch_size=64)
        assert sorted(asked) == [(1, 1), (5, 6)]
        asked.clear()
        read_patches(slide, (32, 32), np.ones((4, 4), bool), mpp=0.5, patch_size=64, n_threads=3)
        assert sorted(asked) == [(column, row) for column in range(5) for row in range(5)]


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("reader", ["cucim", "tifffile"])
def test_damage_matters_under_a_patch_alone(picture, tmp_path, reader, n_threads):
    """A damaged tile fails the patches over it, by name and place; patches beside it are read."""
    path = write_pyramid(tmp_path / "a.tif", picture, tile=(64, 64))
    offset, n_bytes = tile_places(path)[13]  # row 1, column 3
    overwrite(path, offset + n_bytes // 2, b"\x00" * (n_bytes - n_bytes // 2))
    mask = np.ones((6, 6), bool)
    how = {"mpp": 0.5, "patch_size": 64, "n_threads": n_threads}
    with open_slide(path, reader=reader) as slide:
        message = (
            rf"slide a \(a.tif\): {reader} cannot decode 36 patches of 64 px from \(0, 0\) on: the tile in column 3"
        )
        with pytest.raises(SlideError, match=message):
            read_patches(slide, (0, 0), mask, **how)
        mask[1, 3] = False
        assert len(read_patches(slide, (0, 0), mask, **how)) == 35


def test_an_index_error_of_a_decoder_is_no_end_of_work(files, monkeypatch):
    """Whatever a library stumbles over is an error, never patches that were not filled."""
    with open_slide(files / "rgb.tif", reader="tifffile") as slide:
        monkeypatch.setattr(slide._backend, "read_tile", lambda *_: [][0])
        with pytest.raises(SlideError, match="list index out of range"):
            read_patches(slide, (0, 0), np.ones((2, 2), bool), mpp=0.5, patch_size=64)


def test_memory_may_be_used_again(files):
    """``out`` is filled at its beginning and given back, whatever it held; what does not fit is refused."""
    mask = np.eye(4, dtype=bool)
    memory = np.full((6, 64, 64, 3), 77, np.uint8)
    with open_slide(files / "holes.tif", reader="tifffile") as slide:
        for xy in ((0, 0), (-64, 400), (20, 31), (9000, 0)):
            found = read_patches(slide, xy, mask, mpp=0.5, patch_size=64, out=memory)
            assert np.shares_memory(found, memory) and len(found) == 4 and (memory[4:] == 77).all()
            np.testing.assert_array_equal(found, read_patches(slide, xy, mask, mpp=0.5, patch_size=64))
        for wrong in (memory[:3], memory[:, ::2, ::2], memory.astype(np.int16), memory[:, :, :, ::-1]):
            with pytest.raises(ValueError, match="out must be contiguous uint8"):
                read_patches(slide, (0, 0), mask, mpp=0.5, patch_size=64, out=wrong)


@pytest.mark.parametrize("factor", [2, 3, 4, 7, 8, 16])
def test_reduction_is_pillows(factor):
    """Sums in 16 bits, strip by strip, give what Pillow gives, white included."""
    noise = np.random.default_rng(0).integers(0, 256, (factor * 300, factor * 5, 3), dtype=np.uint8)
    for px in (noise, np.full_like(noise, 255), noise[:, ::-1]):
        expected = np.asarray(Image.fromarray(np.ascontiguousarray(px)).reduce(factor))
        np.testing.assert_array_equal(reduced(px, factor), expected)
