"""``python -m scripts.bench.rivals``: the loss beside ten lines of plain torch, as they are and compiled.

No library's fused linear cross-entropy is among them: none is a dependency.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from . import report
from .__main__ import _device
from .loss import Problem, in_bf16
from .measure import Case, Variant, measure

_SIZES, _OUTPUTS = (16, 32, 128), (8192, 65536)
_HEADER = ["B", "outputs", "way", "ms", "against plain", "quartiles", "peak MiB"]
_TEMPERATURES = (0.1, 0.04)

Loss = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def plain_loss(
    student: Tensor, weight: Tensor, targets: Tensor, teacher_weight: Tensor, centers: Tensor, pairs: Tensor
) -> Tensor:
    """What :func:`bundle.training.losses.entropy.distillation` gives, summed over targets, with all logits at once."""
    with torch.no_grad():
        products = targets @ F.normalize(teacher_weight, dim=1).T
        wanted = ((products - centers[:, None]) / _TEMPERATURES[1]).softmax(-1)
        mixed = torch.einsum("tsb,tbk->sbk", pairs, wanted)
    logits = student @ F.normalize(weight, dim=1).T / _TEMPERATURES[0]
    return -(mixed * logits.log_softmax(-1)).sum()


def _made_again(*tensors: Tensor) -> Tensor:
    return checkpoint(plain_loss, *tensors, use_reentrant=False)


class Rivals(Problem):
    """The problem of the loss's benchmark, and its plain way."""

    def by(self, loss: Loss) -> tuple[Tensor, ...]:
        """Loss, gradient of the bottlenecks, gradient of the last layer's weight."""
        shared, n = self.loss.prototype, len(self.prototypes.vectors)
        counts = self.teacher.new_full((1,), self.teacher.shape[1])
        pairs = [self.loss.dino.pair_weight(self.student, self.teacher, counts)]
        pairs.append(shared.pair_weight(self.student, self.prototypes.valid, shared.counts(self.prototypes.valid)))
        centers = [self.loss.dino.center.value.expand(len(self.teacher), -1), shared.center.value.expand(n, -1)]
        weights = [layer.weight_v for layer in self.layers]
        targets = torch.cat([self.teacher, self.prototypes.vectors])
        tensors = (weights[0], targets, weights[1].detach(), torch.cat(centers), torch.cat(pairs))
        return self._gradients(loss(self.student, *tensors))


class Row(NamedTuple):
    """Of the table; ``ratio``, ``low`` and ``high`` are the plain way's time over this one's."""

    n_regions: int
    n_outputs: int
    way: str
    seconds: float
    ratio: float
    low: float
    high: float
    peak_mib: float | None


def compare(device: str, n_regions: int, n_outputs: int, rounds: int, amp: bool = False) -> list[Row]:
    """Time and memory of each way that works, forward and backward.

    Raises:
        ValueError: a way gives another loss than ours.
    """
    problem = Rivals(n_regions, n_outputs, device)
    torch.compiler.reset()  # or it would try to compile for all sizes
    compiled: Loss = torch.compile(plain_loss, dynamic=False)
    runs: dict[str, Callable[[], Any]] = {
        "plain": lambda: problem.by(plain_loss),
        "plain, logits made again": lambda: problem.by(_made_again),
        "plain, compiled": lambda: problem.by(compiled),
        "ours": problem.by_us,
    }
    own = {way: in_bf16(run, device) if amp else run for way, run in runs.items()}
    truth = float(own["ours"]()[0])
    for way, run in list(own.items()):
        try:
            value = float(run()[0])
        except Exception as error:  # no compiler, say
            print(f"{way} failed: {report.failure(error)}", flush=True)
            own.pop(way)
            continue
        if abs(value / truth - 1) > (1e-2 if amp else 1e-4):
            raise ValueError(f"{way} gives another loss than ours at B = {n_regions}, {n_outputs} outputs.")
    variants = [Variant(way, "reference" if way == "plain" else "peer", run) for way, run in own.items()]
    case = Case("rivals", f"B = {n_regions}, {n_outputs:,} outputs", variants)
    (timings,) = measure([case], rounds, device)
    return [Row(n_regions, n_outputs, t.name, t.seconds, t.ratio, t.low, t.high, t.peak_mib) for t in timings]


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    return report.table(_HEADER, [_cells(row) for row in rows])


def _cells(row: Row) -> list[str]:
    peak = "" if row.peak_mib is None else f"{row.peak_mib:,.0f}"
    times = [f"{1e3 * row.seconds:,.4g}", f"{row.ratio:.2f}", f"{row.low:.2f} to {row.high:.2f}"]
    return [str(row.n_regions), f"{row.n_outputs:,}", row.way, *times, peak]


def all_rows(device: str, sizes: Sequence[int], outputs: Sequence[int], rounds: int) -> Iterator[Row]:
    """Of all sizes; what fails at one is said, and the others go on."""
    for n_outputs in outputs:
        for n_regions in sizes:
            try:
                yield from compare(device, n_regions, n_outputs, rounds, amp=device == "cuda")
            except Exception as error:  # no memory, no compiler
                print(f"B = {n_regions}, {n_outputs:,} outputs failed: {report.failure(error)}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write ``loss_rivals_<device>.md``."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark rivals", description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--sizes", type=int, nargs="+", default=list(_SIZES), help="regions in a batch")
    parser.add_argument("--outputs", type=int, nargs="+", default=list(_OUTPUTS), help="of the last layer")
    parser.add_argument("--rounds", type=int, default=7, help="in each of which all ways run in turn")
    parser.add_argument("--busy", action="store_true", help="other work runs on the machine; the page says so")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks"), help="folder of the page")
    options = parser.parse_args(arguments)
    if options.device == "cpu":
        torch.set_num_threads(1)
    kind = "bfloat16 (autocast)" if options.device == "cuda" else "float32, one thread"
    busy = " Other work ran on the machine: trust ratios within a round, and these loosely." if options.busy else ""
    about = f"{_device(options.device)}; torch {torch.__version__}; {kind}; {options.rounds} rounds.{busy}"
    rows: list[Row] = []
    for row in all_rows(options.device, options.sizes, options.outputs, options.rounds):
        rows.append(row)  # and kept at once: the last size takes the longest
        text = f"# The loss beside plain torch, {options.device}\n\n{about}\n\n{table(rows)}"
        report.keep(options.output, f"loss_rivals_{options.device}", [row._asdict() for row in rows], text)


if __name__ == "__main__":
    main()
