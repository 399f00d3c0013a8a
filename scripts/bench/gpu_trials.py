"""Parts of a GPU's page: other ways to attend, LayerNorm with its linear layer, the loss's rivals, tokenizing."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import flex_attention

from bundle.demo.demo_slides import make_demo_slides

from .loss import in_bf16
from .measure import seconds_of
from .report import failure
from .rivals import compare
from .tokenizing import profile, write_vit_s

Row = dict[str, Any]
_HEADS, _HEAD = 6, 32
_MPP, _REPEATS, _TRIES = 1.0, 20, 3


def attention(size: Any) -> Iterator[Row]:
    """Forward and backward of one block's attention, the global and the local crops of a batch, bfloat16."""
    ways: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
        "SDPA, torch's choice": F.scaled_dot_product_attention
    }
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION):
        ways[f"SDPA, {backend.name}"] = sdpa_kernel(backend)(F.scaled_dot_product_attention)
    ways["SDPA, heads padded to 64"] = _padded
    ways["flex attention, compiled"] = torch.compile(flex_attention, dynamic=False)
    shapes = [(2 * size.n_regions, _HEADS, 197, _HEAD), (8 * size.n_regions, _HEADS, 37, _HEAD)]
    for name, way in ways.items():
        yield _row(name, [_with_gradients(way, [_made(shape) for _ in range(3)]) for shape in shapes], size)


def _padded(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Zeros change no product."""
    q, k, v = (F.pad(x, (0, 64 - x.shape[-1])) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, scale=_HEAD**-0.5)[..., :_HEAD]


def norm(size: Any) -> Iterator[Row]:
    """LayerNorm and the MLP's first layer on all tokens of a batch, forward and backward, bfloat16 (autocast)."""
    part = nn.Sequential(nn.LayerNorm(192), nn.Linear(192, 768)).cuda()
    n_tokens = size.n_regions * (2 * 197 + 8 * 37)
    for name, way in (("as they are", part), ("compiled into one", torch.compile(part, dynamic=False))):
        yield _row(name, [_with_gradients(in_bf16(way, "cuda"), [_made((n_tokens, 192), torch.float32)])], size)


def _made(shape: tuple[int, ...], dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(shape, device="cuda").to(dtype).requires_grad_()


def _with_gradients(way: Callable[..., Tensor], inputs: list[Tensor]) -> Callable[[], Any]:
    def run() -> None:
        found = way(*inputs)
        torch.autograd.grad(found, inputs, torch.ones_like(found))

    return run


def _row(name: str, runs: list[Callable[[], Any]], size: Any) -> Row:
    """Milliseconds of each run, many launched in a row, so that launches hide behind what is launched."""
    repeats, tries_of_each = (_REPEATS, _TRIES) if size.rounds > 1 else (1, 1)
    try:
        found = []
        for run in runs:
            run()
            found.append(1e3 * statistics.median(seconds_of(run, "cuda", repeats) for _ in range(tries_of_each)))
        return {"name": name, "ms": found}
    except Exception as error:  # the others go on
        return {"name": name, "failed": failure(error)}


def loss(size: Any) -> Iterator[Row]:
    """The loss beside plain torch in bfloat16; sizes as many as there is time for."""
    cases = [(128, 65536), (16, 65536), (128, 8192), (16, 8192), (32, 65536), (32, 8192)]
    for n_regions, n_outputs in cases if size.n_regions > 2 else [(2, 64)]:
        try:
            rows = compare("cuda", n_regions, n_outputs, size.rounds, amp=True)
        except Exception as error:  # the others go on
            yield {"name": f"B = {n_regions}, {n_outputs:,} outputs", "failed": failure(error)}
        else:
            yield from ({"name": row.way, **row._asdict()} for row in rows)


def tokenizing(size: Any) -> Iterator[Row]:
    """A ViT-S/16 over drawn slides, reading included, beside what it encodes of patches that are there."""
    n_slides, mpp = (2, 4.0) if size.n_regions <= 2 else (8, _MPP)
    with TemporaryDirectory() as folder:
        make_demo_slides(Path(folder, "slides"), n_slides=n_slides, mpp=mpp)
        write_vit_s(Path(folder, "vit.pt"), mpp)
        found = profile(Path(folder, "slides"), Path(folder, "vit.pt"), {"device": "cuda", "num_workers": 12})
    yield {"name": "bare encoder", "rate": found.bare}
    yield {"name": "tokenizing", "rate": found.patches / found.wall, "patches": found.patches} | {
        "share": found.of_bare,
        "without_batch": found.without_batch,
    }
