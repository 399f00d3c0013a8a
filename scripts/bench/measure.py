"""Time and memory of ways to do the same thing, side by side in one process."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from .processes import mib_of

_LEAST_SECONDS = 0.1
_MIB = 1 << 20
_CLEAR = Path("/proc/self/clear_refs")
_MMAP_THRESHOLD = -3  # mallopt's M_MMAP_THRESHOLD

Role = Literal["reference", "ours", "peer", "limit"]


class Variant(NamedTuple):
    """One way to do it.

    Attributes:
        name: for the table.
        role: "reference" (what others are compared with), "ours", "peer", or "limit" (what the machine allows).
        run: does it once; on a GPU it need not synchronize.
    """

    name: str
    role: Role
    run: Callable[[], Any]


class Case(NamedTuple):
    """Ways to do one thing.

    Attributes:
        group: "loss", "step", ...
        title: what and how much of it.
        variants: exactly one of them is the reference.
        work: units done by one run, for rates.
        unit: "regions"; "" shows milliseconds instead of a rate.
        goal: least ratio to the reference wanted of each of our variants, by name.
        note: how to read it.
    """

    group: str
    title: str
    variants: Sequence[Variant]
    work: float = 1.0
    unit: str = ""
    goal: dict[str, float] = {}
    note: str = ""


class Timing(NamedTuple):
    """What was measured of one variant.

    Attributes:
        name, role: of the variant.
        seconds: median of one run.
        ratio, low, high: reference's time over this one's in the same round: median and quartiles.
        peak_mib: memory above what was held before, MiB; None where the system does not tell.
    """

    name: str
    role: str
    seconds: float
    ratio: float
    low: float
    high: float
    peak_mib: float | None


def measure(cases: Sequence[Case], rounds: int = 7, device: str = "cpu") -> list[list[Timing]]:
    """Run all variants of a case in turn, ``rounds`` times, and compare within each round.

    Other work on the machine then slows all variants of a round alike. Each is run once before, for caches; quick ones
    are repeated within a round until 0.1 s have passed. Memory is measured after the times of all cases, in runs of
    its own, because that changes how the process gets its memory.

    Args:
        cases: what to compare.
        rounds: at least 1.
        device: "cpu", or "cuda" to wait for the GPU and to count its memory.
    """
    timings = [_timings(case, rounds, device) for case in cases]
    return [
        [
            timing._replace(peak_mib=_peak_mib(variant.run, device))
            for timing, variant in zip(row, case.variants, strict=True)
        ]
        for row, case in zip(timings, cases, strict=True)
    ]


def _timings(case: Case, rounds: int, device: str) -> list[Timing]:
    repeats = [_repeats(variant.run, device) for variant in case.variants]
    seconds: list[list[float]] = [[] for _ in case.variants]
    for round_number in range(rounds):
        order = list(range(len(case.variants)))
        for i in order[round_number % len(order) :] + order[: round_number % len(order)]:
            seconds[i].append(_seconds(case.variants[i].run, repeats[i], device))
    reference = seconds[[variant.role for variant in case.variants].index("reference")]
    timings = []
    for variant, own in zip(case.variants, seconds, strict=True):
        ratios = [a / b for a, b in zip(reference, own, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        timings.append(Timing(variant.name, variant.role, statistics.median(own), middle, low, high, None))
        print(f"  {case.title}, {variant.name}: {middle:.2f} x ({low:.2f} to {high:.2f})", flush=True)
    return timings


def _repeats(run: Callable[[], Any], device: str) -> int:
    _seconds(run, 1, device)
    return max(1, round(_LEAST_SECONDS / max(_seconds(run, 1, device), 1e-6)))


def _seconds(run: Callable[[], Any], repeats: int, device: str) -> float:
    gc.collect()
    return seconds_of(run, device, repeats)


def seconds_of(run: Callable[[], Any], device: str, repeats: int = 1) -> float:
    """Of one run, of several in a row that a GPU is waited for at both ends."""
    _wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    _wait(device)
    return (time.perf_counter() - start) / repeats


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _peak_mib(run: Callable[[], Any], device: str) -> float | None:
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / _MIB
    if not _CLEAR.exists():
        return None
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, 1 << 16)  # freed blocks go back to the system, or old peaks would hide new ones
    libc.malloc_trim(0)
    _CLEAR.write_text("5")  # Linux: the peak starts anew
    resident = mib_of("self", "VmRSS")
    kept = run()
    peak = mib_of("self", "VmHWM") - resident
    del kept
    return peak
