"""``python -m scripts.bench.gpu``: all that is to be known of one GPU, in under eight minutes, on one page.

Each section is a process of its own and keeps every row as soon as it is measured: one that fails, or runs out of time,
costs itself alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch

from bundle.networks import Distiller, compile_backbone, distiller, drop, shared_weights
from bundle.training.handlers import gradients
from bundle.training.losses import entropy

from .bound import Rates, bound_of
from .gpu_page import page
from .gpu_trials import Row, attention, loss, norm, tokenizing
from .measure import seconds_of
from .report import failure
from .step import our_step, reference_step

_MINUTES = 7.6


class Size(NamedTuple):
    """How much is measured: the recipe's batch, or so little that a dry run takes seconds."""

    n_regions: int = 128
    out_dim: int = 65536
    n_steps: int = 5
    rounds: int = 3
    side: int = 8192
    n_bytes: int = 1 << 30
    depth: int = 6


TINY = Size(2, 128, 1, 1, 64, 1 << 16, 1)


def with_less_overhead(module: Distiller) -> None:
    """The backbone compiled for each size of crops, in inductor's mode of that name."""
    module.encoder.backbone.compile(dynamic=False, mode="reduce-overhead")


def by_blocks(module: Distiller) -> None:
    """Each block by itself, in the pass of all crops together: one small program, used for every block."""
    for block in module.encoder.backbone.blocks:  # type: ignore[union-attr]
        block.packed = torch.compile(block.packed, dynamic=False)


def step(size: Size) -> Iterator[Row]:
    """The reference, and ours as it is and compiled; what the card reaches, and the bound that follows."""
    rates = Rates.measured("cuda", size.side, size.n_bytes)
    yield {"name": "rates", **rates._asdict()}
    one, two = (our_step(size.n_regions, "cuda", True, n, out_dim=size.out_dim, depth=size.depth) for n in (1, 2))
    for run in (one, two):
        run()
    bound = bound_of(one, two, rates)
    yield {"name": "bound", "seconds": bound.seconds, "operations": bound.operations, "bytes": bound.bytes}
    del one, two
    yield _of_step("eager", size, lambda: _ours(size))
    for name, amp in (("reference, bf16", True), ("reference, fp32", False)):
        make = partial(reference_step, size.n_regions, "cuda", amp, size.n_steps, size.out_dim, size.depth)
        yield _of_step(name, size, make)
    yield _of_step("compiled", size, lambda: _ours(size, lambda module: compile_backbone(module.encoder, "cuda")))
    yield _of_step("blocks compiled, each by itself", size, lambda: _ours(size, by_blocks))


def graph(size: Size) -> Iterator[Row]:
    """What takes launches away from the host."""
    long = size._replace(n_steps=max(size.n_steps, 4))  # until there is a graph
    yield _of_step("graph", long, lambda: _ours(long, graphed=True))
    yield _of_step("graph, blocks compiled", long, lambda: _ours(long, by_blocks, graphed=True))
    yield _of_step("reduce-overhead", size, lambda: _ours(size, with_less_overhead))


def savers(size: Size) -> Iterator[Row]:
    """The step without one of the things that save launches, each in turn with the step as it is."""
    without = {
        "crops of both sizes in one pass": (distiller, "_goes_together", lambda *_: False),
        "weights converted together": (shared_weights, "_slots", lambda _: ([], 0)),
        "a chunk's softmax in one kernel": (entropy, "fuses", lambda *_: False),
        "small gradients clipped together": (gradients, "_is_small", lambda _: False),
        "a kernel of its own for dropped branches": (drop, "_add_scaled", _plainly_added),
    }
    run = _ours(size)
    _wall(run, size.n_steps)
    for name, patch in without.items():
        ratios = []
        for _ in range(size.rounds):
            whole = _wall(run, size.n_steps)
            with mock.patch.object(*patch):
                _wall(run, 1)
                ratios.append(_wall(run, size.n_steps) / whole)
        with mock.patch.object(*patch):
            _, kernels = _busy(run, size.n_steps)
        yield {"name": name, "ratio": statistics.median(ratios), "kernels": kernels}


