"""Inference on a GPU. Skipped, saying so, where there is no GPU."""

import numpy as np
import pytest
import torch
from cohorts import write_cohort
from inferences import found, inference

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nothing was tried on CUDA")


@pytest.mark.parametrize(("amp", "least"), [(False, 0.9999), (True, 0.999)])
def test_a_gpu_finds_what_a_cpu_finds(tmp_path, amp, least):
    """Region embeddings and projections agree; every file has its prototypes and its attention."""
    tokens = write_cohort(tmp_path / "tokens", (3, 70))
    inference(tokens, tmp_path / "cpu").run()
    inference(tokens, tmp_path / "gpu", tmp_path / "model.pt", device="cuda", amp=amp).run()
    for slide_id in ("slide_0", "slide_1"):
        one, other = found(tmp_path / "cpu", slide_id), found(tmp_path / "gpu", slide_id)
        for name in ("features", "projection"):
            a, b = getattr(one, name), getattr(other, name)
            cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
            assert cosine.min() > least, name
        np.testing.assert_allclose(one.attention, other.attention, atol=0.01)
        assert one.n_prototypes == other.n_prototypes
