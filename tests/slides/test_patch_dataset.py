"""Patches of many slides, one by one or all at once."""

import pickle

import numpy as np
import pytest
import torch
from pyramids import overwrite, tile_places
from tiny_slides import PATCH, damage_tiles, draw_square, draw_tissue, write_slide
from torch.utils.data import DataLoader

from bundle.cohort import SlideTable, find_slides
from bundle.core import BundleError
from bundle.slides import PatchDataset

READ = {"mpp": 2.0, "patch_size": PATCH, "region_patches": 4, "min_tissue_patches": 1}


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Three slides: two sound, one that is no slide."""
    folder = tmp_path_factory.mktemp("slides")
    for seed, name in enumerate("ac"):
        write_slide(folder / f"{name}.tif", 320, seed)
    (folder / "b.tif").write_bytes(b"no slide")
    return find_slides(folder)


@pytest.fixture(scope="module")
def patches(slides):
    """All patches, read when asked for."""
    return PatchDataset(slides, **READ)


def test_items_are_patches_of_tissue(patches):
    """An item is uint8 [3, p, p], its own number and its slide's; its px are those of the slide."""
    assert patches.slide_ids == ["a", "c"] and len(patches) > 100
    pictures = [draw_tissue(320, seed).astype(int) for seed in (0, 1)]
    for index in (0, len(patches) // 2, len(patches) - 1):
        item = patches[index]
        assert item["region_id"] == index and item["image"].shape == (3, PATCH, PATCH)
        assert item["image"].dtype == torch.uint8
        slide, x, y, row, column = patches._places[index]
        assert item["slide"] == slide
        left, top = x + column * PATCH, y + row * PATCH
        drawn = pictures[slide][top : top + PATCH, left : left + PATCH]
        assert abs(item["image"].permute(1, 2, 0).numpy() - drawn).mean() < 12  # JPEG


def test_bad_slides_are_left_out(slides, tmp_path, caplog):
    """A bad slide is warned about by name; if all are bad, that is an error."""
    PatchDataset(slides, **READ)
    assert "left out: slide b: b.tif cannot be opened" in caplog.text
    with pytest.raises(BundleError, match="none of 1 slides has a patch"):
        PatchDataset([slides[1]], **READ)


def test_the_cache_holds_the_same_patches(slides, patches):
    """Decoded at once or one by one, every patch is the same; the cache is one uint8 tensor."""
    cached = PatchDataset(slides, **READ, cache="true")
    assert cached._cache.dtype == torch.uint8 and cached._cache.shape == (len(patches), 3, PATCH, PATCH)
    for index in range(0, len(patches), 7):
        torch.testing.assert_close(cached[index], patches[index], rtol=0, atol=0)


def test_patches_per_slide_draws_without_replacement(slides):
    """Each slide gives at most so many, all different; a seed gives the same, whatever other slides there are."""
    one = PatchDataset(slides, **READ, patches_per_slide=9, seed=3)
    again = PatchDataset(slides[2:], **READ, patches_per_slide=9, seed=3)
    other = PatchDataset(slides, **READ, patches_per_slide=9, seed=4)
    assert len(one) == 18 and len(np.unique(one._places, axis=0)) == 18
    np.testing.assert_array_equal(one._places[9:, 1:], again._places[:, 1:])
    assert (one._places != other._places).any()


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_read_the_same(slides, patches, context, warm_spawn):
    """A DataLoader's processes give what this one gives, even after this one has read."""
    few = PatchDataset(slides, **READ, patches_per_slide=10)
    expected = [few[index]["image"] for index in range(len(few))]
    loader = DataLoader(few, batch_size=5, num_workers=2, multiprocessing_context=context)
    torch.testing.assert_close(torch.cat([batch["image"] for batch in loader]), torch.stack(expected), rtol=0, atol=0)
    assert few._handle.cache_info().currsize and "_handle" not in vars(pickle.loads(pickle.dumps(few)))


def test_damage_found_later_costs_one_patch(tmp_path, caplog):
    """A patch that does not decode is replaced by a later one; in the cache its region is left out; both say so."""
    path = write_slide(tmp_path / "a.tif", 320)
    whole = PatchDataset(find_slides(tmp_path), **READ)
    plan = PatchDataset._places_in
    try:
        for cache in (False, True):
            PatchDataset._places_in = lambda *_, places=whole._places[:, 1:]: places
            offset, size = tile_places(path)[12]
            overwrite(path, offset, b"\x00" * size)
            hurt = PatchDataset(find_slides(tmp_path), **READ, cache=cache)
            assert len(hurt) == len(whole) if not cache else 0 < len(hurt) < len(whole)
            assert all(hurt[index]["region_id"] == index for index in range(len(hurt)))
            assert ("a region is left out" if cache else "another patch instead") in caplog.text
    finally:
        PatchDataset._places_in = plan
    damage_tiles(path, share=1.0)
    with pytest.raises(BundleError, match="no patch of any slide can be decoded"):
        whole[0]


def test_the_table_gives_mpp_and_roi(tmp_path):
    """A slide that does not say its resolution is read with the table's; its roi limits its patches."""
    write_slide(tmp_path / "a.tif", 320, mpp=None)
    draw_square(tmp_path / "a.geojson", 50, 64)
    (tmp_path / "t.csv").write_text("slide,mpp,roi\na,2.0,a.geojson\n")
    with pytest.raises(BundleError):
        PatchDataset(find_slides(tmp_path), **READ)
    table = SlideTable.read(tmp_path / "t.csv")
    assert 9 <= len(PatchDataset(find_slides(tmp_path), table=table, **READ)) <= 25
    assert len(PatchDataset(find_slides(tmp_path), default_mpp=2.0, **READ)) > 40


def test_other_patches_have_another_fingerprint(slides, patches):
    """A run of stage one used to go on with any set of as many patches."""
    few = {**READ, "patches_per_slide": 9}
    one, again, other = (PatchDataset(slides, **few, seed=seed) for seed in (3, 3, 4))
    assert len(one) == len(other) and one.fingerprint == again.fingerprint
    assert len({one.fingerprint, other.fingerprint, patches.fingerprint}) == 3
    renamed = [slides[0]._replace(slide_id="x")]
    assert PatchDataset([*renamed, *slides[1:]], **few, seed=3).fingerprint != one.fingerprint
