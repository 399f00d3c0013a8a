"""Checking a folder of tokens or embeddings: every region is read, and what is damaged can be left out."""

import h5py
import pytest
from cohorts import write_cohort
from region_models import read_table
from slide_embeddings import made_up_slide

from bundle.cohort import read_quarantine
from bundle.core import BundleError
from bundle.evaluation import evaluation_dataset
from bundle.pipelines.checking.checker import SlideChecker
from bundle.storage import TokenDataset, write_embeddings


def damage(path, offset):
    whole = path.read_bytes()
    path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 4]) + whole[offset + 1 :])


def problems(folder, out):
    SlideChecker(folder, out).run()
    return {row["slide"]: row["problem"] for row in read_table(out / "checks.csv")}


def test_a_damaged_region_is_found_and_left_out(tmp_path):
    """The list that checking writes is what training and evaluating leave out; without it they stop at the region."""
    tokens = write_cohort(tmp_path / "tokens", (2, 3, 2))
    with h5py.File(tokens / "slide_1.h5") as file:
        offset = file["features"].id.get_chunk_info(2).byte_offset
    damage(tokens / "slide_1.h5", offset + 100)
    found = problems(tokens, tmp_path / "check")
    assert [name for name, problem in found.items() if problem] == ["slide_1"]
    assert "region 2 of token file" in found["slide_1"]
    listed = tmp_path / "check" / "quarantine.txt"
    assert list(read_quarantine(listed)) == ["slide_1"]
    with pytest.raises(BundleError, match="region 2 of token file .*slide_1.h5"):
        TokenDataset(tokens, cache="none").statistics()
    TokenDataset(tokens, cache="none", exclude=listed).statistics()
    assert evaluation_dataset(tokens, exclude=listed).slide_ids == ["slide_0", "slide_2"]


def test_damaged_embeddings_are_found_and_left_out(tmp_path):
    """The same for what inference wrote."""
    for name in "ab":
        write_embeddings(made_up_slide(f"slide_{name}"), tmp_path / "in" / f"slide_{name}.h5")
    with h5py.File(tmp_path / "in" / "slide_a.h5") as file:
        offset = file["projection"].id.get_offset()
    damage(tmp_path / "in" / "slide_a.h5", offset)
    found = problems(tmp_path / "in", tmp_path / "check")
    assert "its projection is not what was written" in found["slide_a"] and not found["slide_b"]
    dataset = evaluation_dataset(tmp_path / "in", exclude=tmp_path / "check" / "quarantine.txt")
    assert dataset.slide_ids == ["slide_b"]
