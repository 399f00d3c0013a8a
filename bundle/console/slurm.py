"""``slpd slurm``: the chain as jobs of a Slurm cluster, from a plan; what they are doing, and what failed once more."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import BundleError
from ..core.lock import writer_lock
from ..core.settings import as_bool
from .slurm_jobs import RECORD, Task, insist_on_slurm, read_record, script_of, submit, tasks_of, try_scripts
from .slurm_plan import Plan, read_plan
from .words import split_options

_EXAMPLE = Path(__file__).with_name("slurm_example.yaml")
_FLAGS = {"again", "dry_run", "example", "help"}
_HELP = """slpd slurm PLAN.yaml [--again] [--dry_run] | --example

The chain of slpd run as jobs of a Slurm cluster: tokenizing (several jobs side by side), training, evaluation,
embeddings, atlas, each after what it needs. A job whose time ends, or that others push aside, goes on where it was.

examples
  slpd slurm --example > plan.yaml
        a plan with all keys, each with what it means
  slpd slurm plan.yaml
        submits the jobs; once they are submitted: says what each of them is doing
  slpd slurm plan.yaml --again
        submits what failed or was cancelled once more, and what waited for it
  slpd slurm plan.yaml --dry_run
        prints the scripts; nothing is submitted"""


def main(typed: Sequence[str]) -> int:
    """``slpd slurm``; 1 where a job has failed and was not submitted once more."""
    options, plain = split_options(typed, _FLAGS)
    unknown = [f"--{name}" for name in options if name not in _FLAGS] + plain[1:]
    if unknown:
        raise BundleError(f"slpd slurm takes a plan, --again, --dry_run or --example; {unknown[0]} is none of them.")
    asked = {name: as_bool(options.get(name, "false")) for name in _FLAGS}
    if asked["help"]:
        print(_HELP)
        return 0
    if asked["example"]:
        print(_EXAMPLE.read_text(encoding="utf-8"), end="")
        return 0
    if not plain:
        raise BundleError("slpd slurm takes a plan; slpd slurm --example prints one to begin with.")
    path = Path(plain[0])
    with _inside(path.parent):
        plan = read_plan(Path(path.name))
        plan.path = path
        if asked["dry_run"]:
            print("\n".join(f"# {job.step}\n{script_of(plan, job)}" for job in plan.jobs))
            return 0
        insist_on_slurm()
        with writer_lock(plan.folder, "chain of Slurm jobs", "work_dir"):
            return _submit_or_tell(plan, asked["again"])


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Places of a plan are seen from its folder."""
    before = Path.cwd()
    try:
        os.chdir(folder)
    except OSError as error:
        raise BundleError(f"there is no folder {folder} with a plan in it: {error.strerror}.") from error
    try:
        yield
    finally:
        os.chdir(before)


def _submit_or_tell(plan: Plan, is_again: bool) -> int:
    record = read_record(plan)
    tasks = tasks_of(plan, record)
    over = [task for task in tasks if task.is_over]
    made: list[Task] = []
    if over and (is_again or not record):
        try_scripts(plan)
        made = submit(plan, tasks, record)
    print("\n".join(_lines(plan, tasks)))
    if made:
        print(f"{len(made)} jobs submitted; {plan.folder / RECORD} has them, logs will lie beside it")
        print(f"next  slpd slurm {plan.path}     what they are doing")
        return 0
    counts = Counter(task.state for task in tasks)
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    if over:
        print(f"next  slpd slurm {plan.path} --again     submits the {len(over)} that nobody does; the others stay")
    return int(bool(over))


def _lines(plan: Plan, tasks: Sequence[Task]) -> list[str]:
    lines = []
    for task in tasks:
        log = plan.folder / f"{task.step}_{task.job}.log"
        shown = f"   {log}" if task.state == "failed" and log.exists() else ""
        lines.append(f"  {task.step:<9} {task.job:<12} {task.state} {task.said}".rstrip() + shown)
    return lines
