"""``python -m scripts.bench.many``: folders of very many token files, and cohorts too large to be on a disk here."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from . import report
from .processes import ROOT, mib_of

_DIM = 4
_WRITERS = 4  # they wait for the disk most of the time
_A_PIECE = 500


def write_files(span: range, folder: Path) -> None:
    """Token files of two to six regions, those that are not there."""
    from ..pins.token_files import write_tokens

    about: dict[str, Any] = {"encoder": "made up sha256:0", "mpp": 0.5, "level0_mpp": 0.25, "region_size_px": 4096}
    about |= {"region_size_level0": 8192, "patch_size_px": 256, "level0_width": 80_000, "level0_height": 60_000}
    about |= {"reader": "cucim", "decoder": "imagecodecs", "encode_background": False}
    for number in span:
        path = folder / f"slide_{number:06d}.h5"
        if not path.exists():
            n_regions = int(np.random.default_rng(number).integers(2, 7))
            write_tokens(path, n_regions, _DIM, number, slide_bytes=number, **about)


def make_folder(folder: Path, n_files: int) -> None:
    """``n_files`` token files."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = [range(start, min(start + _A_PIECE, n_files)) for start in range(0, n_files, _A_PIECE)]
    with ProcessPoolExecutor(_WRITERS) as pool:
        list(pool.map(write_files, pieces, [folder] * len(pieces)))


def start_of(kind: str, folder: Path) -> dict[str, float]:
    """What opening a folder takes in this process, and a hundred batches drawn over all of it."""
    import h5py

    from bundle.evaluation import evaluation_dataset
    from bundle.storage import TokenDataset

    opened, make = [0], h5py.File.__init__

    def counted(self: Any, name: Any, *arguments: Any, **options: Any) -> None:
        opened[0] += isinstance(name, str | os.PathLike)
        make(self, name, *arguments, **options)

    h5py.File.__init__ = counted
    before, cpu, start = mib_of("self", "VmRSS"), time.process_time(), time.perf_counter()
    data = TokenDataset(folder, cache="none") if kind == "training" else evaluation_dataset(folder)
    found = {"seconds": time.perf_counter() - start, "CPU seconds": time.process_time() - cpu, "opened": opened[0]}
    found |= {"MiB": mib_of("self", "VmHWM") - before, "regions": len(data)}  # type: ignore[arg-type]
    draws, start, before_reading = np.random.default_rng(0), time.perf_counter(), _handles()
    for _ in range(100):
        data.read(draws.integers(0, len(data), 256))  # type: ignore[arg-type,union-attr]
    return {**found, "reading": time.perf_counter() - start, "handles": _handles() - before_reading}


def simulated(part: str, n_slides: int) -> dict[str, float]:
    """What a part takes in this process; memory without pages of files, which the system takes away where it must."""
    import torch

    from .many_simulated import PARTS

    torch.set_num_threads(1)
    before, is_over = mib_of("self", "RssAnon"), threading.Event()
    most = [before]  # of a part that is over before anybody looks

    def look() -> None:
        while not is_over.wait(0.05):
            most[0] = max(most[0], mib_of("self", "RssAnon"))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        found = PARTS[part](n_slides)
    finally:
        is_over.set()
        watcher.join()
    return {**found, "GiB": (most[0] - before) / 1024}


def _handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def _apart(*words: str) -> dict[str, float]:
    """A measurement in a process of its own; empty where it failed, as for want of memory."""
    print(" ".join(words), flush=True)
    call = [sys.executable, "-m", "scripts.bench.many", "--measure", *words]
    environment = os.environ | {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    done = subprocess.run(call, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=False)
    return json.loads(done.stdout.splitlines()[-1]) if not done.returncode else {}


def measured_folder(folder: Path, n_files: int) -> dict[str, dict[str, float]]:
    """Starts with and without a manifest."""
    make_folder(folder, n_files)
    manifest = folder / ".manifest.jsonl"
    manifest.unlink(missing_ok=True)
    time.sleep(4)  # files of just now are not remembered
    found = {f"{turn}, {kind}": _apart("start", kind, str(folder)) for turn, kind in (
        ("first", "training"), ("second", "training"), ("third", "evaluating"))}  # fmt: skip
    found["manifest"] = {"MB": manifest.stat().st_size / 1e6}
    return found


def as_text(found: dict[str, Any]) -> str:
    """The page."""
    starts = {name: row for name, row in found["starts"].items() if row and name != "manifest"}
    regions = max(row["regions"] for row in starts.values())
    columns = ["seconds", "CPU seconds", "opened", "MiB", "handles", "reading"]
    rows = [[name, *(_number(row[column]) for column in columns)] for name, row in starts.items()]
    header = ["start", "seconds", "of a CPU", "files opened", "MiB", "handles, reading", "100 batches of 256, s"]
    n_files, size = found["files"], found["starts"]["manifest"]["MB"]
    lines = [
        f"# Very many slides\n\n{n_files:,} token files of {regions:,} regions, D = {_DIM}; manifest: {size:,.0f} MB.\n"
    ]
    lines += [
        report.table(header, rows),
        f"Simulated: {found['regions_a_slide']} regions a slide, one thread, seconds of a CPU.\n",
    ]
    for part, runs in found["simulated"].items():
        names = list(next(iter(runs.values())))
        table = [[f"{int(n):,}", *(f"{row[name]:,.3g}" if row else "-" for name in names)] for n, row in runs.items()]
        lines.append(report.table([f"{part}: slides", *names], table))
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    """Measure and write ``many.md``."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark many", description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="for the token files, which stay there (a folder that goes)")
    parser.add_argument("--slides", type=int, nargs="+", default=[30_000, 100_000, 300_000], help="simulated")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks"), help="folder of many.md")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, first, second = options.measure
        answer = start_of(first, Path(second)) if what == "start" else simulated(first, int(second))
        print(json.dumps(answer))
        return
    from .many_simulated import PARTS, REGIONS

    with TemporaryDirectory(prefix="bench_many_") as scratch:
        starts = measured_folder(options.folder or Path(scratch), options.files)
    found: dict[str, Any] = {"files": options.files, "starts": starts, "regions_a_slide": REGIONS}
    found["simulated"] = {part: {str(n): _apart("simulated", part, str(n)) for n in options.slides} for part in PARTS}
    report.keep(options.output, "many", found, as_text(found))


if __name__ == "__main__":
    main()
