"""A plan of Slurm jobs: the YAML, what is wrong with it, and the steps that it stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..core.errors import BundleError
from ..core.kinds import KIND_OF, NOT_GIVEN, TEXTS
from ..core.naming import did_you_mean
from .chains import slide_steps
from .commands import COMMANDS
from .words import read_words

AFTER = {"tokenize": "", "train": "tokenize", "evaluate": "train", "infer": "train", "atlas": "infer"}
_SOURCES = ("slides", "tokens", "features")
_FOR_ALL = ("partition", "account", "time", "gpus", "cpus", "memory", "extra", "notice", "restarts")
_OF_ONE = {"tokenize": ("tasks",), "train": ("nproc",), "infer": ("tasks",)}
_COUNTS = {"gpus": 0, "cpus": 1, "notice": 0, "restarts": 0, "tasks": 1, "nproc": 1}  # and the least of each
_TIME = re.compile(r"(?:(?P<days>\d+)-(?P<h>\d+)(?::(?P<m>\d+)(?::(?P<s>\d+))?)?|(?P<minutes>\d+)|"
                   r"(?:(?P<hours>\d+):)?(?P<min>\d+):(?P<sec>\d+))")  # fmt: skip
_OURS = (
    "-a --array -d --dependency -o --output -e --error -J --job-name -D --chdir -N --nodes -n --ntasks -t --time "
    "-p --partition -A --account -c --cpus-per-task --mem --gres -G --gpus --signal --requeue --no-requeue "
    "--open-mode --parsable --wrap --kill-on-invalid-dep -W --wait --test-only"
).split()


@dataclass
class Job:
    """A step as Slurm gets it.

    Attributes:
        step: a subcommand.
        words: behind it.
        asked: what its job asks for, by key of the plan; what is not given is left out.
    """

    step: str
    words: list[str]
    asked: dict[str, Any] = field(default_factory=dict)

    @property
    def tasks(self) -> int:
        """Jobs side by side."""
        return int(self.asked.get("tasks", 1))


@dataclass
class Plan:
    """What a plan asks for.

    Attributes:
        path: the file.
        work_dir: where everything is made.
        start: words in front of a subcommand; empty: the slpd that reads the plan.
        jobs: in their order.
    """

    path: Path
    work_dir: Path
    start: list[str]
    jobs: list[Job]

    @property
    def folder(self) -> Path:
        """Of scripts, logs and records of the jobs."""
        return self.work_dir / "slurm"


def read_plan(path: Path) -> Plan:
    """Read a plan and look at all of it; places are seen from the folder that this process is in, the plan's.

    Raises:
        BundleError: it cannot be read; a key, value, place or step is wrong: file, key, what was found, what to do.
    """
    found = _mapping(_read(path), f"{path}", "a plan is a list of keys with values")
    _insist_on_known(path, "", found, ("work_dir", *_SOURCES, "slide_table", "label", "ids", "venv", "container",
                                       "slurm", *AFTER))  # fmt: skip
    sources = [name for name in _SOURCES if _given(found.get(name))]
    if len(sources) != 1:
        raise BundleError(
            f"{path}: {' and '.join(sources) or 'no source'} given; give one of slides, tokens, features."
        )
    work_dir = Path(_text(path, "work_dir", found.get("work_dir", "")))
    source = _text(path, sources[0], found[sources[0]])
    sections = {step: _mapping(found.get(step), f"{path}: {step}", "give keys below it") for step in AFTER}
    steps = _steps(path, source, work_dir.resolve(), _ids(path, found, sections))
    _insist_on_steps(path, sources[0], source, {step for step in AFTER if step in found}, set(steps))
    common = _mapping(found.get("slurm"), f"{path}: slurm", "give keys below it")
    _insist_on_known(path, "slurm", common, _FOR_ALL)
    jobs = []
    for step, words in steps.items():
        own = sections[step]
        known = (*_FOR_ALL, *_OF_ONE.get(step, ()), "ids", "with")
        _insist_on_known(path, step, own, known)
        job = Job(step, words, _asked(path, step, {**common, **own}))
        _complete(path, job, own)
        jobs.append(job)
    return Plan(path, work_dir.resolve(), _start(path, found), jobs)


def _read(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)  # words, as typed: 12:00:00 is no number
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}; slpd slurm --example prints a plan.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is no YAML: {error}; slpd slurm --example prints a plan.") from error


def _given(value: Any) -> bool:
    return value is not None and (not isinstance(value, str) or value not in NOT_GIVEN)


def _mapping(value: Any, where: str, advice: str) -> dict[str, Any]:
    if not _given(value):
        return {}
    if not isinstance(value, dict):
        raise BundleError(f"{where} is {value!r}; {advice} (slpd slurm --example prints a plan).")
    return value


def _insist_on_known(path: Path, section: str, found: Mapping[str, Any], known: Iterable[str]) -> None:
    for name in found:
        if name not in known:
            advice = f"{section or 'a plan'} has {', '.join(known)}."
            hint = did_you_mean(name, known, advice)
            raise BundleError(f"{path}: there is no key {f'{section}: ' * bool(section)}{name}; {hint}")


def _text(path: Path, name: str, value: Any) -> str:
    if not isinstance(value, str) or not _given(value):
        raise BundleError(f"{path}: {name} is {value or 'not given'!r}; give one word, a path or a name.")
    return value


def _ids(path: Path, found: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Ids as ``slpd run`` takes them, those of a step behind its name."""
    ids = {name: found[name] for name in ("slide_table", "label") if _given(found.get(name))}
    ids |= _mapping(found.get("ids"), f"{path}: ids", "give ids below it")
    for step, section in sections.items():
        own = _mapping(section.get("ids"), f"{path}: {step}: ids", "give ids below it")
        ids |= {f"{step}.{name}": value for name, value in own.items()}
    for name in ids:
        if name in ("quick", "dry_run", "verbose", "help"):
            raise BundleError(f"{path}: ids: {name} is no id of a step; leave it out.")
    return {name: _word(path, name, value) for name, value in ids.items()}


