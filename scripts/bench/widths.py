"""A training step by the width of tokens and of the region encoder, and what masking costs."""

from __future__ import annotations

from .measure import Case, Variant
from .step import our_step

_TOKEN_DIMS = (384, 1024, 1536)


def cases(device: str, threads: int) -> list[Case]:
    """Encoders of 192 and 384 values on tokens of three widths; one with a third of its tokens missing."""
    n_regions, amp = (16, False) if device == "cpu" else (128, True)
    return [
        Case(
            "widths",
            f"training step, D = {token_dim:,}, B = {n_regions}, {'bf16' if amp else 'fp32'}",
            [
                Variant("width 192", "reference", our_step(n_regions, device, amp, token_dim=token_dim)),
                Variant("width 384", "ours", our_step(n_regions, device, amp, token_dim=token_dim, dim=384)),
                Variant(
                    "width 192, a third of the tokens masked",
                    "ours",
                    our_step(n_regions, device, amp, token_dim=token_dim, missing=1 / 3),
                ),
            ],
            work=n_regions,
            unit="regions",
        )
        for token_dim in _TOKEN_DIMS
    ]
