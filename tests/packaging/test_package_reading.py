"""A package reads slides as its weights were trained, on whatever machine it is unpacked."""

from pathlib import Path

import pytest
import torch
from encoder_files import own_file
from region_models import write_encoder
from tiny_slides import write_slide
from workflows import workflow

from bundle.core.command_line import user_error
from bundle.networks import sha256_of, write_pretraining
from bundle.storage import read_embeddings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def packaged(tmp_path_factory, options):
    """A package of weights of 2.0 um/px and patches of 64 px, and a folder with a slide."""
    from scripts.zoo import build

    folder = tmp_path_factory.mktemp("coarse")
    contract = {"name": "stage one", "input_px": 64, "mpp": 2.0, "dim": 12}
    own_file(folder / "patch_encoder.pt", image_size=64, patch_size=16, **contract)
    name = f"patch_encoder sha256:{sha256_of(folder / 'patch_encoder.pt')}"
    about = {"n_heads": 1, "patch_encoder": name, "mpp": 2.0}  # as before sizes were noted
    write_pretraining(write_encoder(folder / "model.pt"), [], about)
    write_slide(folder / "slides" / "a.tif", 512)
    files = {"model": folder / "model.pt", "patch_encoder": folder / "patch_encoder.pt"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "export_torchscript", lambda folder: None)
        return build.build_package(ROOT, folder / "dist", options(**files)).folder, folder


def infer(packaged, tmp_path, **ids):
    """The package's own inference on the slide."""
    package, folder = packaged
    paths = {"dataset_dir": folder / "slides", "output_dir": tmp_path, "tokens_dir": tmp_path / "tokens"}
    workflow("inference.json", root=package, **paths, device="cpu", **ids).run()
    return read_embeddings(tmp_path / "embeddings" / "a.h5").attributes


def test_a_package_reads_as_its_weights_were_trained(packaged, tmp_path):
    """2.0 um/px and 64 px without a word; it used to read at 0.5 and 256, with a warning."""
    found = infer(packaged, tmp_path)
    assert (found["mpp"], found["patch_size_px"], found["region_size_px"]) == (2.0, 64, 16 * 64)


@pytest.mark.parametrize("ids", [{"mpp": 0.5}, {"patch_encoder_ckpt": "other.pt"}])
def test_what_contradicts_the_weights_is_refused_before_a_slide_is_read(packaged, tmp_path, ids):
    """The error has what they say, what was asked for, and the way out; nothing is written but the table."""
    if "patch_encoder_ckpt" in ids:
        contents = torch.load(packaged[1] / "patch_encoder.pt", weights_only=True)
        torch.save({**contents, "epoch": 1}, tmp_path / "other.pt")
        ids = {"patch_encoder_ckpt": str(tmp_path / "other.pt")}
    with pytest.raises(Exception) as caught:
        infer(packaged, tmp_path, **ids)
    said = str(user_error(caught.value))
    both = (
        ("at 2 um/px, and this run has patches at 0.5") if "mpp" in ids else ("and this run has those of other sha256")
    )
    assert "model.pt was trained on" in said and both in said and "--allow_other_tokens true" in said
    assert not (tmp_path / "tokens").exists()
