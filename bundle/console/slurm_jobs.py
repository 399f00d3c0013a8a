"""Slurm's side of a plan: scripts, submission, and what jobs are doing."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.atomic import write_text
from ..core.errors import BundleError
from ..core.places import ROOT
from .slurm_plan import AFTER, Job, Plan

RECORD = "jobs.json"
_TASK = "$SLURM_ARRAY_TASK_ID"
_BODY = Path(__file__).with_name("slurm_job.txt")
_OPTIONS = {
    "partition": "--partition",
    "account": "--account",
    "time": "--time",
    "cpus": "--cpus-per-task",
    "memory": "--mem",
}


@dataclass
class Task:
    """A job, or a part of an array, and what it is doing.

    Attributes:
        step: a subcommand.
        number: within the step.
        job: as Slurm calls it; empty: it was not submitted.
        state: ``done``, ``failed``, ``gone`` (Slurm does not have it, and it has not said how it ended), ``new``, or
            what Slurm says, in small letters.
        said: more of it.
    """

    step: str
    number: int
    job: str
    state: str = "new"
    said: str = ""

    @property
    def is_over(self) -> bool:
        """Whether another job has to do its work: nobody does, or has done it."""
        return self.state in ("failed", "gone", "new")


def script_of(plan: Plan, job: Job) -> str:
    """The batch script of a step."""
    asked, several = job.asked, job.tasks > 1
    options = [f"--job-name=slpd_{job.step}", "--nodes=1", "--ntasks=1"]
    options += [f"{option}={asked[name]}" for name, option in _OPTIONS.items() if name in asked]
    options += [f"--gres=gpu:{asked.get('gpus')}"] * bool(asked.get("gpus"))
    log = str(plan.folder / job.step).replace("%", "%%") + ("_%A_%a.log" if several else "_%j.log")
    options += [f"--output={log}", "--open-mode=append", "--requeue", "--kill-on-invalid-dep=yes"]
    options += [f"--signal=B:USR1@{asked.get('notice', 120)}", f"--chdir={Path.cwd()}", *asked.get("extra", ())]
    lines = ["#!/bin/bash", *(f"#SBATCH {_quoted(option)}" for option in options), "set -u"]
    lines += [f"step={job.step} folder={shlex.quote(str(plan.folder))} restarts={asked.get('restarts', 100)}"]
    if several and job.step == "infer":
        lines.append(f'export RANK="{_TASK}" WORLD_SIZE={job.tasks}')
    command = " ".join(map(shlex.quote, [*(plan.start or _this_slpd()), job.step, *job.words]))
    if several and job.step == "tokenize":  # a table of slides each; what is made lies in one folder
        place = next((word for word in job.words if word.startswith("--output_dir=")), "")
        place = place or f"--output_dir={plan.work_dir / 'eval' / 'tokenize'}"
        command += f' {shlex.quote(f"{place}/task_")}"{_TASK}"'
    return "\n".join([*lines, f"command=({command})", _BODY.read_text(encoding="utf-8").lstrip("\n")])


def _quoted(option: str) -> str:
    """As sbatch reads its lines in a script: words with a space stand in quotes."""
    return option if not set(option) & set(" \"'\\#") else '"' + option.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _this_slpd() -> list[str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return ["env", f"PYTHONPATH={path}", "PYTHONSAFEPATH=1", sys.executable, "-m", "bundle.console"]


def insist_on_slurm() -> None:
    """Slurm's commands are here.

    Raises:
        BundleError: one is not.
    """
    for name in ("sbatch", "squeue", "scancel"):
        if shutil.which(name) is None:
            raise BundleError(
                f"slpd slurm needs Slurm's {name}, which is not on the PATH of this machine: go to one that submits "
                "jobs, or load Slurm's module there. slpd slurm PLAN.yaml --dry_run prints the scripts without it."
            )


def _slurm(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BundleError(f"{shlex.join(words)} was refused: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def try_scripts(plan: Plan) -> None:
    """Write all scripts, and ask Slurm whether it would take them.

    Raises:
        BundleError: it would not take one; nothing has been submitted.
    """
    for job in plan.jobs:
        path = plan.folder / f"{job.step}.sh"
        write_text(path, script_of(plan, job))
        array = [f"--array=0-{job.tasks - 1}"] if job.tasks > 1 else []
        try:
            _slurm("sbatch", "--test-only", *array, str(path))
        except BundleError as error:
            raise BundleError(f"{plan.path}: {job.step}: {error}. Nothing was submitted.") from error


def submit(plan: Plan, tasks: Sequence[Task], record: dict[str, Any]) -> list[Task]:
    """Give Slurm what nobody does, each step behind those that it needs; each job is written down at once.

    Args:
        plan: what is wanted.
        tasks: all of them, with their states; those that are submitted are changed.
        record: of :data:`RECORD`; changed.

    Returns:
        What was submitted.

    Raises:
        BundleError: Slurm refuses; what was submitted before stays, and is written down.
    """
    made: list[Task] = []
    for job in plan.jobs:
        own = [task for task in tasks if task.step == job.step]
        needed = [task for task in tasks if task.step == AFTER[job.step]]
        if any(task in made for task in needed):  # what waits for a job that has failed would wait for ever
            for task in own:
                if task.state not in ("done", "new", "failed", "gone"):
                    _slurm("scancel", task.job)
                    task.state = "gone"
        wanted = [task for task in own if task.is_over]
        if not wanted:
            continue
        words = ["sbatch", "--parsable"]
        words += [f"--array={','.join(str(task.number) for task in wanted)}"] if job.tasks > 1 else []
        waits = [task.job for task in needed if task.state != "done"]
        words += [f"--dependency=afterok:{':'.join(waits)}"] if waits else []
        words.append(str(plan.folder / f"{job.step}.sh"))
        number = _slurm(*words).strip().split(";")[0]
        for task in wanted:
            task.job, task.state = (f"{number}_{task.number}" if job.tasks > 1 else number), "submitted"
        made += wanted
        kept = record.setdefault(job.step, {"jobs": {}, "command": [job.step, *job.words]})
        kept["jobs"] |= {str(task.number): task.job for task in wanted}
        kept["submitted"] = words
        write_text(plan.folder / RECORD, json.dumps(record, indent=1) + "\n")
    return made


def read_record(plan: Plan) -> dict[str, Any]:
    """What was submitted in this folder; empty: nothing yet.

    Raises:
        BundleError: the file is damaged.
    """
    path = plan.folder / RECORD
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        _ = [dict(each["jobs"]) for each in found.values()]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise BundleError(
            f"{path} cannot be read ({error}), so nobody knows which jobs were submitted: look (squeue --me), end them "
            "(scancel), and remove it."
        ) from error
    return found


def tasks_of(plan: Plan, record: Mapping[str, Any]) -> list[Task]:
    """Each job of a plan and what it is doing, by Slurm's queue and by what ended jobs have left.

    Raises:
        BundleError: Slurm does not answer; the plan has another number of them by now.
    """
    queue = _queue() if record else {}
    tasks: list[Task] = []
    for job in plan.jobs:
        jobs = record.get(job.step, {"jobs": {}})["jobs"]
        if len(jobs) not in (0, job.tasks):
            raise BundleError(
                f"{plan.path}: {job.step}: tasks is {job.tasks}, and {len(jobs)} were submitted; give {len(jobs)}, or "
                "another work_dir for another chain."
            )
        tasks += [_looked_at(plan, Task(job.step, n, jobs.get(str(n), "")), queue) for n in range(job.tasks)]
    return tasks


def _queue() -> dict[str, tuple[str, str]]:
    """State and reason (or time) of this user's jobs, by job."""
    found = {}
    for line in _slurm("squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r|%M").splitlines():
        name, state, reason, time = (line.strip().split("|") + ["", "", ""])[:4]
        found[name] = (state.lower(), time if reason in ("None", "") else reason)
    return found


def _looked_at(plan: Plan, task: Task, queue: Mapping[str, tuple[str, str]]) -> Task:
    if not task.job:
        return task
    ended = plan.folder / f"{task.step}_{task.job}.ended"
    if task.job in queue:
        task.state, task.said = queue[task.job]
        if task.state not in ("completed", "cancelled", "failed", "timeout", "node_fail", "out_of_memory"):
            return task
    try:
        status = ended.read_text(encoding="utf-8").strip()
    except OSError:
        task.state, task.said = "gone", "cancelled, or lost with its node"
        return task
    task.state, task.said = ("done", "") if status == "0" else ("failed", f"status {status}")
    return task
