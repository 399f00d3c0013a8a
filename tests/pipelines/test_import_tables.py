"""Tables and zarr stores become the same token file; these tests need the extras parquet and wsidata."""

import json

import numpy as np
import pytest

from bundle.core import BundleError
from bundle.pipelines import FeatureImporter
from bundle.storage import TokenFile
from scripts.pins.foreign_features import MPP, PITCH, SIZE, features, lattice

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
XY = lattice()
VALUES = features(len(XY))
WORDS = {"encoder": "own", "patch_size": "256", "level0_mpp": str(MPP)}


def imported(tmp_path, **settings):
    """Run an import of ``in``; corners and tokens of the one slide, in the order of the input, and its file."""
    FeatureImporter(tmp_path / "in", tmp_path / "tokens", tmp_path / "out", min_tissue_patches=1, **settings).run()
    file = TokenFile(tmp_path / "tokens" / "a.h5")
    region, row, column = np.nonzero(file.mask)
    xy = file.coords[region] + np.stack([column, row], 1) * PITCH
    order = np.lexsort((xy[:, 0], xy[:, 1]))
    return xy[order], file.read()[region, row, column][order], file


def write_table(path, columns, words=WORDS):
    """A parquet file of several row groups."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table(columns).replace_schema_metadata(words), path, row_group_size=100)


@pytest.mark.parametrize("is_list", [False, True])
def test_parquet(tmp_path, is_list):
    """A column a feature, or one of lists; what the metadata does not say is asked for."""
    wide = {f"f{i}": VALUES[:, i] for i in range(VALUES.shape[1])}
    columns = {"x": XY[:, 0], "y": XY[:, 1], **({"feature": list(VALUES)} if is_list else wide)}
    write_table(tmp_path / "in" / "a.parquet", columns)
    xy, tokens, file = imported(tmp_path)
    np.testing.assert_array_equal(xy, XY)
    np.testing.assert_array_equal(tokens, VALUES)
    assert file.header.encoder == "own (plain parquet)" and file.header.mpp == 0.5


def test_columns_that_are_no_features(tmp_path):
    """Labels, names and the index that pandas writes along: numbers among them used to become features."""
    wide = {f"f{i}": VALUES[:, i] for i in range(VALUES.shape[1])}
    words = {"label": np.ones(len(XY), int), "slide": ["a"] * len(XY), "__index_level_0__": np.arange(len(XY))}
    write_table(tmp_path / "in" / "a.parquet", {"x": XY[:, 0], "y": XY[:, 1], **words, **wide})
    _, tokens, _ = imported(tmp_path)
    np.testing.assert_array_equal(tokens, VALUES)


def test_a_table_without_features_is_named(tmp_path):
    """And one that is cut short."""
    write_table(tmp_path / "in" / "a.parquet", {"x": XY[:, 0], "y": XY[:, 1]})
    with pytest.raises(BundleError, match="no feature columns"):
        imported(tmp_path)
    path = tmp_path / "in" / "a.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BundleError, match="a.parquet cannot be read"):
        imported(tmp_path)


def test_wsidata(tmp_path):
    """Tiles in any order, joined by ``tile_id``; the encoder is the table's name."""
    zarr = pytest.importorskip("zarr")
    store = tmp_path / "in" / "a.zarr"
    order = np.random.default_rng(0).permutation(len(XY))
    shapes = {"tile_id": order, "x": XY[order, 0], "y": XY[order, 1], "tissue_id": np.zeros(len(XY), int)}
    write_table(store / "shapes" / "tiles" / "shapes.parquet", shapes, {})
    root = zarr.open_group(str(store), mode="a")
    spec = {"width": 256, "height": 256, "stride_width": 256, "stride_height": 256, "base_downsample": 2.0}
    root.attrs["tile_spec"] = {"tiles": spec}
    root.attrs["slide_properties"] = {"shape": [SIZE[1], SIZE[0]], "mpp": MPP}
    for name in ("uni_tiles", "conch_tiles"):
        table = root.create_group(f"tables/{name}")
        table["X"] = VALUES
        table["obs/tile_id"] = np.arange(len(XY))
    with pytest.raises(BundleError, match="conch_tiles, uni_tiles: choose one with --encoder"):
        imported(tmp_path)
    xy, tokens, file = imported(tmp_path, encoder="uni")
    np.testing.assert_array_equal(xy, XY)
    np.testing.assert_array_equal(tokens, VALUES)
    found = file.header.attributes
    assert file.header.encoder == "uni (wsidata)" and found["level0_mpp"] == MPP and found["level0_width"] == SIZE[0]
    assert json.dumps(found["pitch_level0"]) == "512.0"
