"""Attention that compares between regions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def relative_attention(attention: NDArray[np.floating[Any]], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A token's attention over the mean of its region's tissue: 2 means twice as much as tissue of this region gets.

    Attention of a region sums to (almost) 1 whatever is in it, so that a token among 20 with tissue gets more than one
    among 250, and background takes an unknown part of it. Dividing by the mean over tissue takes both out.

    Args:
        attention: weights of CLS, [R, H, P, P].
        mask: the token holds tissue, bool [R, P, P].

    Returns:
        float32 [R, H, P, P], at least 0, with mean 1 over a region's tissue; 0 outside of it, and in a region whose
        tissue gets no attention at all.
    """
    weights = attention.astype(np.float32) * mask[:, None]
    n_tokens = mask.sum((1, 2)).astype(np.float32)
    mean = weights.sum((2, 3)) / np.maximum(n_tokens, 1)[:, None]
    return np.divide(weights, mean[..., None, None], out=np.zeros_like(weights), where=mean[..., None, None] > 0)


def attention_on_tissue(attention: NDArray[np.floating[Any]], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Share of CLS's attention that falls on tissue, mean over heads, float32 [R], in [0, 1]."""
    return (attention.astype(np.float32) * mask[:, None]).sum((2, 3)).mean(1).clip(0, 1)
