"""CUDA graphs where there is no GPU: what a capture notes are operations with their tensors, which a replay does again.

As on a GPU a capture computes nothing that lasts, a replay reads and writes the same tensors, and every number that was
Python's is what it was. Waiting within a capture, or a copy from the host, is an error.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::_unique2"}


class PretendGraph:
    """Stands for ``torch.cuda.CUDAGraph``."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.n_replays = 0

    @torch.no_grad()
    def replay(self) -> None:
        self.n_replays += 1
        for func, args, kwargs, found in self.operations:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(found), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old is not new and not func.is_view:
                    old.copy_(new)


class pretend_capture(TorchDispatchMode):  # noqa: N801
    """Stands for ``torch.cuda.graph``."""

    def __init__(self, graph: PretendGraph, stream: Any = None, capture_error_mode: str = "global") -> None:
        super().__init__()
        self._graph, self._before = graph, list[tuple[torch.Tensor, torch.Tensor]]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, tensors = func._schema.name, [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        device = kwargs.get("device")
        comes_over = device is not None and any(x.device.type != torch.device(device).type for x in tensors)
        if name in WAITS or comes_over or len({x.device for x in tensors if x.dim()}) > 1:
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._keep(value)
        self._keep([kwargs[a.name] for a in func._schema.arguments if a.is_out and a.name in kwargs])
        found = func(*args, **kwargs)
        self._graph.operations.append((func, args, kwargs, found))
        return found

    def _keep(self, written: Any) -> None:
        self._before += [(x, x.detach().clone()) for x in tree_leaves(written) if isinstance(x, torch.Tensor)]

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        with torch.no_grad():
            for tensor, value in reversed(self._before):
                tensor.detach().copy_(value)


def graphs_are_pretended(cuda: Any) -> None:
    """Put them in place of those of ``torch.cuda``; streams are there already."""
    cuda.CUDAGraph, cuda.graph, cuda.stream = PretendGraph, pretend_capture, lambda stream: nullcontext()
