"""Frozen patch encoders, which tokenizing spends its time on: ViT-S/16 on 256 px, and ViTs of the registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bundle.networks import VIT_ARCHITECTURES, PatchTokenizer, PatchViT, build_vit_variant, named_contract

from . import reference_way
from .loss import in_bf16
from .measure import Case, Variant

# a plain ViT-S/16, and one with registers, LayerScale and SwiGLU
_REGISTERED = ("kaiko-s16", "hibou-b")


def cases(device: str, threads: int) -> list[Case]:
    """One batch of patches, fp32 and bf16; of the registry's encoders only their share of bare products."""
    return [_own_case(device), *(_registered_case(name, device) for name in _REGISTERED)]


def _own_case(device: str) -> Case:
    n_patches = _n_patches(device)
    torch.manual_seed(0)
    vit = PatchViT().to(device)
    plain, rounded = (PatchTokenizer(vit, 384, amp=amp).to(device) for amp in (False, True))
    patches = torch.randint(256, (n_patches, 3, 256, 256), dtype=torch.uint8, device=device)

    def reference() -> Tensor:
        with torch.inference_mode():
            return reference_way.patch_tokens(vit, (patches.float() - plain.mean_255) / plain.std_255)

    cosine = float(F.cosine_similarity(plain(patches), rounded(patches)).min())
    products = _products(n_patches * 257, 384, device)
    return Case(
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


def _registered_case(name: str, device: str) -> Case:
    """A network of the registry beside its bare products, which are the reference: the ratio is the share of them."""
    n_patches, contract = _n_patches(device), named_contract(name)
    torch.manual_seed(0)
    vit = build_vit_variant(VIT_ARCHITECTURES[name]).to(device)
    for parameter in vit.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    own, side = vit.architecture, contract.input_px or 224
    tokenizer = PatchTokenizer(vit, own.out_dim, contract=contract).to(device)
    patches = torch.randint(256, (n_patches, 3, side, side), dtype=torch.uint8, device=device)
    n_tokens = 1 + own.n_registers + (side // own.patch_size) ** 2
    return Case(
        "patch encoder",
        f"tokens of {n_patches} patches, {name}",
        [
            Variant("the products alone, fp32", "reference", _products(n_patches * n_tokens, own.dim, device)),
            Variant("ours, fp32", "ours", lambda: tokenizer(patches)),
        ],
        work=n_patches,
        unit="patches",
        note="Random weights of the true architecture; the ratio is the share of bare products.",
    )


def _n_patches(device: str) -> int:
    return 16 if device == "cpu" else 256


def _products(n_rows: int, dim: int, device: str) -> Callable[[], Any]:
    """Products of all linear layers of 12 blocks: 12 D^2 a token and block, of an MLP of 4 D as of SwiGLU of 8/3 D."""
    work = torch.randn(n_rows, dim, device=device)
    wide = torch.randn(dim, dim * 12, device=device)

    def products() -> None:
        with torch.inference_mode():
            for _ in range(12):
                work @ wide

    return products
