"""The region encoder of tissue that comes along is what its card says."""

import hashlib
import json
from pathlib import Path

import torch

from bundle.networks import load_region_encoder

FILE = Path(__file__).parents[2] / "models" / "tissue_region_encoder.pt"


def test_it_loads_and_is_what_its_card_says():
    """Below 5 MB, 384 values in, 64 out, masks and standardized tokens; the record beside it is of this very file."""
    content, about = FILE.read_bytes(), json.loads(FILE.with_suffix(".json").read_text())
    assert len(content) < 5e6
    assert hashlib.sha256(content).hexdigest() == about["weights_sha256"]
    assert (about["mpp"], about["n_heads"], len(about["slides"])) == (2.016, 4, 46)
    encoder = load_region_encoder(FILE)
    assert encoder.mask_missing and encoder.backbone.standard is not None
    tokens = torch.randn(2, 384, 16, 16, generator=torch.Generator().manual_seed(0))
    present = torch.ones(2, 16, 16, dtype=torch.bool)
    present[1, 4:] = False
    with torch.inference_mode():
        embeddings, other = encoder(tokens, present), encoder(tokens * present[:, None], present)
    assert embeddings.shape == (2, 64)
    assert bool(embeddings.isfinite().all())
    assert torch.allclose(embeddings, other, atol=1e-5), "what is missing makes no difference"
