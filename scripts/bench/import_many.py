"""``python -m scripts.bench.import_many``: an import of very many small slides: memory on the way, and after a kill."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tqdm.auto import tqdm

from ..pins.foreign_features import MPP, random_slide
from ..pins.records import read_rows
from . import report
from .processes import CommandError, Usage, bundle_command, mib_of, run_measured

_SHARES = (0.01, 0.1, 0.5, 1.0)
_COLUMNS, _ROWS = 10, 8  # cells of a slide, half of them tissue


class Cohort:
    """A folder of small slides in TRIDENT's layout, and imports of it by ``configs/import.yaml``.

    Args:
        folder: for features, tokens and logs.
        n_slides: S.
        dim: D.
    """

    def __init__(self, folder: Path, n_slides: int, dim: int) -> None:
        self.folder, self.n_slides, self.dim = folder, n_slides, dim

    def make(self) -> None:
        """Write the features that are not there."""
        for number in tqdm(range(self.n_slides), desc="features", unit="slide", disable=None):
            path = self.folder / "features" / f"slide_{number:06d}.h5"
            if not path.exists():
                random_slide(path, _COLUMNS, _ROWS, 0.5, self.dim, seed=number)

    def tokens(self, name: str) -> Path:
        """Where an import's token files go."""
        return self.folder / name / "tokens"

    def memory(self) -> dict[str, Any]:
        """Import all; MiB of resident memory when a share of the slides is there."""
        samples: list[tuple[int, float]] = []

        def look(pid: int) -> bool:
            samples.append((_n_finished(self.tokens("whole")), mib_of(pid, "VmRSS")))
            return False

        usage = self._import("whole", look)
        samples = [sample for sample in samples if sample[1] > 0]  # a process that ends has no memory left
        wanted = {share: share * self.n_slides for share in _SHARES}
        found = {
            share: next((mib for n, mib in samples if n >= least), samples[-1][1]) for share, least in wanted.items()
        }
        return {"mib": found, "usage": usage._asdict()}

    def kill(self) -> dict[str, int]:
        """Kill an import half way and start it again; what became of the slides."""
        tokens = self.tokens("killed")
        self._import("killed", lambda _: _n_finished(tokens) >= self.n_slides // 2)
        before = {path: path.stat() for path in tokens.glob("*.h5")}
        n_parts = len(list(tokens.glob(".*.tmp")))
        self._import("killed")
        statuses = Counter(row["status"] for row in read_rows(self.folder / "killed" / "slides.csv"))
        changed = [path for path, old in before.items() if path.stat().st_mtime_ns != old.st_mtime_ns]
        return {
            "finished before the kill": len(before),
            "being written when it came": n_parts,
            "finished before, and made anew": len(changed),
            "skipped by the second start": statuses["skipped"],
            "made by the second start": statuses["done"],
            "failed": statuses["failed"],
            "parts left at the end": len(list(tokens.glob(".*.tmp"))),
        }

    def _import(self, name: str, watch: Any = None) -> Usage:
        words = bundle_command(
            "importing",
            ["configs/import.yaml"],
            dataset_dir=self.folder / "features",
            tokens_dir=self.tokens(name),
            output_dir=self.folder / name,
            default_mpp=MPP,
        )
        return run_measured(words, self.folder / f"{name}.log", watch, every_s=0.25)


def as_text(found: dict[str, Any]) -> str:
    """The page of what :func:`main` measured."""
    memory, usage = found["memory"]["mib"], found["memory"]["usage"]
    lines = [f"{found['slides']:,} slides of some {_COLUMNS * _ROWS // 2} patches, D = {found['dim']}, one process."]
    lines += ["", f"{usage['seconds']:.0f} s in all, starting included; at most {usage['peak_mib']:.0f} MiB.", ""]
    lines += [report.table(["share imported", "MiB"], [[f"{k:.0%}", f"{v:.0f}"] for k, v in memory.items()])]
    lines += [
        report.table(
            ["killed half way (SIGKILL), started again", "slides"], [[k, f"{n:,}"] for k, n in found["kill"].items()]
        )
    ]
    return "# Many small slides imported\n\n" + "\n".join(lines)


def main() -> int:
    """Make the slides, import them, import them again with a kill, and write the page."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark import_many", description=__doc__)
    parser.add_argument("--slides", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=32, help="of a feature (32)")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks"), help="folder of import_many.md")
    options = parser.parse_args()
    if not Path("/proc/self/status").exists():
        print("the memory of another process is read from /proc: run this on Linux", file=sys.stderr)
        return 1
    with TemporaryDirectory() as folder:
        cohort = Cohort(Path(folder), options.slides, options.dim)
        cohort.make()
        try:
            found = {"slides": options.slides, "dim": options.dim, "memory": cohort.memory(), "kill": cohort.kill()}
        except CommandError as error:
            print(f"{error}\n{_last_words(Path(folder))}", file=sys.stderr)
            return 1
    report.keep(options.output, "import_many", found, as_text(found))
    return 0


def _n_finished(tokens: Path) -> int:
    return sum(not name.startswith(".") for name in os.listdir(tokens)) if tokens.is_dir() else 0


def _last_words(folder: Path) -> str:
    logs = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
    return "\n".join(logs[-1].read_text().splitlines()[-20:]) if logs else ""


if __name__ == "__main__":
    sys.exit(main())
