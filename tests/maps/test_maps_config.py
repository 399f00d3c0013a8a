"""configs/maps.yaml, started as users start it."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from slide_embeddings import made_up_slide
from tiny_slides import MPP, write_slide

from bundle.embeddings import write_embeddings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A slide of 320 px with embeddings of four regions of it, and embeddings whose slide is not at hand."""
    folder = tmp_path_factory.mktemp("cohort")
    write_slide(folder / "slides" / "a.tif")
    slide = made_up_slide("a", 4, 2, side=4)
    size = {"level0_width": 320, "level0_height": 320, "region_size_level0": 160, "level0_mpp": MPP}
    coords = np.array([[0, 0], [160, 0], [0, 160], [160, 160]])
    slide = replace(slide, coords=coords, attributes={**slide.attributes, **size})
    write_embeddings(slide, folder / "embeddings" / "a.h5")
    write_embeddings(made_up_slide("b", 5, 2), folder / "embeddings" / "b.h5")
    return folder


def start(run_id, cohort, output_dir, *options):
    """What the command line prints."""
    command = [
        sys.executable,
        "-m",
        "monai.bundle",
        "run",
        run_id,
        "--config_file",
        str(ROOT / "configs" / "maps.yaml"),
    ]
    places = ["--bundle_root", str(ROOT), "--dataset_dir", str(cohort / "embeddings"), "--output_dir", str(output_dir)]
    places += ["--slides_dir", str(cohort / "slides")]
    done = subprocess.run([*command, *places, *options], cwd=ROOT, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


def test_every_format_is_written(cohort, tmp_path):
    """One command gives all maps of both slides and an index; only the slide at hand has a thumbnail's volume."""
    code, printed = start("mapping", cohort, tmp_path)
    assert code == 0, printed
    with open(tmp_path / "maps.csv", newline="") as file:
        rows = {row["slide"]: row for row in csv.DictReader(file)}
    for name in "ab":
        assert rows[name]["status"] == "done" and rows[name]["error"] == ""
        wanted = {f"{name}.{kind}.png" for kind in ("prototypes", "similarity", "attention")}
        wanted |= {f"{name}.geojson", f"{name}.ome.tiff", f"{name}.attention_head_6.nii.gz"}
        assert wanted <= set(rows[name]["maps"].split())
        assert all((tmp_path / name / file).stat().st_size for file in rows[name]["maps"].split())
    assert "a.slide.nii.gz" in rows["a"]["maps"] and "b.slide.nii.gz" not in rows["b"]["maps"]


def test_lists_and_the_projector_from_the_command_line(cohort, tmp_path):
    """Formats, layers and one prototype as the header of the config says; the projector by its own id."""
    code, printed = start("run", cohort, tmp_path, "--formats", "['geojson']", "--prototype", "2")
    assert code == 0, printed
    assert [path.name for path in (tmp_path / "a").glob("*.*") if not path.name.startswith(".")] == ["a.geojson"]
    tile = json.loads((tmp_path / "a" / "a.geojson").read_text())["features"][-1]["properties"]
    assert [name for name in tile["measurements"] if "Similarity" in name] == ["Similarity to prototype 2"]
    code, printed = start("projecting", cohort, tmp_path)
    assert code == 0, printed
    assert (tmp_path / "projector" / "00000" / "embedding" / "sprite.png").is_file()


def test_a_mistake_is_one_sentence(cohort, tmp_path):
    """An unknown format is named with those there are, without a traceback."""
    code, printed = start("mapping", cohort, tmp_path, "--formats", "['gif']")
    assert code != 0 and "give some of png, geojson, tiff, nifti" in printed and "Traceback" not in printed
