"""The data set over token files: the same regions in the same order, however they are read."""

import multiprocessing

import numpy as np
import pytest
import torch
from cohorts import write_tokens
from torch.utils.data import DataLoader, Subset

from bundle.core import BundleError
from bundle.storage import RegionBatchSampler, TokenDataset, collate_regions
from bundle.storage.resident import DeviceCache, MemoryCache
from bundle.storage.token_files import find_token_files


@pytest.fixture
def cohort(tmp_path):
    """A folder of three slides with 3, 1 and 6 regions, and all their tokens."""
    tokens = [write_tokens(tmp_path / f"s{i}.h5", n, seed=i)[0] for i, n in enumerate((3, 1, 6))]
    return tmp_path, torch.from_numpy(np.concatenate(tokens))


@pytest.mark.parametrize("cache", ["none", "memory", "device", "auto"])
def test_items_are_the_stored_regions(cohort, cache):
    """Items, batches in any order, and a second (cached) pass all give the stored tokens with their index and slide."""
    folder, tokens = cohort
    data = TokenDataset(folder, cache=cache)
    assert len(data) == 10 and data.slide_ids == ["s0", "s1", "s2"] and data.token_dim == 6
    assert data.slide_index.tolist() == [0] * 3 + [1] + [2] * 6
    item = data[-1]
    assert item["region_id"] == 9 and item["slide"] == 2 and item["features"].dtype == torch.float16
    torch.testing.assert_close(item["features"], tokens[9])
    for _ in range(2):
        order = [7, 0, 3, 7, 9]
        batch = collate_regions(data.__getitems__(order))
        torch.testing.assert_close(batch["features"], tokens[order])
        torch.testing.assert_close(batch["mask"], data.masks[order])
        assert batch["region_id"].tolist() == order and batch["slide"].tolist() == [2, 0, 1, 2, 2]


@pytest.mark.parametrize("n_workers", [0, 2])
def test_loaders_read_the_same(cohort, n_workers):
    """Default collation, our collation, a subset and worker processes agree; forked workers share one memory."""
    folder, tokens = cohort
    data = TokenDataset(folder, cache="memory")
    sampler = RegionBatchSampler(len(data), 5, seed=1)
    quick = DataLoader(data, batch_sampler=sampler, num_workers=n_workers, collate_fn=collate_regions)
    plain = DataLoader(Subset(data, range(10)), batch_sampler=sampler, num_workers=n_workers)
    for a, b in zip(quick, plain, strict=True):
        for key in a:
            torch.testing.assert_close(a[key], b[key])
        torch.testing.assert_close(a["features"], tokens[a["region_id"]])
    assert data._cache.is_cached.all()


def test_workers_read_the_files_where_tokens_are_on_a_device(cohort):
    """Forked and plain reading agree, although workers cannot reach what the main process keeps."""
    folder, tokens = cohort
    data = TokenDataset(folder, cache="device")
    data[0]
    data._cache._tokens.zero_()
    loader = DataLoader(data, batch_size=5, num_workers=1, collate_fn=collate_regions)
    torch.testing.assert_close(torch.cat([batch["features"] for batch in loader]), tokens)
    assert not collate_regions(data.__getitems__([1, 2]))["features"].any()  # this process reads what it keeps


@pytest.mark.parametrize(("free", "kept_on"), [(10**9, "meta"), (3000, "cpu")])
def test_auto_keeps_tokens_on_a_device_that_has_room(cohort, monkeypatch, free, kept_on):
    """1,920 bytes go to a GPU with a GB and to the machine's memory where the GPU has 3,000 bytes; half may be used."""
    monkeypatch.setattr("bundle.storage.resident.free_on", lambda device: 10**9 if device.type == "cpu" else free)
    data = TokenDataset(cohort[0], device="meta")
    assert isinstance(data._cache, DeviceCache if kept_on == "meta" else MemoryCache)
    assert data.is_on_device == (kept_on == "meta") and data.is_cached
    assert data._cache._tokens.shape == (10, 4, 4, 6) and data._cache._tokens.dtype in (torch.float16, np.float16)


def test_no_room_for_tokens_is_an_error_that_names_both_sizes(cohort, monkeypatch):
    """A cache that was asked for and does not fit is refused before anything is read."""
    monkeypatch.setattr("bundle.storage.resident.free_on", lambda device: 1000)
    for cache in ("memory", "device"):
        with pytest.raises(BundleError, match=f"cache={cache} needs 0.0 GB .* and 0.0 GB are free"):
            TokenDataset(cohort[0], cache=cache)
    assert not TokenDataset(cohort[0], cache="auto").is_cached


def _first_sum(data, queue):
    queue.put((float(data[0]["features"].float().sum()), data.is_cached))


@pytest.mark.parametrize("cache", ["memory", "device"])
def test_a_spawned_process_reads(cohort, cache, warm_spawn):
    """A data set with open handles can be sent to a spawned process, which reads without the shared memory."""
    folder, tokens = cohort
    data = TokenDataset(folder, cache=cache)
    data[0]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_first_sum, args=(data, queue))
    process.start()
    total, is_cached = queue.get(timeout=60)
    process.join()
    assert total == pytest.approx(float(tokens[0].float().sum())) and not is_cached


def test_few_handles_are_open(tmp_path, monkeypatch):
    """More slides than handles: the oldest handle closes, and reading goes on."""
    monkeypatch.setattr("bundle.storage.token_files._MAX_OPEN_FILES", 2)
    tokens = [write_tokens(tmp_path / f"s{i}.h5", 2, seed=i)[0] for i in range(5)]
    data = TokenDataset(tmp_path, cache="none")
    read = collate_regions(data.__getitems__(list(range(10))))["features"]
    torch.testing.assert_close(read, torch.from_numpy(np.concatenate(tokens)))
    assert data._reader._handle.cache_info().currsize == 2


