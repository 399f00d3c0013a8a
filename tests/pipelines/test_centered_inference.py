"""Weights that were trained on centered tokens: inference and evaluation center for them, and for them alone."""

import h5py
import numpy as np
import pytest
import torch
from cohorts import write_cohort
from inferences import found, inference
from region_models import write_encoder

from bundle.evaluation import RegionEncoders, SlideFeatures
from bundle.networks import load_region_encoder
from bundle.storage import TokenDataset

REGIONS = (3, 6)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"), REGIONS)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The same weights without and with the word."""
    folder = tmp_path_factory.mktemp("weights")
    state = torch.load(write_encoder(folder / "plain.pt"), weights_only=True)
    torch.save({**state, "center_tokens": torch.tensor(True)}, folder / "centered.pt")
    return {name: folder / f"{name}.pt" for name in ("plain", "centered")}


def embedded(path, weights, is_centered):
    """Embeddings of a token file's regions, by hand."""
    with h5py.File(path) as file:
        tokens, mask = torch.from_numpy(file["features"][:]).float(), torch.from_numpy(file["mask"][:])
    if is_centered:
        tokens[mask] = (tokens[mask] - tokens[mask].double().mean(0).float()).half().float()
    with torch.inference_mode():
        return load_region_encoder(weights)(tokens.permute(0, 3, 1, 2), mask)


def test_inference_centers_what_its_weights_want_centered(cohort, weights, tmp_path):
    """Embeddings by hand, the setting in the record; the other weights embed tokens as they are, and record nothing."""
    for name, path in weights.items():
        network = load_region_encoder(path, takes_centered=True)
        inference(cohort, tmp_path / name, path, network, encoder=network).run()
        for slide in range(2):
            record = found(tmp_path / name, f"slide_{slide}")
            wanted = embedded(cohort / f"slide_{slide}.h5", weights["plain"], name == "centered")
            np.testing.assert_allclose(record.features, wanted, atol=2e-4)
            assert record.attributes.get("center_tokens") == ("slide" if name == "centered" else None)
    plain, centered = (found(tmp_path / name, "slide_0").features for name in weights)
    assert np.abs(plain - centered).max() > 0.01


def test_evaluation_gives_each_encoder_its_tokens(cohort, weights, tmp_path):
    """Both side by side, the mean token as it is; what was kept is found again."""
    for _ in range(2):
        features = SlideFeatures(TokenDataset(cohort, cache="none"), RegionEncoders.load(weights, 12), tmp_path)
        features.embed()
        for name in weights:
            files = [cohort / f"slide_{i}.h5" for i in range(2)]
            wanted = torch.cat([embedded(path, weights["plain"], name == "centered") for path in files])
            np.testing.assert_allclose(features.regions(name).embedding, wanted, atol=2e-4)
        assert np.abs(features.regions("tokens").embedding.mean(0)).max() > 0.1
