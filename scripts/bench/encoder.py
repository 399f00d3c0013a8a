"""The frozen patch encoder, ViT-S/16 on 256 px: what tokenizing spends its time on."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bundle.networks import PatchTokenizer, PatchViT

from . import reference_way
from .loss import in_bf16
from .measure import Case, Variant


def cases(device: str, threads: int) -> list[Case]:
    """One batch of patches, fp32 and bf16."""
    n_patches = 16 if device == "cpu" else 256
    torch.manual_seed(0)
    vit = PatchViT().to(device)
    plain, rounded = (PatchTokenizer(vit, 384, amp=amp).to(device) for amp in (False, True))
    patches = torch.randint(256, (n_patches, 3, 256, 256), dtype=torch.uint8, device=device)

    def reference() -> Tensor:
        with torch.inference_mode():
            return reference_way.patch_tokens(vit, (patches.float() - plain.mean_255) / plain.std_255)

    cosine = float(F.cosine_similarity(plain(patches), rounded(patches)).min())
    work = torch.randn(n_patches * 257, 384, device=device)
    wide = torch.randn(384, 384 * 12, device=device)

    def products() -> Any:
        with torch.inference_mode():
            for _ in range(12):
                work @ wide

    return [
        Case(
            "patch encoder",
            f"tokens of {n_patches} patches, ViT-S/16",
            [
                Variant("reference, fp32", "reference", reference),
                Variant("reference, bf16", "peer", in_bf16(reference, device)),
                Variant("ours, fp32", "ours", lambda: plain(patches)),
                Variant("ours, bf16", "ours", lambda: rounded(patches)),
                Variant("the products alone, fp32", "limit", products),
                Variant("the products alone, bf16", "limit", in_bf16(products, device)),
            ],
            work=n_patches,
            unit="patches",
            goal={"ours, fp32": 1.33, "ours, bf16": 2.8},
            note=f"Least cosine between our tokens in bf16 and in fp32: {cosine:.5f}.",
        )
    ]
