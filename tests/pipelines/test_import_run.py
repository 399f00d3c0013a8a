"""An import as a run: resumed, shared by processes, flat in memory, started from its config."""

import numpy as np
import pytest
from encoder_files import own_file
from met import together
from tiny_slides import PATCH, write_slide
from workflows import workflow

import bundle.pipelines.importing.copying as copying
from bundle.core import BundleError
from bundle.pipelines import FeatureImporter
from bundle.pipelines.importing.import_table import read_records
from bundle.storage import TokenDataset, TokenFile
from scripts.pins.foreign_features import MPP, PITCH, features, lattice, write_clam, write_trident

XY = lattice(columns=40, rows=20)
VALUES = features(len(XY))


@pytest.fixture
def source(tmp_path):
    """Three slides in TRIDENT's layout."""
    for name in "abc":
        write_trident(tmp_path / "in" / f"{name}.h5", XY, VALUES)
    return tmp_path / "in"


def importer(source, **settings):
    """An importer that writes beside the source."""
    given = {"default_mpp": MPP, "min_tissue_patches": 1, **settings}
    return FeatureImporter(source, source.parent / "tokens", source.parent / "out", **given)


def statuses(source):
    """Status of each slide in the table."""
    return {record.slide: record.status for record in read_records(source.parent / "out" / "slides.csv")}


def test_the_config_runs(tmp_path, source):
    """Started as the docs say, the tokens are a data set for pre-training."""
    folders = {"dataset_dir": source, "tokens_dir": tmp_path / "tokens", "output_dir": tmp_path / "out"}
    workflow("import.yaml", **folders, default_mpp=MPP).run()
    tokens = TokenDataset(tmp_path / "tokens")
    assert tokens.slide_ids == ["a", "b", "c"] and tokens.token_dim == VALUES.shape[1]


def test_the_same_encoder_gives_the_same_tokens_either_way(tmp_path):
    """Our own tokens of a slide, written as TRIDENT writes, come back with equal features, corners and masks."""
    write_slide(tmp_path / "slides" / "a.tif", 320)
    own_file(tmp_path / "encoder.pt")
    ids = {"dataset_dir": tmp_path / "slides", "tokens_dir": tmp_path / "own", "output_dir": tmp_path / "out"}
    ids |= {"patch_encoder_ckpt": tmp_path / "encoder.pt", "mpp": 2.0, "patch_size": PATCH, "region_patches": 4}
    workflow("tokenize.yaml", **ids, min_tissue_patches=2, num_workers=1, device="cpu").run()
    own = TokenFile(tmp_path / "own" / "a.h5")
    region, row, column = np.nonzero(own.mask)
    xy = own.coords[region] + np.stack([column, row], 1) * PATCH
    given = {"patch": PATCH, "patch_level0": PATCH, "size": (320, 320)}
    write_trident(tmp_path / "in" / "a.h5", xy, own.read()[region, row, column].astype(np.float32), **given)
    importer(tmp_path / "in", default_mpp=2.0, region_patches=4, min_tissue_patches=2).run()
    file = TokenFile(tmp_path / "tokens" / "a.h5")
    for ours, theirs in ((own.coords, file.coords), (own.mask, file.mask), (own.read(), file.read())):
        np.testing.assert_array_equal(theirs, ours)
    same = ("mpp", "level0_mpp", "level0_width", "region_size_px", "region_size_level0", "patch_size_px")
    assert [file.header.attributes[name] for name in same] == [own.header.attributes[name] for name in same]


def test_finished_slides_are_skipped_until_their_features_change(source):
    """A second run writes the missing one only; changed features or settings are imported anew."""
    importer(source).run()
    (source.parent / "tokens" / "b.h5").unlink()
    importer(source).run()
    assert statuses(source) == {"a": "skipped", "b": "done", "c": "skipped"}
    write_trident(source / "a.h5", XY, VALUES + 1)
    importer(source).run()
    assert statuses(source) == {"a": "done", "b": "skipped", "c": "skipped"}
    importer(source, min_tissue_patches=2).run()
    assert set(statuses(source).values()) == {"done"}
    importer(source, min_tissue_patches=2, overwrite=True).run()
    assert set(statuses(source).values()) == {"done"}


def test_other_coordinates_and_another_dtype_are_changes(tmp_path):
    """Both used to be skipped: coordinates beside the features may change alone, and float32 was asked for in vain."""
    source = tmp_path / "in"
    write_clam(source, "a", XY, VALUES, h5=False, pt=True)
    importer(source, encoder="resnet50").run()
    write_clam(source, "a", XY[::-1], VALUES, h5=False, pt=True)
    for settings in ({}, {"dtype": "float32"}):
        importer(source, encoder="resnet50", **settings).run()
        assert statuses(source) == {"a": "done"}
    file = TokenFile(tmp_path / "tokens" / "a.h5")
    region, row, column = np.nonzero(file.mask)
    first = np.flatnonzero((file.coords[region] + np.stack([column, row], 1) * PITCH == XY[-1]).all(1))
    np.testing.assert_array_equal(file.read()[region, row, column][first[0]], VALUES[0])
    importer(source, encoder="resnet50", dtype="float32").run()
    assert statuses(source) == {"a": "skipped"}


