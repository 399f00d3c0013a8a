"""A network's weights for several passes of one step, converted to autocast's dtype together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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
        self._slots, n_converted = _slots(module)
        self._passes: list[Sequence[Tensor]] = [()] * n_passes
        if not self._slots:
            return
        tensors = [slot.weight for slot in self._slots]
        dtype = torch.get_autocast_dtype(tensors[0].device.type)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            shared = _Shared.apply(n_passes, n_converted, dtype, *tensors)
            self._passes = [shared[i * len(tensors) : (i + 1) * len(tensors)] for i in range(n_passes)]
        else:
            self._slots = self._slots[:n_converted]
            self._passes = [_converted(tensors[:n_converted], dtype)] * n_passes

    def __call__(self, number: int, *inputs: Any) -> Tensor:
        """Pass ``number`` (from 0) of the module, its weights replaced for so long."""
        try:  # by hand: torch.func.functional_call takes longer than the launches that it saves
            for slot, tensor in zip(self._slots, self._passes[number], strict=True):
                slot.owner[slot.name] = tensor
            return self._module(*inputs)
        finally:
            for slot in self._slots:
                slot.owner[slot.name] = slot.weight


class _Slot(NamedTuple):
    """Where a module keeps a weight."""

    owner: dict[str, Any]
    name: str
    weight: nn.Parameter


def _slots(module: nn.Module) -> tuple[list[_Slot], int]:
    """Weights that are shared, those to convert first, and how many these are; none where there is nothing to do."""
    converted: list[_Slot] = []
    others: list[_Slot] = []
    device = next(module.parameters()).device.type
    if not torch.is_autocast_enabled(device) or module._compiled_call_impl is not None:
        return [], 0
    for part in module.modules():
        if isinstance(part, (*_CONVERTED, nn.LayerNorm)):
            kept = others if isinstance(part, nn.LayerNorm) else converted
            own = part._parameters
            kept.extend(_Slot(own, name, p) for name, p in own.items() if p is not None and p.dtype == torch.float32)
    return (converted + others if converted else []), len(converted)


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
