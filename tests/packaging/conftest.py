"""One small package for all tests of a file."""

import json
from pathlib import Path

import pytest
import torch
from encoder_files import own_file

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A folder with model.pt and its head (tokens of 12 to 32 values, 2 heads), what is known of it, and
    patch_encoder.pt."""
    from bundle.networks import Encoder, ProjectionHead, RegionViT, save_encoder, sha256_of, write_pretraining

    folder = tmp_path_factory.mktemp("weights")
    encoder = Encoder(RegionViT(in_dim=12, dim=32, depth=1, n_heads=2), ProjectionHead(32, 16, 8))
    for parameter in encoder.parameters():  # positions and biases start at 0, which would hide mistakes
        parameter.data += 0.05 * torch.randn_like(parameter)
    save_encoder(encoder.state_dict(), folder / "model.pt")
    own_file(folder / "patch_encoder.pt")
    about = {"n_heads": 2, "patch_encoder": f"test sha256:{sha256_of(folder / 'patch_encoder.pt')}", "mpp": 0.5}
    write_pretraining(folder / "model.pt", ["secret_slide_1", "secret_slide_2"], about)
    return folder


@pytest.fixture(scope="session")
def options(weights):
    """What a package of them is made with; the checks are left to those tests that look at them."""
    from scripts.zoo.build import PackageOptions

    def make(**changes):
        chosen = {"model": weights / "model.pt", "patch_encoder": weights / "patch_encoder.pt", "is_verified": False}
        return PackageOptions(**(chosen | changes))

    return make


@pytest.fixture(scope="session")
def package(tmp_path_factory, options):
    """It, not verified."""
    from scripts.zoo.build import build_package

    return build_package(ROOT, tmp_path_factory.mktemp("dist"), options())


@pytest.fixture(scope="session")
def metadata(package):
    """The package's metadata."""
    return json.loads((package.folder / "configs" / "metadata.json").read_text())