def test_a_skipped_slide_keeps_its_figures(source):
    """The table of a second run used to say that nothing had moved or was left out."""
    values = np.concatenate([VALUES, VALUES[:5]])
    values[7] = np.nan
    write_trident(source / "a.h5", np.concatenate([XY, XY[:5]]), values)
    records = []
    for _ in range(2):
        importer(source).run()
        records.append(read_records(source.parent / "out" / "slides.csv")[0])
    assert records[1].status == "skipped" and records[1].left_out == 5 and records[1].not_finite == 1
    assert records[1]._replace(status="done", seconds=0) == records[0]._replace(seconds=0)


def test_a_failed_slide_says_that_its_earlier_tokens_stay(source):
    """They are in ``tokens_dir``, where pre-training finds them."""
    importer(source).run()
    write_trident(source / "a.h5", XY, VALUES * np.nan)
    importer(source).run()
    error = read_records(source.parent / "out" / "slides.csv")[0].error
    assert "are not finite" in error and error.endswith(f"of an earlier run stays in {source.parent / 'tokens'}.")


def test_token_files_are_no_features(source):
    """With ``tokens_dir`` in the folder of features a second run used to find every slide twice."""
    for expected in ("done", "skipped"):
        FeatureImporter(source, source / "tokens", source.parent / "out", default_mpp=MPP).run()
        assert statuses(source) == dict.fromkeys("abc", expected)


def test_suffixes_in_capitals(source):
    """``d.H5`` used to be passed over."""
    (source / "a.h5").rename(source / "d.H5")
    importer(source).run()
    assert statuses(source) == dict.fromkeys("bcd", "done")


def test_processes_share_the_slides(source):
    """Of torchrun's processes each takes slides that no other takes; the first one writes a table of all."""

    def run(met):
        one = importer(source)
        one.together = met
        one.run()
        return set(one.records)

    first, second = together(2, run)
    assert sorted([*first, *second]) == [*"abc"] and statuses(source) == dict.fromkeys("abc", "done")
    assert len(list((source.parent / "tokens").glob("*.h5"))) == 3


def test_a_kill_costs_one_slide(source, monkeypatch):
    """What was written before stays, what was being written leaves nothing, the next run goes on."""
    calls = []

    def killed(*given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return copying.copy_features(*given)

    monkeypatch.setattr("bundle.pipelines.importing.importer.copy_features", killed)
    with pytest.raises(KeyboardInterrupt):
        importer(source).run()
    assert [path.name for path in (source.parent / "tokens").iterdir()] == ["a.h5"]
    importer(source).run()
    assert statuses(source) == {"a": "skipped", "b": "done", "c": "done"}


@pytest.mark.parametrize("is_shuffled", [False, True])
def test_little_memory_gives_the_same_file(source, monkeypatch, is_shuffled):
    """Regions in several groups, rows in short runs and any order: the same tokens."""
    order = np.random.default_rng(0).permutation(len(XY)) if is_shuffled else np.arange(len(XY))
    write_trident(source / "a.h5", XY[order], VALUES[order])
    importer(source).run()
    whole = TokenFile(source.parent / "tokens" / "a.h5").read()
    monkeypatch.setattr(copying, "_BUDGET_BYTES", 2 * whole[0].nbytes)
    monkeypatch.setattr(copying, "_BLOCK_BYTES", 50 * VALUES.shape[1] * 4)
    monkeypatch.setattr(copying, "_GAP_ROWS", 3)
    importer(source, overwrite=True).run()
    np.testing.assert_array_equal(TokenFile(source.parent / "tokens" / "a.h5").read(), whole)


def test_regions_in_um(source):
    """2,048 um at 0.5 um/px and 256 px are 16 patches, 1,024 um are 8."""
    importer(source, region_um=1024).run()
    file = TokenFile(source.parent / "tokens" / "a.h5")
    assert file.header.region_patches == 8 and file.header.attributes["region_size_level0"] == 8 * PITCH
    with pytest.raises(BundleError, match="regions of 8 patches"):
        importer(source).run()


def test_the_slides_say_scale_and_size(tmp_path, source):
    """Only their headers are read; a patch beyond their border is found."""
    write_slide(tmp_path / "slides" / "a.tif", 160)
    with pytest.raises(BundleError, match="--slides_dir"):
        importer(source, default_mpp=None).run()
    importer(source, slides_dir=tmp_path / "slides", default_mpp=MPP).run()
    found = TokenFile(tmp_path / "tokens" / "b.h5").header.attributes
    assert found["mpp_source"] == "default_mpp" and found["is_size_known"]
