"""Memory that batches are read into: handed out, sent, given back, and never in use twice."""

import copy
import gc
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from cohorts import write_cohort
from torch.utils.data import DataLoader, default_collate

import bundle.storage.batches as batches_module
from bundle.storage import TokenDataset, TokenFile, collate_regions
from bundle.storage.batches import SharedBatch, SharedBatches, reduce_batch


def make_pool(monkeypatch, n_rows):
    monkeypatch.setattr(batches_module, "_MAX_ROWS", n_rows)
    return SharedBatches((2, 2, 3), np.dtype("float16"))


def test_memory_is_in_use_until_the_last_view_is_gone(monkeypatch):
    """Batches that are held never share memory; a view of one row holds them all; then they are used again."""
    pool = make_pool(monkeypatch, 10)
    first, second = pool.take(4), pool.take(6)
    first.fill_(1), second.fill_(2)
    assert first.shape == (4, 2, 2, 3) and bool((first == 1).all()) and pool.n_taken == 10
    assert pool.take(1) is None and pool.take(11) is None
    address, row = first.data_ptr(), first[2, 0]
    del first
    assert pool.n_taken == 10
    del row
    assert pool.n_taken == 6
    assert pool.take(5) is None
    again = pool.take(3)
    assert again.data_ptr() == address and bool((second == 2).all())


def _take_and_die(pool, rows, n):
    tensor = pool.take(n)
    tensor.fill_(7)
    rows.put(pool.place_of(tensor))
    del tensor  # handed over: stays taken


def test_another_process_fills_what_this_one_receives(monkeypatch):
    """A forked process' batch arrives in place, and what a dead one sent and nobody received is used again."""
    pool = make_pool(monkeypatch, 8)
    kept = pool.take(2)
    context = multiprocessing.get_context("fork")
    for is_received in (True, False):
        rows = context.SimpleQueue()
        process = context.Process(target=_take_and_die, args=(pool, rows, 5))
        process.start()
        row = rows.get()
        process.join()
        assert row == 2 and pool.n_taken == 7
        if is_received:
            batch = pool.receive(row, 5)
            assert bool((batch == 7).all())
            del batch
            assert pool.n_taken == 2
    again = pool.take(6)
    assert len(again) == 6 and len(kept) == 2 and pool.n_taken == 8


def test_only_whole_batches_of_the_room_are_handed_over(monkeypatch):
    """A part of a batch, another type, other memory, a copy, or a batch that was sent before goes by value."""
    pool = make_pool(monkeypatch, 8)
    tokens = pool.take(4)
    batch = SharedBatch({"features": tokens, "mask": torch.ones(4)}, pool.key)
    for other in (tokens[:2], tokens.view(torch.int16), tokens[1:], tokens.clone()):
        batch["features"] = other
        assert reduce_batch(batch)[0] is dict
    batch["features"] = tokens
    assert reduce_batch(copy.deepcopy(batch))[0] is dict and pool.place_of(tokens.clone()) is None
    assert reduce_batch(batch)[1][:3] == (pool.key, 0, 4) and reduce_batch(batch)[0] is dict


def open_files():
    return len(os.listdir("/proc/self/fd"))


def resident_mib():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.fixture
def cohort(tmp_path, monkeypatch):
    """Nine slides of 24 regions of 12 kB each, all their tokens, and room for four open files."""
    monkeypatch.setattr("bundle.storage.token_files._MAX_OPEN_FILES", 4)
    write_cohort(tmp_path, regions=(24,) * 9, dim=24)
    return tmp_path, torch.from_numpy(
        np.concatenate([TokenFile(path).read() for path in sorted(tmp_path.glob("*.h5"))])
    )


