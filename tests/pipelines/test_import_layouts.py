"""Each layout of other tools becomes the same token file."""

import sys

import h5py
import numpy as np
import pytest
import torch
from imports import attempt

from bundle.core import BundleError
from scripts.pins.foreign_features import (
    PITCH,
    features,
    lattice,
    write_atlas,
    write_clam,
    write_plain,
    write_slide2vec,
    write_stamp,
    write_trident,
)

XY = lattice()
VALUES = features(len(XY))


def imported(tmp_path, **settings):
    """Run an import of ``in``; the token files by slide."""
    return attempt(tmp_path, **settings)[1]


def patches_of(file):
    """Corner and token of each present patch, sorted by row and column: what must not change on the way."""
    side = file.header.attributes["region_size_level0"] / file.header.region_patches
    region, row, column = np.nonzero(file.mask)
    xy = file.coords[region] + np.rint(np.stack([column, row], 1) * side).astype(int)
    tokens = file.read()[region, row, column]
    order = np.lexsort((xy[:, 0], xy[:, 1]))
    return xy[order], tokens[order].astype(np.float32)


def assert_same(file, xy=XY, values=VALUES):
    """Every patch is where it was, with the features that it had; cells without a patch are zero."""
    got_xy, got = patches_of(file)
    order = np.lexsort((xy[:, 0], xy[:, 1]))
    np.testing.assert_array_equal(got_xy, xy[order])
    np.testing.assert_array_equal(got, values[order])
    assert not file.read()[~file.mask].any()


WRITERS = {
    "TRIDENT": lambda root: write_trident(root / "20x_256px_0px_overlap" / "features_theirs_v1" / "a.h5", XY, VALUES),
    "AtlasPatch": lambda root: write_atlas(root / "patches" / "a.h5", XY, {"uni": VALUES}),
    "CLAM": lambda root: write_clam(root, "a", XY, VALUES),
    "CLAM or TRIDENT .pt": lambda root: write_clam(root, "a", XY, VALUES, h5=False, pt=True),
    "STAMP": lambda root: write_stamp(root / "ctranspath" / "a.h5", XY, VALUES),
    "slide2vec": lambda root: write_slide2vec(root, "a", XY, VALUES),
    "plain h5": lambda root: write_plain(root / "a.h5", XY, VALUES, encoder="own", patch_size=256),
}


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_gives_the_same_patches(tmp_path, layout):
    """The layout is found out and recorded; corners, features and the scale come through unchanged."""
    WRITERS[layout](tmp_path / "in")
    files = imported(tmp_path, encoder="resnet50" if "CLAM" in layout else None)
    assert set(files) == {"a"}
    assert_same(files["a"])
    found = files["a"].header.attributes
    assert found["reader"] == layout and found["mpp"] == pytest.approx(0.5) and found["patch_size_px"] == 256
    assert found["region_size_level0"] == 16 * PITCH and found["moved_share"] == 0
    assert layout in files["a"].header.encoder


@pytest.mark.parametrize("is_npz", [False, True])
def test_whole_regions_stay_whole(tmp_path, is_npz):
    """slide2vec's regions of 16 x 16 become ours without being laid anew, at their own corners."""
    xy = np.array([[100, 40], [100 + 16 * PITCH, 40], [100, 40 + 16 * PITCH]])
    values = features(3 * 256).reshape(3, 256, -1)
    write_slide2vec(tmp_path / "in", "a", xy, values, is_npz)
    file = imported(tmp_path)["a"]
    np.testing.assert_array_equal(file.coords, xy)
    np.testing.assert_array_equal(file.read().reshape(values.shape).astype(np.float32), values)
    assert file.mask.all() and file.header.mpp == 0.5


