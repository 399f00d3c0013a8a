"""Embedding files: what is written is read, what is damaged says so."""

import sys

import numpy as np
import pytest
from edited_files import edited
from slide_embeddings import made_up_slide
from warm import run_python

from bundle.core import ROOT, BundleError
from bundle.storage import read_embeddings, read_embeddings_header, write_embeddings


@pytest.mark.parametrize("has_attention", [True, False])
def test_a_slide_comes_back_as_it_was(tmp_path, has_attention):
    """Arrays and attributes are equal; attention may be absent."""
    slide = made_up_slide(has_attention=has_attention)
    write_embeddings(slide, tmp_path / "new" / "a.h5")
    found = read_embeddings(tmp_path / "new" / "a.h5")
    for name in ("features", "projection", "coords", "mask", "slide_embedding", "prototypes", "assignment"):
        np.testing.assert_array_equal(getattr(found, name), getattr(slide, name))
        assert getattr(found, name).dtype == getattr(slide, name).dtype
    assert (found.attention is None) == (not has_attention)
    assert read_embeddings(tmp_path / "new" / "a.h5", attention=False).attention is None
    assert found.slide_id == slide.slide_id
    assert found.region_size_level0 == slide.region_size_level0
    assert read_embeddings_header(tmp_path / "new" / "a.h5")["region_encoder"] == slide.attributes["region_encoder"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.h5"]


def test_similarity_is_the_cosine_of_regions_and_prototypes():
    """Rows are of unit length, so that the product is the cosine; each region is nearest to a prototype."""
    slide = made_up_slide()
    assert slide.similarity.shape == (len(slide), slide.n_prototypes)
    assert np.abs(slide.similarity).max() <= 1 + 1e-5


@pytest.mark.parametrize("damage", ["missing", "cut", "other", "newer"])
def test_a_bad_file_is_named(tmp_path, damage):
    """Missing, cut short, another kind of file, a later version: the message names the file."""
    path = tmp_path / "bad.h5"
    write_embeddings(made_up_slide(), path)
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:600])
    else:
        with edited(path) as file:
            file.attrs["kind" if damage == "other" else "embeddings_version"] = "tokens" if damage == "other" else 99
    with pytest.raises(BundleError, match="bad.h5"):
        read_embeddings(path)


def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path):
    """A file stands where the folder should be: an error, and no part file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot be written"):
        write_embeddings(made_up_slide(), tmp_path / "file" / "a.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


FULL_DISK = """
import resource, sys
sys.path[:0] = sys.argv[1:3]
from slide_embeddings import made_up_slide
from bundle.core import BundleError
from bundle.storage import write_embeddings

resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
try:
    write_embeddings(made_up_slide(), sys.argv[3] + "/a.h5")
except BundleError as error:
    print("SAID", error)
"""


def test_a_full_disk_leaves_nothing_and_no_crash(tmp_path):
    """A message; no file; and the process ends in peace, which HDF5 writing to that disk would not let it."""
    words = [sys.executable, "-c", FULL_DISK, str(ROOT), str(ROOT / "tests"), str(tmp_path)]
    done = run_python(words)
    assert done.returncode == 0, done.stderr
    assert "SAID embeddings cannot be written to" in done.stdout and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("slide_id", ["../outside", "a/b", "..", "", "a\\b"])
def test_an_id_that_leads_out_of_a_folder_is_refused(tmp_path, slide_id):
    """Ids become file names of maps and pages: one with a folder in it once wrote outside of the output."""
    path = tmp_path / "bad.h5"
    write_embeddings(made_up_slide(), path)
    with edited(path) as file:
        file.attrs["slide_id"] = slide_id
    with pytest.raises(BundleError, match="bad.h5"):
        read_embeddings_header(path)


def test_any_damage_is_a_bundle_error(tmp_path):
    """h5py answers a changed byte with many kinds of exceptions; each once stopped a cohort without naming the file."""
    path = tmp_path / "bad.h5"
    write_embeddings(made_up_slide(n_regions=2, side=2, has_attention=False), path)
    whole, rng, n_errors = path.read_bytes(), np.random.default_rng(0), 0
    for place in rng.integers(0, min(len(whole), 6000), 150):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            read_embeddings(path)
        except BundleError as error:
            assert "bad.h5" in str(error)
            n_errors += 1
    assert n_errors > 5
