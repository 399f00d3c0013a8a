"""The demo's patch encoder: the file that comes along, and the script that makes such a file."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from bundle.core import ROOT
from bundle.networks import load_patch_encoder
from scripts.bench.learning.demo_encoder import MPP, PATCH_PX, draw_patches, teach, tokens, varied, write

FILE = ROOT / "models" / "demo_patch_encoder.pt"


@pytest.fixture(scope="module")
def patches():
    """Of four small slides of each task."""
    return draw_patches(8, 70, regions=1)


def test_it_tells_tissues_apart(patches):
    """The file is small, describes itself, and its tokens give the commonest tissue of a patch away."""
    assert FILE.stat().st_size < 2e6
    encoder = load_patch_encoder(FILE, PATCH_PX, mpp=MPP)
    found = encoder(patches.pixels).numpy()
    truth = np.asarray(patches.shares[:, 1:].argmax(1))
    seen = np.arange(len(found)) * 4 // len(found) % 2 == 0  # of each task some slides, and not the others
    linear = LogisticRegression(C=0.1, max_iter=300).fit(found[seen], truth[seen])
    commonest = np.bincount(truth[~seen]).max() / (~seen).sum()
    assert linear.score(found[~seen], truth[~seen]) > commonest + 0.15


def test_the_script_writes_what_loads(patches, tmp_path):
    """A ViT that saw a few patches goes into a file, and gives the same tokens from there, but for float16."""
    few = patches._replace(pixels=patches.pixels[:64], shares=patches.shares[:64])
    backbone = teach(few, n_steps=2, batch_size=32).half().float()
    write(backbone, tmp_path / "encoder.pt")
    torch.testing.assert_close(
        load_patch_encoder(tmp_path / "encoder.pt", PATCH_PX, mpp=MPP)(few.pixels).numpy(), tokens(backbone, few)
    )


def test_stains_vary_and_shapes_stay(patches):
    """Views differ from the patch in color, each by itself; glass stays glass."""
    generator = torch.Generator().manual_seed(0)
    white = torch.full((32, 3, PATCH_PX, PATCH_PX), 255, dtype=torch.uint8)
    assert varied(white, generator).mean((1, 2, 3)).min() > 225
    gray = torch.full((2, 3, PATCH_PX, PATCH_PX), 128, dtype=torch.uint8)
    view = varied(gray, generator)
    assert view.shape == gray.shape and not torch.equal(view[0], view[1]) and not torch.equal(view[0], gray[0].float())
