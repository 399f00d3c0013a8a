"""Embeddings in the layouts of other tools, read as these tools read them."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from region_models import write_table
from slide_embeddings import made_up_slide
from workflows import workflow

from bundle.cohort import SlideTable
from bundle.core import BundleError, sole_run
from bundle.evaluation import read_slide_vectors
from bundle.pipelines import FeatureExporter
from bundle.pipelines.exporting import cohort_files
from bundle.storage import write_embeddings

FORMATS = ["trident", "patho_bench", "stamp", "anndata", "spatialdata"]
SIZES = {"s1": 12, "s2": 5, "s3": 1}


@pytest.fixture
def slides(tmp_path):
    """Three slides of two patients, as inference writes them; a table with a column of its own."""
    made = {
        name: made_up_slide(name, n, min(3, n), seed=i, has_attention=False)
        for i, (name, n) in enumerate(SIZES.items())
    }
    for name, slide in made.items():
        write_embeddings(slide, tmp_path / "embeddings" / f"{name}.h5")
    rows = [
        {"slide": "s1", "patient": "p", "grade/own": "2", "x": "left"},
        {"slide": "s2", "patient": "p", "grade/own": "2", "x": "right"},
        {"slide": "s3", "patient": "", "grade/own": "1", "x": ""},
    ]
    write_table(tmp_path / "table.csv", rows)
    return made


def export(tmp_path, formats=FORMATS, out="out", **options):
    """An exporter over the fixture's files."""
    table = SlideTable.read(tmp_path / "table.csv")
    return FeatureExporter(tmp_path / "embeddings", tmp_path / out, formats, table, **options)


def decoded(node):
    """A node of an h5ad file by what it says of its encoding, as AnnData's specification has it."""
    kind, version = node.attrs["encoding-type"], node.attrs["encoding-version"]
    known = {"anndata": "0.1.0", "dict": "0.1.0"}
    assert version == known.get(kind, "0.2.0")
    if kind in ("array", "numeric-scalar"):
        return node[()]
    if kind in ("string-array", "string"):
        return node.asstr()[()].tolist() if node.shape else node.asstr()[()]
    if kind == "categorical":
        assert not node.attrs["ordered"]
        return [decoded(node["categories"])[code] for code in decoded(node["codes"])]
    if kind == "dataframe":
        order = [str(name) for name in node.attrs["column-order"]]
        assert set(node) == {*order, node.attrs["_index"]}
        return {"index": decoded(node[node.attrs["_index"]]), **{name: decoded(node[name]) for name in order}}
    return {name: decoded(child) for name, child in node.items()}


def h5ad(path):
    with h5py.File(path) as file:
        return decoded(file)


def test_slide_features_are_read_by_patho_bench_and_by_ourselves(slides, tmp_path):
    """TRIDENT's are vectors; Patho-Bench's loader takes a first axis of 1 away and asks for one that is left."""
    export(tmp_path).run()
    vectors = read_slide_vectors({"SLPD": tmp_path / "out" / "trident" / "slide_features_slpd"}, list(SIZES))["SLPD"]
    for row, (name, slide) in zip(vectors, slides.items(), strict=True):
        np.testing.assert_array_equal(row, slide.slide_embedding)
        with h5py.File(tmp_path / "out" / "trident" / "slide_features_slpd" / f"{name}.h5") as file:
            assert file["features"].shape == (24,) and file["coords"].attrs["patch_size_level0"] == 8192
            np.testing.assert_array_equal(file["coords"], slide.coords)
    p = np.concatenate([slides["s1"].features, slides["s2"].features]).astype(np.float64).mean(0)
    expected = {"slides/s1": slides["s1"].slide_embedding, "patients/p": p, "patients/s3": slides["s3"].slide_embedding}
    for name, vector in expected.items():
        with h5py.File(tmp_path / "out" / "patho_bench" / f"{name}.h5") as file:
            assets = {key: file[key][:] for key in ["features"]}
        features = assets["features"].squeeze(0)
        assert features.ndim == 1 and features.dtype == np.float32
        np.testing.assert_allclose(features, vector, atol=1e-6)


def test_the_config_exports_what_is_asked_for(slides, tmp_path):
    """Embeddings, table and formats are ids; without a table a slide is a patient."""
    folders = {"dataset_dir": tmp_path / "embeddings", "output_dir": tmp_path / "out"}
    workflow("export.yaml", **folders, formats=["stamp", "anndata"]).run()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"export.json", "stamp", "anndata"}
    assert {path.stem for path in (tmp_path / "out" / "stamp" / "patients").iterdir()} == set(SIZES)
    assert h5ad(tmp_path / "out" / "anndata" / "slides.h5ad")["obs"]["patient"] == list(SIZES)


