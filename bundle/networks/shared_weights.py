"""A network's weights for several passes of one step, converted to autocast's dtype together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

_CONVERTED = (nn.Linear, nn.Conv2d)  # whose weights autocast converts


class SharedWeights:
    """Calls a module several times in one step, with the numbers that calling it as it is would give.

    Autocast converts one weight after the other, and its gradient back; on a GPU each is a launch, which takes longer
    than the conversion. Here all are converted at once, and so are their gradients, which are then added up over the
    passes at once, in float32 (autocast adds in its own dtype). Without autocast the module is called as it is, and
    also where it is compiled, which fuses conversions.

    Args:
        module: what is called.
        n_passes: how often, at most.
    """

    def __init__(self, module: nn.Module, n_passes: int) -> None:
        self._module = module
        self._passes: list[dict[str, Tensor]] = [{}] * n_passes
        names = _shared_names(module)
        if not names:
            return
        tensors = [module.get_parameter(name) for name in names]
        dtype = torch.get_autocast_dtype(tensors[0].device.type)
        n_converted = sum(isinstance(module.get_submodule(name.rpartition(".")[0]), _CONVERTED) for name in names)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            shared: Sequence[Tensor] = _Shared.apply(n_passes, n_converted, dtype, *tensors)
        else:
            shared = _converted(tensors[:n_converted], dtype) * n_passes
            names = names[:n_converted]
        self._passes = [
            dict(zip(names, shared[i * len(names) : (i + 1) * len(names)], strict=True)) for i in range(n_passes)
        ]

    def __call__(self, number: int, *inputs: Any) -> Tensor:
        """Pass ``number`` (from 0) of the module."""
        weights = self._passes[number]
        return functional_call(self._module, weights, inputs) if weights else self._module(*inputs)


def _shared_names(module: nn.Module) -> list[str]:
    """Parameters that are shared by this way, those to convert first; none where there is nothing to do."""
    first = next(module.parameters())
    if not torch.is_autocast_enabled(first.device.type) or module._compiled_call_impl is not None:
        return []
    converted: list[str] = []
    others: list[str] = []
    for path, part in module.named_modules():
        kept = others if isinstance(part, nn.LayerNorm) else converted if isinstance(part, _CONVERTED) else None
        if kept is not None:
            names = [f"{path}.{name}" for name, weight in part.named_parameters() if weight.dtype == torch.float32]
            kept.extend(names)
    return converted + others if converted else []


def _converted(tensors: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Copies in another dtype, made at once."""
    copies = [torch.empty_like(tensor, dtype=dtype, requires_grad=False) for tensor in tensors]
    torch._foreach_copy_(copies, [tensor.detach() for tensor in tensors])
    return copies


class _Shared(torch.autograd.Function):
    """Parameters -> for each pass all of them, the first ``n_converted`` in ``dtype``."""

    @staticmethod
    def forward(ctx: Any, n_passes: int, n_converted: int, dtype: torch.dtype, *parameters: Tensor) -> Any:
        ctx.sizes = n_converted, len(parameters)
        shared = [*_converted(parameters[:n_converted], dtype), *(p.detach() for p in parameters[n_converted:])]
        return tuple(tensor.view_as(tensor) for _ in range(n_passes) for tensor in shared)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        n_converted, n = ctx.sizes
        passes = [gradients[start : start + n] for start in range(0, len(gradients), n)]
        low = _converted([gradient for of_pass in passes for gradient in of_pass[:n_converted]], torch.float32)
        total: list[Tensor] = []
        for i, of_pass in enumerate(passes):
            own = [*low[i * n_converted : (i + 1) * n_converted], *of_pass[n_converted:]]
            total = list(torch._foreach_add(total, own)) if total else own
        return None, None, None, *total