def test_transforms_and_choice_of_slides(cohort):
    """A transform sees each item; `slides` keeps the named slides and refuses unknown ones."""
    folder, tokens = cohort
    data = TokenDataset(folder, slides=["s2"], transform=lambda item: item["features"].float().sum())
    assert data.slide_ids == ["s2"] and len(data) == 6
    torch.testing.assert_close(torch.stack(data.__getitems__([5, 0])), tokens[[9, 4]].float().sum((1, 2, 3)))
    with pytest.raises(BundleError, match="no token file for 1 of 2 slides asked for: nope"):
        TokenDataset(folder, slides=["s1", "nope"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 8}, "token length is 6 in .*s0.h5 and 8 in .*x.h5"),
        ({"side": 2}, "patches on a region's side is 4 in .* and 2 in"),
        ({"mpp": 1.0}, "mpp is 0.5 in .* and 1.0 in"),
        (
            {"encoder_contract": "b", "patch_mean": [0.5] * 3},
            r"with patch_mean \[0.485, .* in .*s0.h5 and with patch_mean \[0.5, .* in .*x.h5",
        ),
        ({"encoder": "other sha256:bb"}, "encoder is vit sha256:aa in .*s0.h5 and other sha256:bb in .*x.h5"),
        ({"slide_id": "s1"}, "slide s1 has two token files: .*s1.h5 and .*x.h5"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(cohort, change, message):
    """Another D, grid, mpp or encoder, or a slide twice: the error names both files and both values."""
    folder, _ = cohort
    write_tokens(folder / "x.h5", 2, **change)
    with pytest.raises(BundleError, match=message):
        TokenDataset(folder)


def test_unreadable_files_are_left_out(cohort, caplog):
    """One damaged file is warned about and left out; nothing but damaged files is an error."""
    folder, _ = cohort
    (folder / "s1.h5").write_bytes(b"damaged")
    assert TokenDataset(folder).slide_ids == ["s0", "s2"] and "s1.h5" in caplog.text
    with pytest.raises(BundleError, match="none of 1 token files can be read.*s1.h5"):
        TokenDataset(folder / "s1.h5")


def test_a_replaced_file_is_noticed(cohort):
    """A file that is written again under a running job is an error, not a mixture of old places and new tokens."""
    folder, _ = cohort
    data = TokenDataset(folder, cache="none")
    write_tokens(folder / "s2.h5", 2)
    with pytest.raises(BundleError, match="s2.h5 was replaced while it was in use"):
        data[9]


def test_finding_files(tmp_path):
    """No folder, an empty folder and part files are told apart; files are found in depth."""
    with pytest.raises(BundleError, match="nowhere does not exist"):
        find_token_files(tmp_path / "nowhere")
    (tmp_path / "a.h5.host.1.part").touch()
    with pytest.raises(BundleError, match="no token file .* found a.h5.host.1.part"):
        find_token_files(tmp_path)
    (tmp_path / "deep").mkdir()
    write_tokens(tmp_path / "deep" / "z.h5", 1)
    assert [path.name for path in find_token_files(str(tmp_path))] == ["z.h5"]


def test_float32_files_are_not_rounded(tmp_path):
    """A float32 store is read as float32, and mixed with float16 the wider type wins."""
    wide, *_ = write_tokens(tmp_path / "a.h5", 2, dtype="float32")
    write_tokens(tmp_path / "b.h5", 2)
    data = TokenDataset(tmp_path)
    torch.testing.assert_close(data[1]["features"], torch.from_numpy(wide[1]))
    assert data[3]["features"].dtype == torch.float32


def test_unknown_cache_is_refused(cohort):
    """A misspelled cache option names the choices."""
    with pytest.raises(BundleError, match="choose auto, device, memory or none"):
        TokenDataset(cohort[0], cache="ram")


def test_statistics_are_those_of_the_tokens_that_are_there(cohort):
    """Mean and deviation of what has a token, far from zero, of all regions or of some that are evenly spread."""
    folder, _ = cohort
    data = TokenDataset(folder, cache="none")
    data.read = lambda rows, read=data.read: read(rows).float() + 1000  # squares of 1000 would drown what is left
    for most, regions in ((1000, range(10)), (4, [0, 3, 6, 9])):
        tokens = data.read(np.array(regions))[data.present[list(regions)]].double().numpy()
        mean, sd = data.statistics(most)
        assert mean.dtype == sd.dtype == torch.float32
        np.testing.assert_allclose(mean, tokens.mean(0), rtol=1e-6)
        np.testing.assert_allclose(sd, tokens.std(0), rtol=1e-5)


def test_statistics_begin_where_the_first_token_is(tmp_path):
    """Regions without any token, 64 and more of them at first, neither count nor spoil the rest."""
    for name, n, value in (("a", 70, 0), ("b", 3, 1)):
        write_tokens(tmp_path / f"{name}.h5", n, seed=value)
    data = TokenDataset(tmp_path, cache="none")
    data.present[:70] = False
    mean, sd = data.statistics()
    tokens = data.read(np.arange(70, 73))[data.present[70:]].double().numpy()
    np.testing.assert_allclose(mean, tokens.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sd, tokens.std(0), rtol=1e-5)
    data.present[:] = False
    with pytest.raises(BundleError, match="has a token"):
        data.statistics()
