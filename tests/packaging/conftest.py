"""One small package for all tests of a file."""

import json
from pathlib import Path

import pytest
import torch
from region_models import write_encoder

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT.parent / "shared" / "zoo" / "meta_schema_20240725.json"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with model.pt (tokens of 12 to 32 values), its list of slides, and patch_encoder.pt (12 values)."""
    from bundle.networks import PatchViT
    from bundle.weights import write_pretraining

    folder = tmp_path_factory.mktemp("weights")
    write_encoder(folder / "model.pt")
    write_pretraining(folder / "model.pt", ["secret_slide_1", "secret_slide_2"])
    patch_encoder = PatchViT(image_size=16, patch_size=8, dim=12, depth=1, n_heads=2)
    contents = {
        "teacher": patch_encoder.state_dict(),
        "architecture": patch_encoder.architecture,
        "normalization": {"mean": [0.5] * 3, "std": [0.5] * 3},
    }
    torch.save(contents, folder / "patch_encoder.pt")
    return folder


@pytest.fixture(scope="module")
def options(weights):
    """What a package of them is made with; the checks are left to those tests that look at them."""
    from bundle.packaging import PackageOptions

    def make(**changes):
        chosen = {"model": weights / "model.pt", "patch_encoder": weights / "patch_encoder.pt", "is_verified": False}
        return PackageOptions(**(chosen | changes))

    return make


@pytest.fixture(scope="module")
def package(tmp_path_factory, options):
    """It, not verified."""
    from bundle.packaging import build_package

    return build_package(ROOT, tmp_path_factory.mktemp("dist"), options())


@pytest.fixture(scope="module")
def metadata(package):
    """The package's metadata."""
    return json.loads((package.folder / "configs" / "metadata.json").read_text())
