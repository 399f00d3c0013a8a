"""The least time that a card needs for a step's operations, one after the other: each by its products or its bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from bundle.training.losses import output_chunks

from .launches import _KNOWN
from .measure import seconds_of

_TRIES = 5
_FILL = {"copy_", "fill_", "zero_"}  # what they write they do not read


class Rates(NamedTuple):
    """What a card reaches: operations a second in products of bfloat16 and float32, bytes a second in a copy."""

    bf16: float
    fp32: float
    bandwidth: float

    @classmethod
    def measured(cls, device: str, side: int = 8192, n_bytes: int = 1 << 30) -> Rates:
        """By square products and a copy, the best of some tries."""
        found = []
        for dtype in (torch.bfloat16, torch.float32):
            left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
            found.append(2 * side**3 / _seconds(lambda a=left, b=right: a @ b))  # type: ignore[misc]
        source = torch.zeros(n_bytes, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        return cls(found[0], found[1], 2 * n_bytes / _seconds(lambda: target.copy_(source)))


def _seconds(run: Callable[[], Any]) -> float:
    run()
    return min(seconds_of(run, "cuda") for _ in range(_TRIES))


class Bound(TorchDispatchMode):
    """Adds up what the operations within need on a GPU; what is on the host, views and allocations need nothing.

    An operation reads its inputs once and writes its results once. Those of lists and of attention are one each.

    Args:
        rates: of the card.
    """

    def __init__(self, rates: Rates) -> None:
        super().__init__()
        self.rates, self.seconds, self.operations, self.bytes = rates, 0.0, 0.0, 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func.is_view or func.overloadpacket.__name__ in _KNOWN["silent"]:
            return found
        tensors = _touched(func, args, kwargs or {}, found)
        if tensors:
            count = flop_registry.get(func.overloadpacket)
            self.add(count(*args, **(kwargs or {}), out_val=found) if count else 0, tensors)
        return found

    def add(self, operations: float, tensors: list[Tensor]) -> None:
        """An operation that does so many multiplications and additions, and touches each of these once."""
        n_bytes = sum(min(x.numel() * x.itemsize, x.untyped_storage().nbytes()) for x in tensors)
        is_low = any(x.dtype == torch.bfloat16 for x in tensors)
        rate = self.rates.bf16 if is_low else self.rates.fp32
        self.seconds += max(operations / rate, n_bytes / self.rates.bandwidth)
        self.operations += operations
        self.bytes += n_bytes


def _on_gpu(x: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(x) if isinstance(leaf, Tensor) and leaf.is_cuda]


def _touched(func: Any, args: Any, kwargs: dict[str, Any], found: Any) -> list[Tensor]:
    """What is read, and what is written; a tensor that is changed in place is both."""
    arguments = func._schema.arguments
    given = {argument.name: value for argument, value in zip(arguments, args, strict=False)} | kwargs
    changed = [a for a in arguments if a.alias_info is not None and a.alias_info.is_write and a.name in given]
    filled = [a.name for a in changed if a.is_out or func.overloadpacket.__name__ in _FILL]
    read = _on_gpu([value for name, value in given.items() if name not in filled])
    written = _on_gpu([given[a.name] for a in changed])
    return [*read, *written, *(x for x in _on_gpu(found) if not any(x is y for y in written))]


@contextmanager
def _with_the_kernel(bound: Bound) -> Iterator[None]:
    """The kernel of a chunk's softmax is no operation of torch's: it reads products and centers, and writes."""
    own = output_chunks.add_chunk

    def add_chunk(products: Tensor, centers: Tensor, n_regions: int, before: Any, out: Tensor) -> Any:
        bound.add(0, [products, centers, out])
        return own(products, centers, n_regions, before, out)

    with mock.patch.object(output_chunks, "add_chunk", add_chunk), bound:
        yield


def bound_of(one: Callable[[], Any], two: Callable[[], Any], rates: Rates) -> Bound:
    """Of one step, given runs of one and of two, of which each has run before."""
    bounds = []
    for run in (one, two):
        bounds.append(Bound(rates))
        with _with_the_kernel(bounds[-1]):
            run()
    first, second = bounds
    second.seconds -= first.seconds
    second.operations -= first.operations
    second.bytes -= first.bytes
    return second
