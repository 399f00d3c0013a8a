"""Precision of matrix products."""

import pytest
import torch

from bundle.parallel import full_precision

MATMUL = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]


@pytest.fixture(autouse=True)
def as_it_was():
    """Settings of this process are put back."""
    before = [backend.fp32_precision for backend in MATMUL]
    yield
    torch.set_float32_matmul_precision("highest")  # "medium" is bfloat16 on CPUs that have it, for all later tests
    for backend, precision in zip(MATMUL, before, strict=True):
        backend.fp32_precision = precision


@pytest.mark.parametrize("legacy", ["highest", "high", "medium"])
def test_low_precision_is_off_within_only(legacy):
    """Set by torch's older function: off within, what it was after, also after an error; torch can still tell."""
    torch.set_float32_matmul_precision(legacy)
    before = [backend.fp32_precision for backend in MATMUL]
    with pytest.raises(KeyError), full_precision():
        assert [backend.fp32_precision for backend in MATMUL] == ["ieee", "ieee"]
        raise KeyError
    assert [backend.fp32_precision for backend in MATMUL] == before
    assert torch.get_float32_matmul_precision() == legacy


def test_a_backend_set_by_itself_is_no_hindrance():
    """Set by torch's newer way, after which its older functions fail."""
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    with full_precision():
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"