def test_stamp_reads_regions_as_tiles_and_patients(slides, tmp_path):
    """Files of one folder say one `feat_type`; coordinates are um, a tile's sides in um and px give um/px."""
    export(tmp_path, ["stamp"]).run()
    for folder, kind, names in (("tiles", "tile", ["s1", "s2", "s3"]), ("patients", "patient", ["p", "s3"])):
        paths = sorted((tmp_path / "out" / "stamp" / folder).rglob("*.h5"))
        assert [path.stem for path in paths] == names
        for path in paths:
            with h5py.File(path, swmr=True, libver="latest") as file:
                assert file.attrs["feat_type"] == kind and "stamp_version" not in file.attrs
                assert file["feats"].ndim == (2 if kind == "tile" else 1)
    with h5py.File(tmp_path / "out" / "stamp" / "tiles" / "s1.h5") as file:
        assert file.attrs["unit"] == "um" and file.attrs["tile_size_um"] / file.attrs["tile_size_px"] == 0.5
        np.testing.assert_array_equal(file["feats"], slides["s1"].features)
        np.testing.assert_allclose(np.diff(np.unique(file["coords"][:, 0])), 2048.0)


def test_anndata_has_regions_slides_and_prototypes(slides, tmp_path):
    """Rows are regions in the order of the slides, with slide, patient, prototype, corner and the table's columns."""
    export(tmp_path, ["anndata"]).run()
    found = h5ad(tmp_path / "out" / "anndata" / "regions.h5ad")
    everything = [slides[name] for name in SIZES]
    np.testing.assert_array_equal(found["X"], np.concatenate([slide.features for slide in everything]))
    np.testing.assert_array_equal(found["obsm"]["X_projection"], np.concatenate([s.projection for s in everything]))
    obs = found["obs"]
    assert obs["slide"] == [name for name, n in SIZES.items() for _ in range(n)]
    assert obs["patient"] == ["p"] * 17 + ["s3"] and obs["grade_own"] == ["2"] * 17 + ["1"]
    assert obs["table_x"] == ["left"] * 12 + ["right"] * 5 + [""] and len(set(obs["index"])) == 18
    np.testing.assert_array_equal(obs["x"], np.concatenate([slide.coords[:, 0] for slide in everything]))
    np.testing.assert_array_equal(obs["prototype"], np.concatenate([slide.assignment + 1 for slide in everything]))
    np.testing.assert_allclose(found["obsm"]["spatial"][:2], [[1024, 1024], [3072, 1024]])
    prototypes = found["uns"]["prototypes"]
    second = [i for i, name in enumerate(prototypes["slide"]) if name == "s2"]
    np.testing.assert_array_equal(prototypes["vectors"][second], slides["s2"].prototypes)
    assert prototypes["number"][second].tolist() == [1, 2, 3]
    assert found["uns"]["slpd"]["region_encoder"] == "made up sha256:1"
    whole = h5ad(tmp_path / "out" / "anndata" / "slides.h5ad")
    assert whole["obs"]["index"] == list(SIZES) and whole["obs"]["n_regions"].tolist() == list(SIZES.values())
    np.testing.assert_array_equal(whole["X"], np.stack([slide.slide_embedding for slide in everything]))


def test_no_column_of_the_table_is_lost(slides, tmp_path):
    """Names that become one, or are taken, or look as if they were renamed: each keeps its values."""
    own = {"a/b": "1", "a_b": "2", "_a_b": "3", "x": "4", "table_x": "5", "_region": "6", "features": "7"}
    write_table(tmp_path / "table.csv", [{"slide": "s1", **own}])
    export(tmp_path, ["anndata"]).run()
    for name in ("regions", "slides"):
        obs = h5ad(tmp_path / "out" / "anndata" / f"{name}.h5ad")["obs"]
        said = {str(values[0]) for column, values in obs.items() if column not in ("index", "slide", "patient")}
        assert set(own.values()) <= {obs[column][0] for column in obs if isinstance(obs[column], list)}, said
    assert "table_features" in obs, "parquet calls vectors so"


def test_spatialdata_tables_annotate_tiles(slides, tmp_path):
    """A table a slide whose rows name the tile that they are of, by the keys that SpatialData looks for."""
    export(tmp_path, ["spatialdata"]).run()
    found = h5ad(tmp_path / "out" / "spatialdata" / "s2.h5ad")
    keys = found["uns"]["spatialdata_attrs"]
    assert set(found["obs"][keys["region_key"]]) == {keys["region"]} == {"tiles"}
    assert found["obs"][keys["instance_key"]].tolist() == list(range(5))
    np.testing.assert_array_equal(np.stack([found["obs"]["x"], found["obs"]["y"]], 1), slides["s2"].coords)


