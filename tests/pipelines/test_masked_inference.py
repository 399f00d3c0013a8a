"""Regions with gaps, embedded and evaluated by weights that mask what is missing."""

import shutil

import numpy as np
import pytest
from cohorts import write_cohort
from edited_files import edited
from inferences import found, inference
from region_models import write_encoder

from bundle.evaluation import RegionEncoders, SlideFeatures
from bundle.storage import TokenDataset, TokenFile

REGIONS = (3, 6)


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """The same cohort with zeros and with ten thousands where there is no tissue."""
    folder = tmp_path_factory.mktemp("cohorts")
    zeros = write_cohort(folder / "zeros", REGIONS)
    others = shutil.copytree(zeros, folder / "others")
    for path in others.glob("*.h5"):
        with edited(path) as file:
            file["features"][...] = np.where(file["mask"][...][..., None], file["features"][...], 1e4)
    return zeros, others


@pytest.mark.parametrize("mask_missing", [True, False])
def test_embeddings_maps_and_prototypes(cohorts, tmp_path, mask_missing):
    """To the bit the same with masks, and recorded; other ones by weights that look at everything."""
    model = write_encoder(tmp_path / "model.pt", mask_missing=mask_missing)
    slides = []
    for cohort in cohorts:
        inference(cohort, tmp_path / cohort.name, model).run()
        slides.append([found(tmp_path / cohort.name, f"slide_{i}") for i in range(len(REGIONS))])
    for plain, other in zip(*slides, strict=True):
        for name in ("features", "projection", "attention", "prototypes", "assignment", "slide_embedding"):
            same = np.array_equal(getattr(plain, name), getattr(other, name))
            assert same == mask_missing or name == "assignment", name
        assert plain.attributes.get("mask_missing", False) == mask_missing
        gaps = ~plain.mask
        assert gaps.any()
        assert (plain.attention.swapaxes(0, 1)[:, gaps] == 0).all() == mask_missing


def test_features_for_evaluation(cohorts, tmp_path):
    """Region embeddings of each encoder as its weights are, mean tokens of tissue alone."""
    paths = {"masks": write_encoder(tmp_path / "a.pt", mask_missing=True), "looks": write_encoder(tmp_path / "b.pt")}
    plain, other = (
        SlideFeatures(TokenDataset(cohort, cache="none"), RegionEncoders.load(paths, 12), tmp_path / cohort.name)
        for cohort in cohorts
    )
    for name, is_same in {"masks": True, "looks": False, "tokens": True}.items():
        assert np.array_equal(plain.regions(name).embedding, other.regions(name).embedding) == is_same


def test_encoded_background_is_there(cohorts, tmp_path):
    """Where all patches were encoded, no token is missing, tissue or not."""
    dense = shutil.copytree(cohorts[0], tmp_path / "dense")
    for path in dense.glob("*.h5"):
        with edited(path) as file:
            file.attrs["encode_background"] = True
        assert TokenFile(path).present.all() and not TokenFile(path).mask.all()
    assert not TokenDataset(dense).has_missing and TokenDataset(cohorts[0]).has_missing
