"""Results of a commit: a folder that the chain fills once, in processes that import that commit's files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..pins.records import read_rows, write_rows
from .steps import COHORT, Paths, Step, draw_slides, fingerprint, steps_for

_FEW = ("demo_00.tif", "demo_05.tif")
_THREADS = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}


class RunError(Exception):
    """A commit's chain cannot be run."""


class Bench(NamedTuple):
    """What both runs share.

    Only one process may fill a folder of results at a time.

    Attributes:
        root: the repository.
        python: the interpreter, with the bundle's requirements.
        results: a folder of results for each commit, and the slides.
    """

    root: Path
    python: Path
    results: Path

    @property
    def slides(self) -> Path:
        """Slides for all runs, and their table."""
        return self.results / f"slides_{COHORT[0]}_of_{COHORT[1]}"

    def hash_of(self, commit: str) -> str:
        """Of a commit-ish, in full."""
        words = ["git", "-C", str(self.root), "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"]
        found = subprocess.run(words, capture_output=True, text=True)
        if found.returncode:
            raise RunError(
                f"{commit} is no commit of {self.root}; give one that git knows, or . for the files as they are."
            )
        return found.stdout.strip()

    @contextmanager
    def tree(self, commit: str) -> Iterator[Path]:
        """A commit's files, in a temporary folder; '.': the repository as it is."""
        if commit == ".":
            yield self.root
            return
        with tempfile.TemporaryDirectory(prefix="golden-") as scratch:
            tree = Path(scratch) / "tree"
            worktree = ["git", "-C", str(self.root), "worktree"]
            subprocess.run([*worktree, "add", "--quiet", "--detach", str(tree), commit], check=True)
            try:
                yield tree
            finally:
                subprocess.run([*worktree, "remove", "--force", str(tree)], check=True)

    def run(self, steps: list[Step], tree: Path, folder: Path) -> None:
        """Steps on a commit's files, in a folder, on one thread and without a GPU."""
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        settings = _THREADS | {"PYTHONPATH": str(tree), "MPLBACKEND": "Agg", "CUDA_VISIBLE_DEVICES": ""}
        words = [str(self.python), str(Path(__file__).with_name("warm.py")), json.dumps(steps)]
        if subprocess.run(words, cwd=folder, env=os.environ | settings).returncode:
            raise RunError("a step failed, see above.")


def results_of(bench: Bench, commit: str, real_slide: Path | None, schema: Path | None, is_again: bool = False) -> Path:
    """The folder of a commit's results; the chain is run unless it was, for this commit, slide and interpreter.

    Args:
        bench: what is shared.
        commit: a commit-ish; '.' is always run.
        real_slide: see :class:`~.steps.Paths`.
        schema: the same.
        is_again: a second, independent run of the commit, in a folder of its own, always made anew.

    Raises:
        RunError: a step failed; its log is named.
    """
    name = f"working-tree-{bench.root.name}" if commit == "." else bench.hash_of(commit)
    folder = bench.results / (f"{name}-again" if is_again else name)
    wanted = {
        "chain": fingerprint(Paths(bench.root, real_slide, schema)),
        "python": str(bench.python),
        "real_slide": str(real_slide),
        "schema": str(schema),
    }
    record = folder / "run.json"
    is_complete = record.is_file() and wanted.items() <= json.loads(record.read_text(encoding="utf-8")).items()
    if commit != "." and not is_again and is_complete:
        print(f"{commit}: results of before, {folder}", flush=True)
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    with bench.tree(commit) as tree:
        _draw_once(bench, tree)
        print(f"{commit}: {folder}", flush=True)
        _run_chain(bench, Paths(tree, real_slide, schema), folder)
        record.write_text(json.dumps(wanted | {"tree": str(tree)}, indent=1) + "\n", encoding="utf-8")
    return folder


def _draw_once(bench: Bench, tree: Path) -> None:
    """Slides for all runs, by the first commit that is run, and their table."""
    slides = bench.slides
    if (slides / "cohort.csv").is_file():
        return
    shutil.rmtree(slides, ignore_errors=True)
    bench.run([Step("slides for all runs", draw_slides(tree, slides.name, *COHORT))], tree, bench.results)
    rows = read_rows(slides / "slide_table.csv")
    patients = {row["patient"]: i for i, row in enumerate(rows)}
    for row in rows:  # what is the same for all slides of a patient
        i = patients[row["patient"]]
        row |= {"grade": str(i % 2 + 1), "time": str(5 + 7 * i % 23), "event": str(int(i % 4 != 3))}
    write_rows(slides / "cohort.csv", rows)


def _run_chain(bench: Bench, paths: Paths, folder: Path) -> None:
    for name in ("few_slides", "planted", "package"):
        (folder / name).mkdir(parents=True)
    shutil.copytree(bench.slides, folder / "slides")
    for name in _FEW:
        shutil.copy2(folder / "slides" / name, folder / "few_slides" / name)
    bench.run(steps_for(paths), paths.tree, folder)
