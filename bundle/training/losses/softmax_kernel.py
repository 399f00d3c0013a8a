"""The kernel behind :mod:`bundle.training.losses.fused_softmax`; needs Triton, which CUDA builds of torch bring."""

import triton
import triton.language as tl


@triton.jit
def exponentials(
    products,
    centers,
    peak_before,
    total_before,
    expected_before,
    peak_after,
    total_after,
    expected_after,
    decay_after,
    out,
    n_columns,
    product_stride,
    center_stride,
    out_stride,
    n_guesses,
    n_regions,
    BLOCK: tl.constexpr,  # noqa: N803
):
    """One program a row: the largest logit, then exponentials over it, their sum, and their sum times logits."""
    row = tl.program_id(0).to(tl.int64)
    is_target = row >= n_guesses
    own = products + row * product_stride
    center = centers + tl.where(is_target, (row - n_guesses) // n_regions, 0) * center_stride
    columns = tl.arange(0, BLOCK)
    highest = tl.full((BLOCK,), float("-inf"), tl.float32)
    for start in range(0, n_columns, BLOCK):
        place = start + columns
        logits = tl.load(own + place, mask=place < n_columns, other=float("-inf")).to(tl.float32)
        logits -= tl.load(center + place, mask=(place < n_columns) & is_target, other=0.0)
        highest = tl.maximum(highest, logits)
    before = tl.load(peak_before + row)
    peak = tl.maximum(before, tl.max(highest, axis=0))
    total = tl.zeros((BLOCK,), tl.float32)
    expected = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, n_columns, BLOCK):
        place = start + columns
        inside = place < n_columns
        logits = tl.load(own + place, mask=inside, other=0.0).to(tl.float32)
        logits -= tl.load(center + place, mask=inside & is_target, other=0.0)
        found = tl.where(inside, tl.exp(logits - peak), 0.0)
        total += found
        expected += found * logits
        tl.store(out + row * out_stride + place, found.to(out.dtype.element_ty), mask=inside)
    decay = tl.exp(before - peak)
    tl.store(peak_after + row, peak)
    tl.store(decay_after + row, decay)
    tl.store(total_after + row, tl.load(total_before + row) * decay + tl.sum(total, axis=0))
    tl.store(expected_after + row, tl.load(expected_before + row) * decay + tl.sum(expected, axis=0))
