"""``python -m scripts.bench.launches``: how many kernels a training step launches on a GPU, counted on a CPU.

A GPU that is faster than its host waits for launches. Their number depends on the views and on the networks, not on the
batch, so that a small step on a CPU tells it, the same on every machine. What it cannot tell is time.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bundle.networks import blocks, distiller
from bundle.training.losses import entropy, output_chunks
from bundle.training.losses.fused_softmax import Added

from .step import our_step

_N_REGIONS, _OUT_DIM = 1, 256
_N_ROWS, _N_CHUNKS = 14 * _N_REGIONS, 2  # views and targets; chunks of 128 regions and 65,536 outputs on a GPU
_BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
_KNOWN = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
_MOST_BLOCKS, _BLOCK = 320, 1 << 16  # of one kernel for many tensors, and elements of a block

Counts = Counter[tuple[str, str]]


def count_step(amp: bool = True, places: bool = True) -> Counts:
    """Kernels that one training step launches, by (place, operation); a place ends in "backward" where it is one.

    Small in batch and outputs; views, networks, handlers and number of chunks are those of the recipe on a GPU.

    Args:
        amp: bfloat16 autocast.
        places: say whose backward a launch belongs to, which takes longer than counting; else that place is "?".
    """
    one, two = (our_step(_N_REGIONS, "cpu", amp, n_steps=n, out_dim=_OUT_DIM) for n in (1, 2))
    return _count(two, places) - _count(one, places)  # the first step of an epoch does a little more


def _count(steps: Callable[[], Any], places: bool) -> Counts:
    counter = LaunchCounter()
    with _as_on_a_gpu(counter):
        steps()  # the optimizer makes its state
        counter.counts.clear()
        with torch.autograd.set_detect_anomaly(places, check_nan=False), counter:  # keeps each node's place
            steps()
    return counter.counts


def by_part(counts: Counts) -> dict[str, int]:
    """Sums of what each launch is for, largest first. Conversions between dtypes within networks are a part."""
    sums: Counter[str] = Counter()
    for (place, operation), n in counts.items():
        part = next((name for start, name in _KNOWN["parts"].items() if place.startswith(start)), "other")
        if part == "networks" and operation in {"_to_copy", "_foreach_copy_"}:
            part = "networks: conversions"
        elif place.endswith("backward"):
            part += ": backward"
        sums[part] += n
    return dict(sums.most_common())


class LaunchCounter(TorchDispatchMode):
    """Counts kernels that the operations within would launch on a GPU. Views and allocations launch none."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counts = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        n = 0 if func.is_view or name in _KNOWN["silent"] else _n_kernels(name, args)
        place = _place() if n else ""
        if n and not place.startswith(tuple(_KNOWN["on_the_host"])):
            self.counts[place, name] += n
        return func(*args, **(kwargs or {}))


def _n_kernels(name: str, args: Sequence[Any]) -> int:
    if not name.startswith(("_foreach", "_fused")):
        return _KNOWN["kernels"].get(name, 1)
    lists = [x for x in args if isinstance(x, list | tuple) and x and isinstance(x[0], Tensor)]
    shapes = [[tensor.shape for tensor in tensors] for tensors in lists]
    if name != "_fused_adamw_" and any(other != shapes[0] for other in shapes):
        return len(lists[0])  # one by one: the kernel for many takes lists of equal shapes
    n_lists = _KNOWN["lists"].get(name, len(lists) + (not name.endswith("_")))  # results are a list, too
    return _n_kernels_for_many(lists[0], n_lists) + (2 if name == "_foreach_norm" else 0)


def _n_kernels_for_many(tensors: Sequence[Tensor], n_lists: int) -> int:
    """As torch hands out tensors and their blocks to kernels, one after the other until either is too many."""
    n_kernels, n_tensors, n_blocks = 0, 0, 0
    for tensor in tensors:
        n_tensors += 1
        n_own = -(-tensor.numel() // _BLOCK)
        for block in range(1, n_own + 1):
            n_blocks += 1
            if n_blocks == _MOST_BLOCKS or (block == n_own and n_tensors == _KNOWN["most_tensors"][n_lists]):
                n_kernels, n_blocks, n_tensors = n_kernels + 1, 0, int(block < n_own)
    return n_kernels + (n_blocks > 0)


def _place() -> str:
    """File and function of the bundle that asks for the operation, or whose backward does."""
    node = torch._C._current_autograd_node()
    if node is None:
        return _place_of_frames()
    for entry in reversed(node.metadata.get("traceback_", [])):  # type: ignore[attr-defined]
        file, _, function = entry.split("\n")[0].strip().removeprefix('File "').partition('", line ')
        if _is_ours(file):
            return f"{_name(file, function.partition(' in ')[2])} backward"
    return "? backward"


def _place_of_frames() -> str:
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        if "/torch/optim/" in frame.f_code.co_filename:
            return "optim"
        if _is_ours(frame.f_code.co_filename):
            return _name(frame.f_code.co_filename, frame.f_code.co_name)
    return "?"


@lru_cache(maxsize=1024)
def _is_ours(file: str) -> bool:
    return _BUNDLE in Path(file).parents


def _name(file: str, function: str) -> str:
    return f"{Path(file).relative_to(_BUNDLE).as_posix()} {function}"


@contextmanager
def _as_on_a_gpu(counter: LaunchCounter) -> Iterator[None]:
    """The branches that a GPU takes: fused attention, one kernel for a chunk's softmax, its chunks."""
    elements = _N_ROWS * _OUT_DIM // _N_CHUNKS

    def add_chunk(products: Tensor, centers: Tensor, n_regions: int, before: tuple[Tensor, ...], out: Tensor) -> Added:
        counter.counts["training/losses/fused_softmax.py add_chunk", "exponentials"] += 1
        return Added(*(torch.empty_like(before[0]) for _ in Added._fields))

    with (
        mock.patch.object(distiller, "_goes_together", lambda _, draws: draws is not None),
        mock.patch.object(blocks, "attend", F.scaled_dot_product_attention),
        mock.patch.object(output_chunks, "CHUNK_ELEMENTS", {"cpu": elements, "cuda": elements}),
        mock.patch.object(output_chunks, "KEPT_BYTES", {"cpu": 1 << 30, "cuda": 1 << 30}),
        mock.patch.object(output_chunks, "add_chunk", add_chunk),
        mock.patch.object(entropy, "fuses", lambda *_: True),
    ):
        yield


def main() -> None:
    """Print the parts of a step in bfloat16, then every place."""
    counts = count_step()
    for part, n in by_part(counts).items():
        print(f"{n:6,d}  {part}")
    print(f"{counts.total():6,d}  kernels in all\n")
    places: Counter[str] = Counter()
    for (place, _), n in counts.items():
        places[place] += n
    for place, n in places.most_common():
        own = [(m, operation) for (other, operation), m in counts.items() if other == place]
        print(f"{n:6,d}  {place}: {', '.join(f'{m} {operation}' for m, operation in sorted(own, reverse=True))}")


if __name__ == "__main__":
    main()
