"""The tokenizing config: what MONAI asks of an inference bundle, and the missing encoder as its first error."""

from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow
from tiny_slides import PATCH, write_slide

from bundle.core import BundleError
from bundle.core.command_line import user_error
from bundle.networks import PatchViT
from bundle.storage import TokenDataset

ROOT = Path(__file__).parents[2]


def workflow(tmp_path, **overrides):
    """The config over two tiny slides, initialized."""
    for name in ("a", "b"):
        write_slide(tmp_path / "slides" / f"{name}.tif", 160)
    ids = {
        "dataset_dir": str(tmp_path / "slides"),
        "tokens_dir": str(tmp_path / "tokens"),
        "output_dir": str(tmp_path / "out"),
        "patch_encoder_ckpt": str(tmp_path / "encoder.pt"),
        "mpp": 2.0,
        "patch_size": PATCH,
        "region_patches": 4,
        "min_tissue_patches": 2,
        "device": "cpu",
        "amp": "false",
    }
    made = ConfigWorkflow(
        config_file=str(ROOT / "configs" / "tokenize.yaml"),
        workflow_type="infer",
        logging_file=False,
        bundle_root=str(ROOT),
        **{**ids, **overrides},
    )
    made.initialize()
    return made


def test_the_config_runs(tmp_path):
    """check_properties finds nothing missing, and the run makes token files with the encoder's hash in them."""
    sizes = {"image_size": PATCH, "patch_size": 8, "dim": 12, "depth": 1, "n_heads": 2}
    colors = {"mean": [0.5] * 3, "std": [0.5] * 3}
    contents = {"teacher": PatchViT(**sizes).state_dict(), "architecture": sizes, "normalization": colors}
    torch.save(contents, tmp_path / "encoder.pt")
    made = workflow(tmp_path)
    assert made.check_properties() == []
    made.run()
    tokens = TokenDataset(tmp_path / "tokens")
    assert tokens.slide_ids == ["a", "b"] and tokens.token_dim == 12 and "encoder sha256:" in tokens.encoder


def test_a_missing_encoder_comes_first(tmp_path):
    """Without weights the run ends with the ways out, before a slide is read or a folder made."""
    with pytest.raises(Exception) as caught:
        workflow(tmp_path).run()
    mistake = user_error(caught.value)
    assert isinstance(mistake, BundleError) and "there is no patch encoder" in str(mistake)
    assert not (tmp_path / "tokens").exists() and not (tmp_path / "out").exists()
