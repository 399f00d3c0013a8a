"""Results of a commit: a folder that the chain fills once, in processes that import that commit's files."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

from .steps import COHORT, Paths, draw_slides, fingerprint, steps_for

_ONE_TIME = 1_000_000_000  # seconds since 1970: what is keyed by times of files then agrees between runs
_FEW = ("demo_00.tif", "demo_05.tif")
_WARM = Path(__file__).with_name("warm.py")
_THREADS = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}


Starter = Callable[[list[str], Path], str]  # arguments of the interpreter, log without suffix -> stdout


class RunError(Exception):
    """A commit's chain cannot be run."""


@dataclass(frozen=True)
class Bench:
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
    if commit != "." and not is_again and _is_complete(folder, wanted):
        print(f"{commit}: results of before, {folder}", flush=True)
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    with bench.tree(commit) as tree:
        _draw_once(bench, tree)
        print(f"{commit}: {folder}", flush=True)
        _run_chain(bench, Paths(tree, real_slide, schema), folder)
        record = wanted | {"tree": str(tree)}
        (folder / "run.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return folder


def _is_complete(folder: Path, wanted: dict[str, str]) -> bool:
    record = folder / "run.json"
    return record.is_file() and wanted.items() <= json.loads(record.read_text(encoding="utf-8")).items()


def _slides(bench: Bench) -> Path:
    return bench.results / f"slides_{COHORT[0]}_of_{COHORT[1]}"


def _draw_once(bench: Bench, tree: Path) -> None:
    """Slides for all runs, by the first commit that is run, and their table."""
    slides = _slides(bench)
    if (slides / "cohort.csv").is_file():
        return
    shutil.rmtree(slides, ignore_errors=True)
    bench.results.mkdir(parents=True, exist_ok=True)
    print("slides for all runs", flush=True)
    with _warm(bench, tree, bench.results) as start:
        start(draw_slides(tree, slides.name, *COHORT), slides.with_suffix(".log"))
    _set_times(slides)
    with (slides / "slide_table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    patients = {row["patient"]: i for i, row in enumerate(rows)}
    for row in rows:  # what is the same for all slides of a patient
        i = patients[row["patient"]]
        row |= {"grade": str(i % 2 + 1), "time": str(5 + 7 * i % 23), "event": str(int(i % 4 != 3))}
    with (slides / "cohort.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _run_chain(bench: Bench, paths: Paths, folder: Path) -> None:
    for name in ("logs", "planted", "package"):
        (folder / name).mkdir(parents=True)
    shutil.copytree(_slides(bench), folder / "slides")
    (folder / "few_slides").mkdir()
    for name in _FEW:
        shutil.copy2(folder / "slides" / name, folder / "few_slides" / name)
    started, todo = time.monotonic(), list(steps_for(paths))
    with _warm(bench, paths.tree, folder) as start:
        for i, step in enumerate(todo, 1):
            print(f"  {i:2d}/{len(todo)} {step.name} ({time.monotonic() - started:.0f} s)", flush=True)
            said = start(step.arguments(paths), folder / "logs" / f"{i:02d}_{step.name.replace(' ', '_')}")
            if step.keep is not None:
                (folder / step.keep).write_text(said, encoding="utf-8")
            _set_times(folder)
    print(f"  done ({time.monotonic() - started:.0f} s)", flush=True)


@contextmanager
def _warm(bench: Bench, tree: Path, folder: Path) -> Iterator[Starter]:
    """Starts steps on a commit's files in a folder, on one thread and without a GPU; gives what they said to stdout."""
    given = {"PYTHONPATH": str(tree), "MPLBACKEND": "Agg", "CUDA_VISIBLE_DEVICES": ""}
    words, settings = [str(bench.python), str(_WARM)], os.environ | _THREADS | given
    with subprocess.Popen(words, cwd=folder, env=settings, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        answers = process.stdout

        def start(arguments: list[str], log: Path) -> str:
            said = log.with_suffix(".out"), log.with_suffix(".err")
            print(json.dumps([arguments, *map(str, said)]), file=process.stdin, flush=True)
            status = answers.readline().strip()
            if status != "0":
                tail = "\n".join(
                    "".join(path.read_text(encoding="utf-8")[-3000:] for path in said if path.is_file()).splitlines()[
                        -12:
                    ]
                )
                raise RunError(f"exit status {status or 'of the whole process'}; the logs are {log}.*\n{tail}")
            return said[0].read_text(encoding="utf-8")

        yield start


def _set_times(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (_ONE_TIME, _ONE_TIME))
