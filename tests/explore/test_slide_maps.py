"""Maps of a cohort: resumed, indexed, and not stopped by one bad file."""

import csv
import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
from slide_embeddings import made_up_slide

from bundle.core import BundleError, SettingError, sole_run
from bundle.explore import HeatMapTiff, NiftiMaps, QuPathGeoJson, SlideMaps
from bundle.storage import tissue_shares, write_embeddings

WRITERS = {"geojson": QuPathGeoJson(), "tiff": HeatMapTiff(), "nifti": NiftiMaps()}


@pytest.fixture
def cohort(tmp_path):
    """Two slides and a file that is none."""
    folder = tmp_path / "embeddings"
    for number, name in enumerate(("a", "b")):
        write_embeddings(made_up_slide(name, 4, 2, seed=number), folder / f"{name}.h5")
    (folder / "broken.h5").write_bytes(b"no HDF5")
    return folder


def index(output_dir):
    """Rows of maps.csv by slide."""
    with open(output_dir / "maps.csv", newline="", encoding="utf-8") as file:
        return {row["slide"]: row for row in csv.DictReader(file)}


def run(cohort, tmp_path, formats=("geojson", "tiff"), **options):
    """Draw into tmp_path/maps; status of each slide."""
    output_dir = tmp_path / "maps"
    SlideMaps(cohort, output_dir, WRITERS, formats, **options).run()
    return {slide: row["status"] for slide, row in index(output_dir).items()}


def test_a_broken_file_is_reported_and_the_others_go_on(cohort, tmp_path):
    """maps.csv names it with the reason; the others have their files, each under its slide's name."""
    assert run(cohort, tmp_path) == {"a": "done", "b": "done", "broken": "failed"}
    rows = index(tmp_path / "maps")
    assert "broken.h5 cannot be read" in rows["broken"]["error"]
    assert rows["a"]["maps"] == "a.geojson;a.ome.tiff" and rows["a"]["regions"] == "4"
    assert {p.name for p in (tmp_path / "maps" / "a").iterdir()} == {"a.geojson", "a.ome.tiff", ".maps.json"}


def test_a_second_run_makes_only_what_is_missing(cohort, tmp_path):
    """Nothing is written again until a file is gone, a format or setting is new, or embeddings are newer."""
    run(cohort, tmp_path)
    tiff = tmp_path / "maps" / "a" / "a.ome.tiff"
    os.utime(tiff, ns=(1, 1))

    def is_new():
        changed = tiff.stat().st_mtime_ns != 1
        os.utime(tiff, ns=(1, 1))
        return changed

    assert run(cohort, tmp_path) == {"a": "skipped", "b": "skipped", "broken": "failed"} and not is_new()
    (tmp_path / "maps" / "b" / "b.geojson").unlink()
    assert run(cohort, tmp_path) == {"a": "skipped", "b": "done", "broken": "failed"} and not is_new()
    assert run(cohort, tmp_path, ("tiff", "nifti"))["a"] == "done" and not is_new()
    assert run(cohort, tmp_path)["a"] == "skipped" and not is_new(), "formats of before are still known"
    assert run(cohort, tmp_path, prototype="2")["a"] == "done" and is_new()
    assert run(cohort, tmp_path, prototype=2, overwrite="true")["a"] == "done" and is_new()
    write_embeddings(made_up_slide("a", 3, 2), cohort / "a.h5")
    assert run(cohort, tmp_path, prototype=2) == {"a": "done", "b": "skipped", "broken": "failed"} and is_new()
    (tmp_path / "maps" / "a" / ".maps.json").write_text("[]")
    assert run(cohort, tmp_path, prototype=2)["a"] == "done" and is_new()


@pytest.mark.parametrize("keys", [("settings_key", "source_key"), ("settings_key",), ()])
def test_maps_of_other_embeddings_are_made_anew(cohort, tmp_path, keys):
    """Another folder of the same slides, with older files, into the same output_dir: its maps, not those that are
    there, whether or not the files record how they were made."""
    other = tmp_path / "other"
    for folder, prototypes in ((cohort, 2), (other, 3)):
        attributes = {key: f"{key} {prototypes}" for key in keys}
        write_embeddings(made_up_slide("a", 4, prototypes, **attributes), folder / "a.h5")
    os.utime(other / "a.h5", ns=(10**9, 10**9))
    run(cohort, tmp_path, ["geojson"])
    drawn = tmp_path / "maps" / "a" / "a.geojson"
    assert "Prototype 3" not in drawn.read_text()
    assert run(other, tmp_path, ["geojson"])["a"] == "done" and "Prototype 3" in drawn.read_text()
    assert run(other, tmp_path, ["geojson"])["a"] == "skipped"


