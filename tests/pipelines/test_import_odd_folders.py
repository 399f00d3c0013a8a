"""Folders as users have them: odd names, attributes and files; what was silently wrong once, or ended a run."""

import h5py
import numpy as np
import pytest
from imports import VALUES, XY, attempt, good

from bundle.cohort import SlideTable
from bundle.core import BundleError
from scripts.pins.foreign_features import write_atlas, write_clam, write_plain, write_slide2vec, write_trident


def test_a_name_that_two_files_would_share_is_given_to_neither(tmp_path):
    """The first one used to get it, and with it whichever um/px the table had under that name."""
    good(tmp_path, "a.svs", "a.ndpi", "b.svs")
    table = tmp_path / "table.csv"
    table.write_text("slide,mpp\na.svs,0.251\na.ndpi,0.252\nb,0.25\n")
    failed, files = attempt(tmp_path, table=SlideTable.read(table), default_mpp=None)
    assert not failed and set(files) == {"a.svs", "a.ndpi", "b"}
    assert [files[name].header.attributes["level0_mpp"] for name in ("a.svs", "a.ndpi")] == [0.251, 0.252]


def test_the_encoder_that_is_asked_for_is_the_one(tmp_path):
    """Files that name another used to be imported all the same, and ``--encoder`` did not choose between halves."""
    good(tmp_path, "a", "b")
    for name in "cd":
        write_trident(tmp_path / "in" / f"{name}.h5", XY, VALUES, encoder="another_v1")
    with pytest.raises(BundleError, match="Choose one with --encoder"):
        attempt(tmp_path)
    failed, files = attempt(tmp_path, encoder="another_v1")
    assert set(files) == {"c", "d"} and "features of theirs_v1, not of another_v1" in failed["a"]
    with pytest.raises(BundleError, match="none of 4 slides.*not of resnet50"):
        attempt(tmp_path, encoder="resnet50")
    write_clam(tmp_path / "clam" / "in", "a", XY, VALUES, h5=False, pt=True)
    (tmp_path / "clam" / "in" / "pt_files").rename(tmp_path / "clam" / "in" / "features_tcga")
    _, files = attempt(tmp_path / "clam", encoder="resnet50")
    assert files["a"].header.encoder.startswith("resnet50")


@pytest.mark.parametrize("overwrite", [False, True])
def test_features_are_never_written_over(tmp_path, overwrite):
    """``a.h5`` of features, and of CLAM's coordinates, used to become the token file where folders are the same."""
    good(tmp_path, "a")
    (tmp_path / "tokens").symlink_to(tmp_path / "in")
    before = (tmp_path / "in" / "a.h5").read_bytes()
    with pytest.raises(BundleError, match="a.h5 is no token file and is not written over.*tokens_dir"):
        attempt(tmp_path, overwrite=overwrite)
    assert (tmp_path / "in" / "a.h5").read_bytes() == before
    write_clam(tmp_path / "clam" / "in", "a", XY, VALUES)
    (tmp_path / "clam" / "tokens").symlink_to(tmp_path / "clam" / "in" / "patches")
    with pytest.raises(BundleError, match="is not written over"):
        attempt(tmp_path / "clam", encoder="resnet50", overwrite=overwrite)


def test_um_per_px_that_no_scanner_has(tmp_path):
    """250 nm was taken for 250 um."""
    write_plain(tmp_path / "in" / "a.h5", XY, VALUES, encoder="own", patch_size=256, level0_mpp=250.0)
    with pytest.raises(BundleError, match="250 um/px.*in nm"):
        attempt(tmp_path)


def test_what_belongs_to_features_may_be_damaged_too(tmp_path):
    """Coordinates with a broken body, attributes of another shape: these used to end the run for all slides."""
    for name in "abcd":
        write_slide2vec(tmp_path / "in", name, XY, VALUES)
    tiles = tmp_path / "in" / "tiles"
    whole = bytearray((tiles / "b.coordinates.npz").read_bytes())
    whole[60:90] = bytes(30)
    (tiles / "b.coordinates.npz").write_bytes(whole)
    (tiles / "c.coordinates.meta.json").write_text('{"slide": null}')
    (tiles / "d.coordinates.meta.json").write_text('{"slide": {"dimensions": [1], "base_spacing_um": 0.25}}')
    failed, files = attempt(tmp_path)
    assert set(files) == {"a"} and set(failed) == {"b", "c", "d"}
    assert "b.coordinates.npz" in failed["b"] and "does not hold what its layout says" in failed["c"]


def test_groups_where_features_should_be(tmp_path):
    """AtlasPatch's group of encoders that holds further groups."""
    write_atlas(tmp_path / "in" / "a.h5", XY, {"uni": VALUES})
    write_atlas(tmp_path / "in" / "b.h5", XY, {"uni/deep": VALUES})
    with h5py.File(tmp_path / "in" / "c.h5", "w") as file:
        file["features"], file["coords"] = 3.0, 1
    failed, files = attempt(tmp_path)
    assert set(files) == {"a"} and "c.h5 cannot be read" in failed["c"]
    assert "b.h5 is refused: its 'features/uni' is a group, not a data set" in failed["b"]


def test_unreadable_files_do_not_hide_the_others(tmp_path):
    """A sample of files that happened to be empty used to end in "no features that can be read"."""
    good(tmp_path, *(f"s{i:02}" for i in range(1, 32, 2)))
    for i in range(0, 32, 2):
        (tmp_path / "in" / f"s{i:02}.h5").touch()
    failed, files = attempt(tmp_path)
    assert len(files) == len(failed) == 16


def test_attributes_of_one_element_and_empty_ones(tmp_path):
    """[256] is 256, [b"theirs_v1"] is theirs_v1; an empty one says nothing."""
    one = {"patch": np.array([256]), "patch_level0": np.array([512.0]), "encoder": np.array([b"theirs_v1"])}
    write_trident(tmp_path / "in" / "a.h5", XY, VALUES, **one)
    write_trident(tmp_path / "in" / "b.h5", XY, VALUES, encoder=h5py.Empty("S9"), overlap=h5py.Empty("f8"))
    failed, files = attempt(tmp_path)
    assert set(files) == {"a"} and "does not say which encoder" in failed["b"]


def test_files_of_two_kinds(tmp_path, caplog):
    """One layout is read at a time; slides that only the other one has used to be missing without a word."""
    write_clam(tmp_path / "in", "a", XY, VALUES, pt=True)
    attempt(tmp_path, encoder="resnet50")
    assert "left alone" not in caplog.text
    write_clam(tmp_path / "in", "b", XY, VALUES, h5=False, pt=True)
    _, files = attempt(tmp_path, encoder="resnet50")
    assert set(files) == {"a"} and "1 files are not of the layout CLAM and are left alone" in caplog.text
    assert "pt_files/b.pt" in caplog.text
