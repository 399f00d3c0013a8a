"""What is wrong with features: each slide is named with its file and what to do, and the rest goes on."""

import fcntl
import re

import numpy as np
import pytest
import torch
from imports import VALUES, XY, attempt, good
from pyramids import write_pyramid
from tiny_slides import write_slide

from bundle.cohort import SlideTable
from bundle.core import BundleError
from bundle.pipelines.importing.import_table import read_records
from scripts.pins.foreign_features import (
    MPP,
    PITCH,
    features,
    lattice,
    write_clam,
    write_plain,
    write_slide2vec,
    write_stamp,
    write_trident,
)


def nan_rows(share):
    """Features of which some are not finite."""
    values = VALUES.copy()
    values[: max(1, int(share * len(values))), 3] = np.nan
    return values


FAULTS = {
    "coordinates and features of different length": (
        lambda path: write_trident(path, XY[:-3], VALUES),
        f"{len(VALUES)} features but coordinates.*Make both anew",
    ),
    "coordinates on no lattice": (
        lambda path: write_trident(path, np.random.default_rng(0).integers(0, 9000, XY.shape), VALUES),
        "on no lattice.*cut the slide on a grid",
    ),
    "another encoder": (
        lambda path: write_trident(path, XY, VALUES, encoder="another_v1"),
        "of another_v1 .*most others here are of theirs_v1.*tokens_dir of its own",
    ),
    "another D": (lambda path: write_trident(path, XY, features(len(XY), dim=8)), "D = 8.*never mix"),
    "another scale": (
        lambda path: write_trident(path, lattice(pitch=256, columns=20, rows=20), VALUES, patch_level0=256),
        "encoded at 0.25 um/px, the folder goes by 0.5.*mpp_tolerance",
    ),
    "coordinates beyond the slide": (
        lambda path: write_trident(path, XY, VALUES, size=(4000, 4000)),
        r"begin beyond its 4000 x 4000 px.*level-0 px",
    ),
    "many rows of NaN": (
        lambda path: write_trident(path, XY, nan_rows(0.5)),
        "are not finite .*the first in row 0: encode the slide again",
    ),
    "no patch": (lambda path: write_trident(path, XY[:0], VALUES[:0]), "holds no patch"),
    "features too large for float16": (
        lambda path: write_trident(path, XY, VALUES * 1e6),
        "not finite as float16.*store float32",
    ),
    "another pitch than its attributes say": (
        lambda path: write_trident(path, XY, VALUES, overlap=128),
        "lie 512 level-0 px apart, its attributes say 256",
    ),
    "features that are no real numbers": (
        lambda path: write_trident(path, XY, VALUES.astype(complex)),
        "complex128, not real numbers",
    ),
    "a file of another layout": (lambda path: write_stamp(path, XY, VALUES), "of another layout"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_slide_is_named_and_the_rest_goes_on(tmp_path, fault):
    """The error has the slide, what was found and what to do; no part of its token file stays."""
    write, expected = FAULTS[fault]
    good(tmp_path, "good", "better")
    write(tmp_path / "in" / "bad.h5")
    failed, files = attempt(tmp_path)
    assert set(files) == {"good", "better"} and set(failed) == {"bad"}
    assert "bad.h5" in failed["bad"] or "slide bad" in failed["bad"]
    assert re.search(expected, failed["bad"]), failed["bad"]
    assert not list((tmp_path / "tokens").glob("*.part"))


def test_cut_short_or_still_being_written(tmp_path):
    """A truncated file, one that another process holds open, and one that TRIDENT has locked are imported later."""
    good(tmp_path, "a", "cut", "locked", "open")
    whole = (tmp_path / "in" / "cut.h5").read_bytes()
    (tmp_path / "in" / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in" / "locked.h5.lock").touch()
    with (tmp_path / "in" / "open.h5").open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)  # as HDF5 does where it writes
        failed, files = attempt(tmp_path)
    assert set(files) == {"a"} and set(failed) == {"cut", "locked", "open"}
    assert "by another process" in failed["open"]
    assert "still being written" in failed["cut"] and "locked.h5.lock is there" in failed["locked"]
    (tmp_path / "in" / "cut.h5").write_bytes(whole)
    (tmp_path / "in" / "locked.h5.lock").unlink()
    failed, files = attempt(tmp_path)
    assert not failed and set(files) == {"a", "cut", "locked", "open"}


def test_half_of_the_slides_without_coordinates(tmp_path):
    """Those that have some are imported; the others say where coordinates are looked for."""
    for name in "abcd":
        write_clam(tmp_path / "in", name, XY, VALUES, patches=name in "ab", h5=False, pt=True)
    failed, files = attempt(tmp_path, encoder="resnet50", patch_size=256)
    assert set(files) == {"a", "b"} and "--coords_dir" in failed["c"] and set(failed) == {"c", "d"}


def test_a_pt_file_that_holds_code_is_refused(tmp_path):
    """Nothing of it is run: ``weights_only`` refuses it, and the others go on."""

    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    for name in "ab":
        write_clam(tmp_path / "in", name, XY, VALUES, h5=False, pt=True)
    torch.save(Harmful(), tmp_path / "in" / "pt_files" / "bad.pt")
    failed, files = attempt(tmp_path, encoder="resnet50")
    assert "could run code" in failed["bad"] and set(files) == {"a", "b"} and not (tmp_path / "harm").exists()


def test_a_few_rows_that_are_not_finite_are_left_out(tmp_path):
    """Below one in a hundred their cells are empty, the table counts them, and the slide is imported."""
    write_trident(tmp_path / "in" / "a.h5", XY, nan_rows(0.005))
    failed, files = attempt(tmp_path)
    assert not failed and files["a"].mask.sum() == len(XY) - 1
    assert read_records(tmp_path / "out" / "slides.csv")[0].not_finite == 1


def test_a_dense_grid_with_a_hole_is_no_dense_grid(tmp_path):
    """Regions that come whole have a token everywhere, and say so; where a row was left out they said so, too."""
    xy, values = np.array([[0, 0], [16 * PITCH, 0]]), features(2 * 256).reshape(2, 256, -1)
    write_slide2vec(tmp_path / "in", "a", xy, values)
    values[1, 3] = np.nan
    write_slide2vec(tmp_path / "in", "b", xy, values)
    _, files = attempt(tmp_path)
    assert {name: file.header.attributes["encode_background"] for name, file in files.items()} == {
        "a": True,
        "b": False,
    }
    assert files["b"].mask.sum() == 511


def test_float64_is_stored_as_asked_for(tmp_path):
    """Features and coordinates of float64 are read; the file records what they were."""
    write_trident(tmp_path / "in" / "a.h5", XY.astype(np.float64), VALUES.astype(np.float64))
    _, files = attempt(tmp_path)
    assert files["a"].header.dtype == np.float16 and files["a"].header.attributes["source_dtype"] == "float64"


def test_ids_that_differ_from_the_table_by_a_suffix(tmp_path):
    """``a.svs.h5``, ``b.h5`` and the table's ``a``, ``b.svs`` are two slides; the table's mpp reaches both."""
    good(tmp_path, "a.svs", "b")
    table = tmp_path / "table.csv"
    table.write_text("slide,mpp\na,0.251\nb.svs,0.252\n")
    failed, files = attempt(tmp_path, table=SlideTable.read(table), default_mpp=None)
    assert not failed and set(files) == {"a", "b"}
    scales = [files[name].header.attributes for name in "ab"]
    assert [found["level0_mpp"] for found in scales] == [0.251, 0.252]
    assert [round(found["read_mpp"], 6) for found in scales] == [0.502, 0.504] and scales[0]["mpp"] == scales[1]["mpp"]


def test_scale_and_encoder_are_never_assumed(tmp_path):
    """Without them nothing is imported, and the errors name the ids that give them."""
    good(tmp_path, "a")
    with pytest.raises(BundleError, match="--slides_dir.*--default_mpp"):
        attempt(tmp_path, default_mpp=None)
    write_clam(tmp_path / "two" / "in", "a", XY, VALUES)
    with pytest.raises(BundleError, match="--encoder"):
        attempt(tmp_path / "two")


@pytest.mark.parametrize(("content", "expected"), [(None, "does not exist"), ("notes.txt", "it holds notes.txt")])
def test_a_folder_without_features_says_what_it_holds(tmp_path, content, expected):
    """And which layouts are known."""
    if content:
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / content).touch()
    with pytest.raises(BundleError, match=expected):
        attempt(tmp_path)


def test_tokens_of_another_kind_stay_alone(tmp_path):
    """A second import of another encoder into the same folder is refused, with both names."""
    good(tmp_path, "a")
    attempt(tmp_path)
    write_trident(tmp_path / "in" / "a.h5", XY, VALUES, encoder="another_v1")
    with pytest.raises(BundleError, match="encoder is theirs_v1 .*another_v1.*another tokens_dir"):
        attempt(tmp_path)


def test_one_slide_twice_is_refused(tmp_path):
    """Two runs in one folder: which is meant must be said."""
    for folder in ("10x", "20x"):
        write_trident(tmp_path / "in" / folder / "a.h5", XY, VALUES)
    with pytest.raises(BundleError, match="two files of features.*one run"):
        attempt(tmp_path)


def test_plain_files_need_their_px(tmp_path):
    """A file of one's own without a patch size asks for it; with it the pitch gives the scale."""
    write_plain(tmp_path / "in" / "a.h5", XY, VALUES, encoder="own", level0_mpp=MPP)
    with pytest.raises(BundleError, match="--patch_size"):
        attempt(tmp_path, default_mpp=None)
    _, files = attempt(tmp_path, default_mpp=None, patch_size=256)
    assert files["a"].header.mpp == 0.5


def test_tiles_beyond_the_border_hold_nothing(tmp_path):
    """STAMP cuts blocks of tiles, the last ones beyond the slide: those tiles are left out; far beyond is an error."""
    xy, side = XY // 8, 1152  # tiles of 128 um are 64 px of this slide
    write_slide(tmp_path / "slides" / "a.tif", side, mpp=2.0)
    write_stamp(tmp_path / "in" / "a.h5", xy, VALUES, mpp=2.0)
    _, files = attempt(tmp_path, slides_dir=tmp_path / "slides", default_mpp=None)
    is_inside = (xy < side).all(1)
    assert files["a"].mask.sum() == is_inside.sum() < len(xy)
    assert read_records(tmp_path / "out" / "slides.csv")[0].left_out == (~is_inside).sum()
    write_stamp(tmp_path / "in" / "a.h5", xy * 0 + side, VALUES, mpp=2.0)
    with pytest.raises(BundleError, match="all of its .* patches begin beyond"):
        attempt(tmp_path, slides_dir=tmp_path / "slides", default_mpp=None)
    write_stamp(tmp_path / "in" / "a.h5", xy + 2048, VALUES, mpp=2.0)
    with pytest.raises(BundleError, match="begin beyond its 1152 x 1152 px"):
        attempt(tmp_path, slides_dir=tmp_path / "slides", default_mpp=None)


def test_patches_of_oblong_px_are_no_squares(tmp_path):
    """Other tools cut squares of px: of a slide whose px are none their tokens would lie elsewhere."""
    tags = {"resolution": (1e4 / 0.25, 1e4 / 0.26), "resolutionunit": "CENTIMETER"}
    (tmp_path / "slides").mkdir()
    write_pyramid(tmp_path / "slides" / "a.tif", np.full((900, 900, 3), 240, np.uint8), None, factors=(1,), **tags)
    write_stamp(tmp_path / "in" / "a.h5", XY, VALUES)
    with pytest.raises(BundleError, match=r"slide a has oblong pixels.*configs/tokenize.yaml, or give one um/px"):
        attempt(tmp_path, slides_dir=tmp_path / "slides", default_mpp=None)
