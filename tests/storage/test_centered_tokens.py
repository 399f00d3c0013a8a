"""Tokens less the mean of their slide, however they are read."""

import h5py
import numpy as np
import pytest
import torch
from cohorts import write_cohort
from edited_files import edited
from torch.utils.data import DataLoader

from bundle.core import BundleError
from bundle.storage import TokenDataset, TokenFile, collate_regions

SIZES = (3, 1, 70)  # the last is read in two pieces for its mean


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("tokens") / "tokens", SIZES, dim=5)


def centered_by_hand(path):
    """All regions, float32: the mean over tissue subtracted from what is there, zeros elsewhere."""
    with h5py.File(path) as file:
        tokens, mask = file["features"][:].astype(np.float32), file["mask"][:]
        present = np.ones_like(mask) if file.attrs.get("encode_background", False) else mask
    mean = tokens[mask].mean(0, dtype=np.float64) if mask.any() else 0
    return np.where(present[..., None], tokens - mean, tokens).astype(np.float32)


@pytest.mark.parametrize("cache", ["none", "memory", "device"])
def test_every_way_of_reading_centers(folder, cache):
    """Batches in any order, twice: each region less its own slide's mean; missing tokens are still zeros."""
    data = TokenDataset(folder, center_tokens="slide", cache=cache)
    wanted = np.concatenate([centered_by_hand(folder / f"slide_{i}.h5") for i in range(3)])
    order = [60, 0, 3, 5, 0]
    for _ in range(2):
        got = collate_regions(data.__getitems__(order))["features"]
        assert got.dtype == torch.float16
        np.testing.assert_allclose(got.float(), wanted[order], atol=4e-3)  # half precision of values below 8
        assert (got[~data.masks[order]] == 0).all()
    sums = TokenFile(folder / "slide_2.h5", is_centered=True).read().astype(np.float64)
    assert np.abs(sums.sum((0, 1, 2)) / data.masks[4:].sum().item()).max() < 1e-3


def test_workers_read_what_the_process_reads(folder):
    """Forked workers have the centers that were found once."""
    data = TokenDataset(folder, center_tokens="slide", cache="none")
    batches = [next(iter(DataLoader(data, 9, num_workers=n, collate_fn=collate_regions))) for n in (0, 1)]
    torch.testing.assert_close(batches[0]["features"], batches[1]["features"], rtol=0, atol=0)


def test_encoded_background_is_centered_by_the_tissue(folder, tmp_path):
    """It is there, so it moves with the rest; the mean is that of the tissue alone."""
    path = write_cohort(tmp_path, (4,), dim=5) / "slide_0.h5"
    with edited(path) as file:
        file.attrs["encode_background"] = True
        file["features"][:, :, :2] = 3
    np.testing.assert_allclose(TokenFile(path, True).read(), centered_by_hand(path), atol=4e-3)


def test_a_slide_without_tissue_stays(tmp_path):
    """There is no mean to subtract."""
    path = write_cohort(tmp_path, (2,), dim=5) / "slide_0.h5"
    with edited(path) as file:
        file["mask"][...] = False
    file = TokenFile(path, is_centered=True)
    np.testing.assert_array_equal(file.center, np.zeros(5))
    np.testing.assert_array_equal(file.read(), TokenFile(path).read())


def test_centered_is_another_data_set_of_the_same_regions(folder):
    """A run cannot be gone on with after the setting was changed: its data have another fingerprint."""
    plain, asked = TokenDataset(folder, slides=["slide_0", "slide_2"]), TokenDataset(folder, center_tokens="slide")
    made = plain.centered()
    assert made.slide_ids == plain.slide_ids and made.fingerprint != plain.fingerprint != asked.fingerprint
    np.testing.assert_array_equal(made.read(np.array([4])), asked.read(np.array([5])))
    with pytest.raises(BundleError, match="center_tokens is 'site'; give slide"):
        TokenDataset(folder, center_tokens="site")


def test_a_slide_whose_tokens_are_damaged_is_left_out(tmp_path, caplog):
    """Its header can be read, its tokens, which its mean needs, cannot: the others go on without it."""
    made = write_cohort(tmp_path / "tokens", (2, 2), dim=5)
    with edited(made / "slide_0.h5") as file:
        tokens = file["features"][:]
        del file["features"]
        damaged = file.create_dataset("features", data=tokens, chunks=(1, *tokens.shape[1:]), compression="gzip")
        chunks = [damaged.id.get_chunk_info(i) for i in range(len(tokens))]
    with (made / "slide_0.h5").open("r+b") as file:
        for chunk in chunks:
            file.seek(chunk.byte_offset)
            file.write(b"\xff" * chunk.size)
    data = TokenDataset(made, center_tokens="slide", cache="none")
    assert data.slide_ids == ["slide_1"] and "left out" in caplog.text