def test_a_task_does_not_carry_the_list_of_files(cohort, tmp_path):
    """What goes to a process with a slide does not grow with the cohort."""
    maps = SlideMaps(cohort, tmp_path / "maps", WRITERS, ["geojson"])
    maps.files *= 10_000
    assert len(pickle.dumps(maps.draw)) < 3000


def test_one_slide_leaves_the_others_in_the_index(cohort, tmp_path):
    """A run on one file replaces its line only; an index of something else is replaced."""
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "maps.csv").write_text("what,else\n1,2\n")
    run(cohort, tmp_path)
    SlideMaps(cohort / "b.h5", tmp_path / "maps", WRITERS, ["nifti"]).run()
    rows = index(tmp_path / "maps")
    assert list(rows) == ["a", "b", "broken"] and "b.attention.nii.gz" in rows["b"]["maps"]
    assert rows["a"]["maps"] == "a.geojson;a.ome.tiff" and rows["broken"]["status"] == "failed"


def test_a_prototype_that_a_slide_has_not_is_said(cohort, tmp_path):
    """Slides with fewer prototypes fail by name; where none has so many, the run does."""
    write_embeddings(made_up_slide("c", 6, 3), cohort / "c.h5")
    assert run(cohort, tmp_path, prototype=3) == {"a": "failed", "b": "failed", "broken": "failed", "c": "done"}
    assert "has 2 prototypes and no number 3" in index(tmp_path / "maps")["a"]["error"]
    with pytest.raises(BundleError, match="no slide has a map"):
        run(cohort, tmp_path, prototype=9)


def test_a_slide_without_regions_is_reported(cohort, tmp_path):
    """An empty file is a broken one."""
    slide = made_up_slide("c", 4, 2)
    cut = {name: getattr(slide, name)[:0] for name in ("features", "projection", "coords", "mask", "assignment")}
    write_embeddings(replace(slide, attention=None, **cut), cohort / "c.h5")
    assert run(cohort, tmp_path)["c"] == "failed"
    assert "holds no region" in index(tmp_path / "maps")["c"]["error"]


@pytest.mark.parametrize(
    ("options", "words"), [({"layers": ["heat"]}, "heat"), ({"prototype": 0}, "prototype"), ({"formats": []}, "png")]
)
def test_wrong_settings_are_named_at_once(cohort, tmp_path, options, words):
    """Before any file is read."""
    with pytest.raises(SettingError, match=words):
        SlideMaps(cohort, tmp_path, WRITERS | {"png": print}, **{"formats": ["tiff"], **options})


def test_an_empty_folder_is_named(tmp_path):
    """With what makes such files."""
    with pytest.raises(BundleError, match=r"inference.yaml"):
        SlideMaps(tmp_path, tmp_path, WRITERS, ["tiff"])


def test_a_full_disk_costs_only_its_slide(cohort, tmp_path):
    """A writer that cannot write is reported, with what to do."""

    def full(slide, request, folder):
        if slide.slide_id == "a":
            raise OSError("No space left on device")
        return []

    SlideMaps(cohort, tmp_path / "maps", {"tiff": full}, ["tiff"]).run()
    rows = index(tmp_path / "maps")
    assert "make room" in rows["a"]["error"] and rows["b"]["status"] == "done"


def test_prototype_share_is_of_tissue():
    """Regions count by their tissue; those without a prototype leave the sum below 1."""
    slide = made_up_slide(n_regions=3)
    slide.mask[:] = False
    slide.mask[0, 0, :3] = slide.mask[1, 0, 0] = slide.mask[2] = True
    assignment = np.array([0, 1, -1])
    np.testing.assert_allclose(tissue_shares(replace(slide, assignment=assignment)), [3 / 260, 1 / 260, 0])


@pytest.mark.slow
def test_processes_draw_the_same(cohort, tmp_path):
    """Two processes write what one writes, failures included."""
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    SlideMaps(cohort, alone, WRITERS, ["geojson"]).run()
    SlideMaps(cohort, shared, WRITERS, ["geojson"], num_workers=2).run()
    assert index(shared)["broken"]["status"] == "failed"
    for name in ("a", "b"):
        assert (alone / name / f"{name}.geojson").read_bytes() == (shared / name / f"{name}.geojson").read_bytes()


def test_maps_have_one_writer(cohort, tmp_path):
    """A second run in the folder ends before it draws, and is told by whom it is used."""
    (tmp_path / "maps").mkdir()
    with sole_run(tmp_path / "maps", "maps", "output_dir"), pytest.raises(BundleError, match="by process [0-9]+ on "):
        run(cohort, tmp_path)
    assert list((tmp_path / "maps").iterdir()) == []