def _plainly_added(x: torch.Tensor, branch: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    return torch.addcmul(x, branch.to(x.dtype), scales)


def _ours(size: Size, prepare: Callable[[Distiller], Any] | None = None, graphed: bool = False) -> Callable[[], Any]:
    options: dict[str, Any] = {"out_dim": size.out_dim, "depth": size.depth, "cuda_graph": graphed}
    return our_step(size.n_regions, "cuda", True, size.n_steps, prepare, **options)


def _of_step(name: str, size: Size, make: Callable[[], Callable[[], Any]]) -> Row:
    """Wall and busy time, kernels and memory of a way; or why there are none."""
    try:
        torch.cuda.empty_cache()
        before = torch.cuda.memory_reserved()
        run = make()
        for _ in range(2 if size.rounds > 1 else 1):  # compilers, and steps before a graph
            run()
        _insist_on_graph(run)
        torch.cuda.reset_peak_memory_stats()
        wall = statistics.median(_wall(run, size.n_steps) for _ in range(size.rounds))
        peak = (torch.cuda.max_memory_reserved() - before) / (1 << 20)
        busy, kernels = _busy(run, size.n_steps)
        return {"name": name, "wall": wall, "busy": busy, "kernels": kernels, "peak_mib": peak}
    except Exception as error:  # the others go on
        return {"name": name, "failed": failure(error)}


def _insist_on_graph(run: Callable[[], Any]) -> None:
    """Raise where steps that were to be a graph have gone on without."""
    own = getattr(getattr(run, "__self__", None), "_graph", None)
    if own is not None and own._graph is None:
        raise RuntimeError(f"there is no graph: {own._why_not or 'steps differ'}")


def _wall(run: Callable[[], Any], n_steps: int) -> float:
    return seconds_of(run, "cuda") / n_steps


def _busy(run: Callable[[], Any], n_steps: int) -> tuple[float | None, float | None]:
    """Seconds of a step in which the GPU works, and its kernels, copies included; None where no profiler sees it."""
    kinds = torch.profiler.ProfilerActivity
    if kinds.CUDA not in torch.profiler.supported_activities():
        return None, None
    with torch.profiler.profile(activities=[kinds.CPU, kinds.CUDA]) as profiler:
        run()
        torch.cuda.synchronize()
    events = [event for event in profiler.events() or () if event.device_type == torch.autograd.DeviceType.CUDA]
    own = [event for event in events if not getattr(event, "is_user_annotation", False)]
    if not own:
        return None, None
    return sum(event.time_range.elapsed_us() for event in own) / 1e6 / n_steps, len(own) / n_steps


# in the order in which they are worth the time; with the seconds that each may take
SECTIONS: dict[str, tuple[Callable[[Size], Iterator[Row]], int]] = {
    "step": (step, 170),
    "graph": (graph, 150),
    "tokenizing": (tokenizing, 80),
    "savers": (savers, 60),
    "loss": (loss, 100),
    "attention": (attention, 60),
    "norm": (norm, 40),
}


def measure_section(name: str, size: Size, target: Path) -> None:
    """Measure one, and keep each row at once; a failure is a row."""
    rows: list[Row] = []
    try:
        for row in SECTIONS[name][0](size):
            rows.append(row)
            target.write_text(json.dumps(rows))
    except Exception as error:  # the other sections go on
        rows.append({"name": name, "failed": failure(error)})
        target.write_text(json.dumps(rows))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all sections and write ``gpu.md``."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark gpu", description=__doc__)
    parser.add_argument("sections", nargs="*", default=list(SECTIONS), metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks"), help="folder of the page")
    parser.add_argument("--tiny", action="store_true", help="a dry run: seconds, in one process; its numbers are none")
    parser.add_argument("--keep", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    size = TINY if options.tiny else Size()
    if options.keep:
        measure_section(options.sections[0], size, options.keep)
        return
    raw, end = options.output / "raw", time.monotonic() + 60 * _MINUTES
    raw.mkdir(parents=True, exist_ok=True)
    for name in options.sections:
        target = raw / f"gpu-{name}.json"
        target.unlink(missing_ok=True)
        if options.tiny:
            measure_section(name, size, target)
            continue
        seconds = min(SECTIONS[name][1], end - time.monotonic())
        call = [sys.executable, "-m", "scripts.bench.gpu", name, "--keep", str(target)]
        try:
            subprocess.run(call, check=False, timeout=max(1.0, seconds))
        except subprocess.TimeoutExpired:
            print(f"{name}: no time left; what it measured is kept", flush=True)
        _write(options.output, size)
    print(_write(options.output, size))


def _write(folder: Path, size: Size) -> str:
    """The page, of all rows that there are."""
    found = {
        name: json.loads(path.read_text())
        for name in SECTIONS
        if (path := folder / "raw" / f"gpu-{name}.json").exists()
    }
    about = f"{torch.cuda.get_device_name()}; torch {torch.__version__}; B = {size.n_regions}, {size.out_dim:,} outputs"
    text = page(about, found, size.n_regions)
    (folder / "gpu.md").write_text(text)
    return text


if __name__ == "__main__":
    main()