@pytest.mark.parametrize("is_channel_first", [False, True])
def test_regions_of_hipt_take_their_names_as_coordinates(tmp_path, is_channel_first):
    """[R, 256, D] and [R, D, 16, 16] are the same regions; a .csv or files called x_y say where they lie."""
    xy = np.stack(np.meshgrid(np.arange(3), np.arange(2)), -1).reshape(-1, 2) * 16 * PITCH
    values = features(6 * 256).reshape(6, 256, -1)
    stored = values.swapaxes(1, 2).reshape(6, -1, 16, 16) if is_channel_first else values
    (tmp_path / "in").mkdir()
    torch.save(torch.from_numpy(stored.copy()), tmp_path / "in" / "a.pt")
    (tmp_path / "in" / "a.csv").write_text("x,y\n" + "\n".join(f"{x},{y}" for x, y in xy))
    file = imported(tmp_path, encoder="vit256")["a"]
    np.testing.assert_array_equal(file.coords, xy)
    np.testing.assert_array_equal(file.read().reshape(values.shape).astype(np.float32), values)
    assert file.header.mpp == pytest.approx(0.5)


def test_an_encoder_of_several_is_chosen(tmp_path):
    """AtlasPatch keeps several in a file: the run says which there are, and takes the one that is named."""
    other = features(len(XY), seed=1, dim=8)
    write_atlas(tmp_path / "in" / "a.h5", XY, {"uni": VALUES, "conch": other})
    with pytest.raises(BundleError, match="conch, uni.*--encoder"):
        imported(tmp_path)
    assert_same(imported(tmp_path, encoder="conch")["a"], values=other)


def test_a_folder_of_several_encoders_asks_which(tmp_path):
    """TRIDENT's job folder has a folder an encoder."""
    for name in ("theirs_v1", "another_v1"):
        write_trident(tmp_path / "in" / f"features_{name}" / "a.h5", XY, VALUES, encoder=name)
    with pytest.raises(BundleError, match="another_v1, theirs_v1.*--encoder"):
        imported(tmp_path)
    assert "theirs_v1" in imported(tmp_path, encoder="theirs_v1")["a"].header.encoder


def test_pt_files_of_trident_find_their_coordinates(tmp_path):
    """They lie in ``patches/`` beside the folder that is named after the encoder."""
    write_trident(tmp_path / "in" / "patches" / "a_patches.h5", XY, VALUES, patch_level0=2 * PITCH, overlap=128)
    with h5py.File(tmp_path / "in" / "patches" / "a_patches.h5", "r+") as file:
        del file["features"]
    (tmp_path / "in" / "features_theirs_v1").mkdir()
    torch.save(torch.from_numpy(VALUES), tmp_path / "in" / "features_theirs_v1" / "a.pt")
    file = imported(tmp_path)["a"]
    assert_same(file)
    found = file.header.attributes
    assert file.header.encoder.startswith("theirs_v1") and file.header.mpp == 1.0 and found["region_size_px"] == 2048


def test_a_wrapped_axis_and_bfloat16_are_read(tmp_path):
    """Older TRIDENT files hold [1, N, D]; slide2vec may store bfloat16."""
    write_trident(tmp_path / "in" / "a.h5", XY, VALUES[None])
    assert_same(imported(tmp_path)["a"])
    write_slide2vec(tmp_path / "two" / "in", "b", XY, VALUES)
    rounded = torch.from_numpy(VALUES).bfloat16()
    torch.save(rounded, tmp_path / "two" / "in" / "tile_embeddings" / "b.pt")
    file = imported(tmp_path / "two", dtype="float32")["b"]
    assert_same(file, values=rounded.float().numpy())


def test_a_tensor_with_a_gradient_is_read(tmp_path):
    """Saved without detach: it used to be refused."""
    write_clam(tmp_path / "in", "a", XY, VALUES, h5=False, pt=True)
    torch.save(torch.from_numpy(VALUES).requires_grad_(), tmp_path / "in" / "pt_files" / "a.pt")
    assert_same(imported(tmp_path, encoder="resnet50")["a"])


@pytest.mark.parametrize("name", ["a.parquet", "a.zarr"])
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, name):
    """parquet and wsidata are extras: without them the error says what to install."""
    for module in ("pyarrow", "pyarrow.parquet", "zarr"):
        monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / "in" / name
    if name.endswith("zarr"):
        (path / "tables" / "uni_tiles").mkdir(parents=True)
        (path / "shapes").mkdir()
    else:
        path.parent.mkdir()
        path.write_bytes(b"PAR1")
    extra = "wsidata" if name.endswith("zarr") else "parquet"
    with pytest.raises(BundleError, match=rf"pip install 'pathology-slpd\[{extra}\]'"):
        imported(tmp_path)