def _word(path: Path, name: str, value: Any) -> str:
    """A value as it is typed behind ``--id``."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return str(value) if KIND_OF.get(name.split(".")[-1]) == TEXTS else f"[{', '.join(value)}]"
    if not isinstance(value, str):
        raise BundleError(f"{path}: ids: {name} is {value!r}; give it in quotes, as on the command line.")
    return value


def _steps(path: Path, source: str, work_dir: Path, ids: Mapping[str, str]) -> dict[str, list[str]]:
    """Words of each step, looked at as ``slpd run`` does."""
    try:
        steps = {step.command: step.words for step in slide_steps(source, work_dir, ids)}
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error
    return {step: steps[step] for step in AFTER if step in steps}


def _insist_on_steps(path: Path, kind: str, source: str, planned: set[str], made: set[str]) -> None:
    if (kind == "slides") != ("tokenize" in made):
        what = "no slides in it" if kind == "slides" else "slides in it"
        raise BundleError(f"{path}: {kind} is {source}, and there are {what}; give the folder by what it holds.")
    for step in planned - made:
        why = "there is no label" if step == "evaluate" else f"{kind} are given, and {step} starts from slides"
        raise BundleError(f"{path}: the step {step} is needless: {why}; leave it out.")


def _asked(path: Path, step: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a job asks for, each of its kind."""
    asked: dict[str, Any] = {}
    for name, value in given.items():
        if name in ("ids", "with") or not _given(value):
            continue
        where = f"{path}: {step}: {name} is {value!r}"
        if name == "extra":
            asked[name] = _options(where, value)
        elif name in _COUNTS:
            if not isinstance(value, str) or not value.isdecimal() or int(value) < _COUNTS[name]:
                raise BundleError(f"{where}; give a whole number of at least {_COUNTS[name]}.")
            asked[name] = int(value)
        else:
            asked[name] = _text(path, f"{step}: {name}", value)
    if "memory" in asked and not re.fullmatch(r"\d+[KMGT]?", asked["memory"]):
        raise BundleError(f"{path}: {step}: memory is {asked['memory']!r}; give it as 64G, or in MB.")
    _insist_on_time(path, step, asked)
    if 0 < asked.get("gpus", 0) < asked.get("nproc", 1):
        raise BundleError(
            f"{path}: {step}: nproc is {asked['nproc']} with {asked['gpus']} gpus; give each one of its own."
        )
    return asked


def _options(where: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each.startswith("-") for each in value):
        raise BundleError(f"{where}; give a list of sbatch's options, such as [--mail-type=FAIL].")
    for option in value:
        if option.split("=")[0].split()[0] in _OURS:
            raise BundleError(f"{where}: {option} is slpd's to give; a key of the plan stands for it, or nothing does.")
    return value


def _insist_on_time(path: Path, step: str, asked: Mapping[str, Any]) -> None:
    """Slurm tells a job up to a minute early; then it needs some time to have got on."""
    time, notice = asked.get("time"), asked.get("notice", 120)
    if time is None:
        return
    match = _TIME.fullmatch(time)
    if match is None:
        raise BundleError(f"{path}: {step}: time is {time!r}; give minutes, hours:minutes:seconds or days-hours.")
    days, hours, minutes, seconds = (
        sum(int(match[name] or 0) for name in names)
        for names in (("days",), ("h", "hours"), ("m", "minutes", "min"), ("s", "sec"))
    )
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total < notice + 120:
        raise BundleError(
            f"{path}: {step}: time is {time}, {total} s, of which the last {notice} s are for saving (notice); give "
            f"at least {notice + 120} s, or less notice."
        )


def _complete(path: Path, job: Job, own: Mapping[str, Any]) -> None:
    """What ``slpd run`` has no word for."""
    if _given(own.get("with")):
        job.words.append(f"--with={_text(path, f'{job.step}: with', own['with'])}")
    if job.asked.get("nproc", 1) > 1:
        job.words.append(f"--processes={job.asked['nproc']}")
    try:
        read_words(COMMANDS[job.step], job.words)
    except BundleError as error:
        raise BundleError(f"{path}: {job.step}: {error}") from error


def _start(path: Path, found: Mapping[str, Any]) -> list[str]:
    """The words that ``slpd`` is called by in a job; none where nothing is said."""
    if _given(found.get("container")):
        if _given(found.get("venv")):
            raise BundleError(f"{path}: venv and container are given; give one of them.")
        return [*_text(path, "container", found["container"]).split(), "slpd"]
    if not _given(found.get("venv")):
        return []
    program = Path(_text(path, "venv", found["venv"])).absolute() / "bin" / "slpd"
    if not program.is_file():
        raise BundleError(f"{path}: venv is {found['venv']!r}: there is no {program}; give the environment's folder.")
    return [str(program)]