@pytest.mark.parametrize("format_name", ["anndata", "spatialdata"])
def test_anndata_itself_reads_what_was_written(slides, tmp_path, format_name):
    """The package opens the files, and finds the same. Skipped where it is not installed."""
    anndata = pytest.importorskip("anndata", reason="anndata is not installed: only its specification is tested")
    export(tmp_path, [format_name]).run()
    for path in (tmp_path / "out" / format_name).glob("*.h5ad"):
        read = anndata.read_h5ad(path)
        np.testing.assert_array_equal(read.X, h5ad(path)["X"])
        assert read.obs_names.tolist() == h5ad(path)["obs"]["index"]


def test_parquet_is_read_by_pandas_or_names_what_it_needs(slides, tmp_path):
    """With pyarrow, a row a region whose list is its embedding; without, an error that names the package."""
    try:
        import pyarrow.parquet as parquet  # type: ignore[import-not-found]
    except ImportError:
        with pytest.raises(BundleError, match="pyarrow"):
            export(tmp_path, ["trident", "parquet"])
        assert not (tmp_path / "out").exists()
        return
    export(tmp_path, ["parquet"]).run()
    rows = parquet.read_table(tmp_path / "out" / "parquet" / "regions.parquet").to_pydict()
    np.testing.assert_array_equal(rows["features"][:12], slides["s1"].features)
    assert rows["patient"][16:] == ["p", "s3"] and rows["prototype"][:2] == [1, 2]
    assert export(tmp_path, ["parquet"]).run() == []


def test_an_export_goes_on_where_it_was_stopped(slides, tmp_path, monkeypatch):
    """What is there and made of these embeddings is kept; what is missing, damaged or of others is made."""
    with monkeypatch.context() as patched:
        patched.setattr(cohort_files, "write_frame", lambda *a: (_ for _ in ()).throw(OSError("the disk is full")))
        with pytest.raises(BundleError, match="regions.h5ad cannot be written .the disk is full"):
            export(tmp_path, ["trident", "anndata"]).run()
    there = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert there == ["export.json", "s1.h5", "s2.h5", "s3.h5"], "nothing unfinished stays"
    assert [path.name for path in export(tmp_path, ["trident", "anndata"]).run()] == ["regions.h5ad", "slides.h5ad"]
    assert export(tmp_path, ["trident", "anndata"]).run() == []
    (tmp_path / "out" / "trident" / "slide_features_slpd" / "s1.h5").write_bytes(b"cut short")
    write_embeddings(replace(slides["s3"], features=slides["s3"].features + 1), tmp_path / "embeddings" / "s3.h5")
    made = [path.name for path in export(tmp_path, ["trident", "anndata"]).run()]
    assert made == ["s1.h5", "s3.h5", "regions.h5ad", "slides.h5ad"]
    assert len(export(tmp_path, ["trident"], overwrite=True).run()) == 3


def test_a_folder_of_others_is_refused_before_the_work(slides, tmp_path):
    """Other results, exports of another encoder, mixed embeddings, no such format, patients that name no file."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "results.csv").write_text("a")
    with pytest.raises(BundleError, match="holds other results"):
        export(tmp_path, out="taken")
    export(tmp_path, ["trident"]).run()
    record = json.loads((tmp_path / "out" / "export.json").read_text())
    record["provenance"]["region_encoder"] = "another sha256:2"
    (tmp_path / "out" / "export.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match="region encoder another sha256:2 and made up sha256:1"):
        export(tmp_path, ["trident"])
    for wrong in (["trident", "csv"], [], None, 5, [["trident"]]):
        with pytest.raises(BundleError, match="give some of trident, patho_bench, stamp"):
            export(tmp_path, wrong, out="new")
    with pytest.raises(BundleError, match="where embeddings are looked for"):
        export(tmp_path, out="embeddings/exports")
    write_table(tmp_path / "table.csv", [{"slide": "s1", "patient": "a/b"}])
    with pytest.raises(BundleError, match="'a/b' cannot name a file"):
        export(tmp_path, out="new")
    other = replace(slides["s1"], slide_id="s9", attributes={**slides["s1"].attributes, "region_encoder": "x sha256:3"})
    write_embeddings(other, tmp_path / "embeddings" / "s9.h5")
    with pytest.raises(BundleError, match="s1 and s9 cannot stand in one export"):
        export(tmp_path, out="new")
    assert not (tmp_path / "new").exists()


def test_exports_have_one_writer(slides, tmp_path):
    """A second run in the folder ends before it writes, and is told by whom it is used."""
    (tmp_path / "out").mkdir()
    with sole_run(tmp_path / "out", "export", "output_dir"), pytest.raises(BundleError, match="by process [0-9]+ on "):
        export(tmp_path).run()
    assert list((tmp_path / "out").iterdir()) == []
