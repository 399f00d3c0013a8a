"""Whether bfloat16 pays on a CPU: tried before it is used; without units for it products take many times as long."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import BundleError
from .settings import as_amp, is_forced

if TYPE_CHECKING:
    import torch

_SIZES = (1, 197, 384, 6)  # images, tokens, width and heads of a block, as a small ViT has them
_ROUNDS, _ROUND_S = 3, 0.05  # rounds of each kind, in turn, and their least length


class Speeds(NamedTuple):
    """Blocks a second on this CPU, with the threads that torch has."""

    float32: float
    bfloat16: float

    @property
    def ratio(self) -> float:
        """How many times the speed of float32 bfloat16 has."""
        return self.bfloat16 / self.float32


@cache
def cpu_speeds() -> Speeds:
    """Products and attention of a small block in both, under a second; measured once a process.

    Rounds of both kinds take turns and the best of each counts: another job's second slows one round, not one kind.
    """
    best = {False: 0.0, True: 0.0}
    blocks = {is_bfloat16: _block(is_bfloat16) for is_bfloat16 in best}
    for _ in range(_ROUNDS):
        for is_bfloat16, block in blocks.items():
            started, n = time.perf_counter(), 0
            while (passed := time.perf_counter() - started) < _ROUND_S or not n:
                block()
                n += 1
            best[is_bfloat16] = max(best[is_bfloat16], n / passed)
    return Speeds(best[False], best[True])


def insist_on_quick_bfloat16(amp: Any, device: torch.device | str | int) -> None:
    """Refuse ``amp`` on a CPU that is slower with it, unless it is forced.

    Args:
        amp: true, false, or "force".
        device: where the run will compute; on others than a CPU nothing is tried.

    Raises:
        BundleError: bfloat16 is slower here; the message has both speeds.
    """
    import torch

    if not as_amp(amp) or is_forced(amp) or torch.device(device).type != "cpu":
        return
    speeds = cpu_speeds()
    if speeds.ratio < 1:
        raise BundleError(
            f"amp is {str(amp).lower()}, and bfloat16 is slower than float32 on this CPU: {speeds.bfloat16:.3g} "
            f"against {speeds.float32:.3g} blocks a second, {speeds.ratio:.2g} times the speed. Leave amp out (--amp "
            "false), or give --amp force to use it all the same."
        )


def _block(is_bfloat16: bool) -> Any:
    """A function that does the products and the attention of a transformer's block once; it has run before."""
    import torch
    from torch.nn import functional

    n, length, width, heads = _SIZES
    kind = torch.bfloat16 if is_bfloat16 else torch.float32
    x, wide = torch.ones(n, length, width, dtype=kind), torch.full((3 * width, width), 1e-3, dtype=kind)

    @torch.inference_mode()
    def run() -> None:
        q, k, v = functional.linear(x, wide).view(n, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        functional.scaled_dot_product_attention(q, k, v)

    run()
    return run