@pytest.mark.parametrize("cache", ["none", "memory", "device"])
def test_reading_for_long_leaks_neither_memory_nor_files(cohort, cache):
    """20,000 reads, with files opened and closed all the time: no file more, no memory more, no row more."""
    folder, tokens = cohort
    data = TokenDataset(folder, cache=cache)
    order = np.random.default_rng(0).integers(0, len(data), (640, 32))

    def read(batches):
        for chosen in batches:
            batch = collate_regions(data.__getitems__(chosen))
        torch.testing.assert_close(batch["features"], tokens[chosen])

    read(order[:64])
    gc.collect()
    files, mib = open_files(), resident_mib()
    read(order)
    gc.collect()
    assert open_files() <= files and resident_mib() < mib + 8
    assert data._batches._pool.n_taken == 0


@pytest.mark.parametrize("collate", [collate_regions, default_collate])
def test_epochs_with_workers_leak_nothing(cohort, collate):
    """Epochs that are read to their end and epochs that are left early: right tokens, and pool as before."""
    folder, tokens = cohort
    data = TokenDataset(folder, cache="none")
    files = None
    for epoch in range(4):
        loader = DataLoader(data, batch_size=16, num_workers=2, collate_fn=collate, prefetch_factor=4)
        for n_seen, batch in enumerate(loader):
            torch.testing.assert_close(batch["features"], tokens[batch["region_id"]])
            assert collate is default_collate or data._batches._pool.n_taken >= len(batch["features"])
            if epoch % 2 and n_seen == 2:
                break
        del loader, batch
        gc.collect()
        files = open_files() if epoch == 1 else files
    deadline = time.monotonic() + 20
    while open_files() > files and time.monotonic() < deadline:  # workers of a loop that was left end in their own time
        time.sleep(0.05)
    assert open_files() <= files
    pool = data._batches._pool
    pool._release_the_dead()
    assert pool.n_taken == 0


def test_a_loop_that_keeps_its_batches_gets_them_all(cohort, monkeypatch):
    """More batches held at once than there is room for: the others come the ordinary way, and none is overwritten."""
    monkeypatch.setattr(batches_module, "_MAX_ROWS", 48)
    folder, tokens = cohort
    for n_workers in (0, 2):
        data = TokenDataset(folder, cache="none")
        kept = list(DataLoader(data, batch_size=16, num_workers=n_workers, collate_fn=collate_regions))
        torch.testing.assert_close(torch.cat([batch["features"] for batch in kept]), tokens)


def test_threads_read_at_the_same_time(cohort):
    """Four threads over one data set, files opened and closed under them: each gets its own regions."""
    folder, tokens = cohort
    data = TokenDataset(folder, cache="none")

    def read(seed):
        batches = np.random.default_rng(seed).integers(0, len(data), (100, 8))
        return all(torch.equal(data.read(chosen), tokens[chosen]) for chosen in batches)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(4)))
    assert data._batches._pool.n_taken == 0


def test_what_is_not_in_memory_is_requested_together(cohort, monkeypatch):
    """Regions on disk are all asked for before one is waited for; one after the other a disk did half as many."""
    folder, tokens = cohort
    read, calls = os.preadv, []

    def preadv(handle, views, offset, flags=0):
        if flags:
            raise BlockingIOError
        calls.append(("wait", offset))
        return read(handle, views, offset)

    monkeypatch.setattr("bundle.storage.token_store._NO_WAIT", 8)
    monkeypatch.setattr(os, "preadv", preadv)
    monkeypatch.setattr(os, "posix_fadvise", lambda handle, offset, size, advice: calls.append(("ask", offset)))
    chosen = np.array([200, 3, 77, 4])
    assert torch.equal(TokenDataset(folder, cache="none").read(chosen), tokens[chosen])
    assert [kind for kind, _ in calls] == ["ask"] * 4 + ["wait"] * 4
    assert [offset for _, offset in calls[:4]] == [offset for _, offset in calls[4:]]


def test_regions_that_left_the_page_cache_are_read(cohort):
    """The same tokens from the disk itself."""
    folder, tokens = cohort
    for path in folder.glob("*.h5"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert torch.equal(TokenDataset(folder, cache="none").read(np.arange(len(tokens))), tokens)
