"""What the store's benchmark compares: all ways end with the same regions, and clean up after themselves."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import scripts.bench.store as store_module
from scripts.bench.loading import PlainRegions
from scripts.bench.region_server import FetchedCrops, RegionServer
from scripts.bench.store import Store, store_cases

N_REGIONS, DIM = 70, 8


@pytest.fixture
def store(monkeypatch):
    """A store of 70 small regions, read in batches of 16, beside the stand-in."""
    monkeypatch.setattr(store_module, "_BATCH", 16)
    return Store(N_REGIONS, DIM, n_batches=4)


def test_the_server_and_the_store_hold_the_same_regions(store):
    """Every region comes back from the other process as the file's tokens in float32, in memory of its own."""
    stored = store.on_disk.read(np.arange(N_REGIONS)).float()
    fetched = [store.server.fetch(region) for region in range(N_REGIONS)]
    assert all(np.array_equal(a, b) for a, b in zip(fetched, stored.numpy(), strict=True))
    assert len(stored.unique(dim=0)) == N_REGIONS and fetched[0].flags.writeable
    assert sorted({name for batch in store.batches for name in batch.tolist()}) == sorted(np.concatenate(store.batches))


def test_every_loader_gives_every_region(store):
    """Two workers, none, or fetched crops: the batches of a run, and 10 crops of each region either way."""
    chosen = np.concatenate(store.batches)
    stored = store.on_disk.read(chosen)
    for loader in (store.reading_loader, store.resident_loader):
        batches = [batch["features"].clone() for batch in loader]
        torch.testing.assert_close(torch.cat(batches), stored)
    fetched = list(store.fetching_loader)
    assert [view.shape for view in fetched[0]] == [(16, DIM, 14, 14)] * 2 + [(16, DIM, 6, 6)] * 8
    crops = next(iter(store.reading_loader)) | {"epoch": 1}
    assert [group.shape for group in store.crops(crops)["views"]] == [(2, 16, DIM, 14, 14), (8, 16, DIM, 6, 6)]


def test_fetched_crops_are_crops(store):
    """Each is a window of its region, as it is or flipped from left to right."""
    region = torch.from_numpy(store.server.fetch(3)).permute(2, 0, 1)
    for crop in FetchedCrops(store.server)[3]:
        size = crop.shape[-1]
        windows = region.unfold(1, size, 1).unfold(2, size, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
        assert bool((windows == crop).all((1, 2, 3)).any() or (windows == crop.flip(-1)).all((1, 2, 3)).any())


def test_the_bare_read_reads_the_same_bytes(store):
    """The limit is one of the same task: its last batch is in its memory afterwards."""
    store.read_bare()
    last = store.on_disk.read(store.batches[-1])
    rows = np.stack([np.frombuffer(row, np.float16) for row in store._rows[: len(last)]])
    np.testing.assert_array_equal(rows, last.flatten(1).numpy())


def test_the_plain_way_reads_the_same(store):
    """h5py gives the items, and the batches, that the data set gives."""
    plain, chosen = PlainRegions(store.on_disk), store.batches[0]
    np.testing.assert_array_equal(plain.read(chosen), store.on_disk.read(chosen).numpy())
    for name, value in store.on_disk[5].items():
        assert torch.equal(torch.as_tensor(plain[5][name]), torch.as_tensor(value)), name


def test_every_way_runs(store):
    """One reference a case, goals of ways that there are, and each way reads 64 regions without an error."""
    cases = store_cases(store)
    assert [sum(variant.role == "reference" for variant in case.variants) for case in cases] == [1] * len(cases)
    for case in cases:
        assert case.work == 64 and set(case.goal) <= {variant.name for variant in case.variants}
        for variant in case.variants:
            variant.run()


def test_nothing_remains(store):
    """The server's process ends and the files go with the object that made them."""
    server, folder = RegionServer(Path(store.folder.name)), Path(store.folder.name)
    server.fetch(0)
    pid = server._process.pid
    os.kill(pid, 0)
    del server
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    store.folder.cleanup()
    assert not folder.exists()
