"""configs/maps.yaml, started as users start it."""

import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from slide_embeddings import made_up_slide
from tiny_slides import MPP, write_slide
from warm import run_python
from workflows import ROOT, run_config

from bundle.core.command_line import user_error
from bundle.storage import write_embeddings

CONFIG = str(ROOT / "configs" / "maps.yaml")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A slide of 320 px with embeddings of four regions of it, and embeddings whose slide is not at hand."""
    folder = tmp_path_factory.mktemp("cohort")
    write_slide(folder / "slides" / "a.tif")
    size = {"level0_width": 320, "level0_height": 320, "region_size_level0": 160, "level0_mpp": MPP}
    coords = np.array([[0, 0], [160, 0], [0, 160], [160, 160]])
    slide = replace(made_up_slide("a", 4, 2, side=4, **size), coords=coords)
    write_embeddings(slide, folder / "embeddings" / "a.h5")
    write_embeddings(made_up_slide("b", 5, 2), folder / "embeddings" / "b.h5")
    return folder


def ids(cohort, output_dir):
    """Where things are."""
    return {
        "bundle_root": str(ROOT),
        "dataset_dir": str(cohort / "embeddings"),
        "slides_dir": str(cohort / "slides"),
        "output_dir": str(output_dir),
    }


def start(run_id, cohort, output_dir, **options):
    """Run in this process."""
    run_config("maps.yaml", run_id=run_id, **ids(cohort, output_dir), **options)


def test_every_format_is_written(cohort, tmp_path):
    """One run gives all maps of both slides and an index; only the slide at hand has a thumbnail's volume."""
    start("mapping", cohort, tmp_path)
    with open(tmp_path / "maps.csv", newline="") as file:
        rows = {row["slide"]: row for row in csv.DictReader(file)}
    for name in "ab":
        assert rows[name]["status"] == "done" and rows[name]["error"] == ""
        wanted = {f"{name}.{kind}.png" for kind in ("prototypes", "similarity", "attention")}
        wanted |= {f"{name}.geojson", f"{name}.ome.tiff", f"{name}.attention_head_6.nii.gz"}
        assert wanted <= set(rows[name]["maps"].split(";"))
        assert all((tmp_path / name / file).stat().st_size for file in rows[name]["maps"].split(";"))
    assert "a.slide.nii.gz" in rows["a"]["maps"] and "b.slide.nii.gz" not in rows["b"]["maps"]


def test_the_projector_has_an_id_of_its_own(cohort, tmp_path):
    """With pictures of the regions of the slide at hand."""
    start("projecting", cohort, tmp_path)
    assert (tmp_path / "projector" / "00000" / "embedding" / "sprite.png").is_file()


def test_a_mistake_reaches_the_user_as_one_sentence(cohort, tmp_path):
    """An unknown format is named with those there are, through all that MONAI wraps around it."""
    with pytest.raises(Exception) as caught:
        start("mapping", cohort, tmp_path, formats=["gif"])
    assert "give some of png, geojson, tiff, nifti, tokens" in str(user_error(caught.value))


def test_lists_and_numbers_from_the_command_line(cohort, tmp_path):
    """Formats and one prototype as the header of the config says."""
    words = [f"--{name}={value}" for name, value in ids(cohort, tmp_path).items()]
    words += ["--formats", "['geojson']", "--prototype", "2"]
    command = [sys.executable, "-m", "monai.bundle", "run", "run", "--config_file", CONFIG, *words]
    done = run_python(command, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in (tmp_path / "a").glob("a.*")] == ["a.geojson"]
    tile = json.loads((tmp_path / "a" / "a.geojson").read_text())["features"][-1]["properties"]
    assert [name for name in tile["measurements"] if "Similarity" in name] == ["Similarity to prototype 2"]
