"""Pictures of regions, for reports that must not fail for the lack of a slide."""

import numpy as np
from tiny_slides import damage_tiles, draw_tissue, write_slide

from bundle.slides import RegionPictures, Thumbnails


def test_a_region_is_what_the_slide_shows_there(tmp_path):
    """The square at its place, reduced; white outside the slide; the same whether or not the resolution is known."""
    write_slide(tmp_path / "a.tif")
    write_slide(tmp_path / "b.tif", mpp=None)
    drawn = draw_tissue()
    pictures = RegionPictures(tmp_path, px=32)
    for name in ("a", "b"):
        found = pictures(name, 64, 128, 128)
        expected = drawn[128:256, 64:192].reshape(32, 4, 32, 4, 3).mean((1, 3))
        assert found.shape == (32, 32, 3) and np.abs(found - expected).mean() < 6
    beyond = pictures("a", -64, -64, 128)
    assert (beyond[:15, :15] == 255).all() and beyond[17:, 17:].mean() < 250
    larger = RegionPictures(tmp_path, px=64)("a", 64, 128, 32)  # enlarged where the slide has less
    assert larger.shape == (64, 64, 3)


def test_what_is_not_at_hand_is_none(tmp_path):
    """No folder, no such slide, a broken one: None; and more slides than are kept open give their pictures."""
    (tmp_path / "bad.tif").write_bytes(b"no slide")
    for number in range(10):
        write_slide(tmp_path / f"s{number}.tif", size=128, seed=number)
    pictures = RegionPictures(tmp_path, px=16)
    assert pictures and not RegionPictures(None)
    assert RegionPictures(None)("a", 0, 0, 64) is None
    assert pictures("bad", 0, 0, 64) is None and pictures("unknown", 0, 0, 64) is None
    first = [pictures(f"s{number}", 0, 0, 64) for number in range(10)]
    again = [pictures(f"s{number}", 0, 0, 64) for number in range(10)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_slide_without_pictures_is_named_once(tmp_path, caplog):
    """One that does not open and one that does not decode: a warning each, with the reason; none for an absent one."""
    (tmp_path / "bad.tif").write_bytes(b"no slide")
    damage_tiles(write_slide(tmp_path / "cut.tif"), share=1.0)
    for number in range(9):  # more than are kept open: the bad ones are opened again
        write_slide(tmp_path / f"s{number}.tif", size=128)
    pictures, thumbnails = RegionPictures(tmp_path, px=64), Thumbnails(tmp_path)
    assert all(thumbnails(name) is None for name in ("bad", "unknown", "bad")) and caplog.text.count("no thumb") == 1
    for _ in range(2):
        assert all(pictures(name, 0, 0, 64) is None for name in ("bad", "bad", "cut", "cut", "unknown"))
        assert all(pictures(f"s{number}", 0, 0, 64) is not None for number in range(9))
    warned = [record.getMessage() for record in caplog.records if "no pictures" in record.getMessage()]
    assert len(warned) == 2 and "slide bad" in warned[0] and "slide cut" in warned[1]
