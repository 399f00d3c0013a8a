"""Values that change over a run."""

from __future__ import annotations

import math


def warmup_cosine(
    step: int, total: int, start: float, end: float, *, warmup: int = 0, warmup_start: float = 0.0
) -> float:
    """Ramp linearly from ``warmup_start`` to ``start``, then follow half a cosine to ``end``.

    The value is ``warmup_start`` at step 0 (if there is a warm-up), ``start`` at step ``warmup``, ``end`` at step
    ``total`` and from there on. Learning rate, weight decay and the teacher's momentum all follow it [1].

    Args:
        step: iterations (or epochs) done so far, at least 0.
        total: steps of the whole run, in the unit of ``step``.
        start: value at the end of the warm-up.
        end: value at ``total``.
        warmup: steps of the ramp, in the unit of ``step``; where it is longer than the run there is only a ramp.
        warmup_start: value at step 0.

    Raises:
        ValueError: a negative ``step`` or ``warmup``, or ``total`` below 1.

    References:
        [1] Caron et al., ICCV 2021, section 3.2.
    """
    if step < 0 or warmup < 0 or total < 1:
        raise ValueError(f"step and warmup must be >= 0 and total >= 1: got {step}, {warmup} and {total}.")
    if step < warmup:
        return warmup_start + (start - warmup_start) * step / warmup
    if step >= total:
        return end
    progress = (step - warmup) / (total - warmup)
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))
