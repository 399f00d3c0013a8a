"""Imports of a small folder, and what became of its slides."""

from bundle.pipelines import FeatureImporter
from bundle.pipelines.importing.import_table import read_records
from bundle.storage import TokenFile
from scripts.pins.foreign_features import MPP, features, lattice, write_trident

XY = lattice(columns=20, rows=20)
VALUES = features(len(XY))


def attempt(tmp_path, **settings):
    """Run an import of ``in``; what failed, by slide, and the token files that were made."""
    given = {"default_mpp": MPP, "min_tissue_patches": 1, **settings}
    FeatureImporter(tmp_path / "in", tmp_path / "tokens", tmp_path / "out", **given).run()
    records = read_records(tmp_path / "out" / "slides.csv")
    failed = {record.slide: record.error for record in records if record.status == "failed"}
    return failed, {path.stem: TokenFile(path) for path in (tmp_path / "tokens").glob("*.h5")}


def good(tmp_path, *names):
    """TRIDENT files without a fault."""
    for name in names:
        write_trident(tmp_path / "in" / f"{name}.h5", XY, VALUES)
