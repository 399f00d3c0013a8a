"""A subcommand's run: three lines before, the run, where things are and what comes next."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.errors import BundleError
from ..core.ranks import own_rank
from ..core.searching import files_below
from .commands import SUMMARIES, Command
from .helping import help_of
from .starting import equal_command, made_places, monai_words, run_here, run_shared
from .talking import duration, quiet_run
from .words import Words, check_inputs, read_words, with_places

_SLIDES = {"check", "encoder", "tokenize"}
_CHECKED_TOO = (".h5",)  # token files and embeddings
_MOST_SHOWN = 20


def run(command: Command, typed: Sequence[str], is_step: bool = False) -> int:
    """Run a subcommand, or say what ``--help`` or ``--dry_run`` ask for.

    Args:
        command: the subcommand.
        typed: the words behind it.
        is_step: of a chain, which says itself what is run and where things are.

    Raises:
        BundleError: something is wrong with the words, or what is to be read is not there.
    """
    read = read_words(command, typed)
    if read.wants_help:
        print(help_of(command))
        return 0
    values = with_places(command, read)
    check_inputs(command, read, values)
    words = monai_words(command, read, values)
    if read.dry_run:
        print("\n".join(_planned(command, read, values, words)))
        return 0
    if read.processes > 1 and "RANK" not in os.environ:
        run_shared(command.name, typed, read.processes)
    if is_step or own_rank():
        _run_at(words, read.verbose)
        return 0
    started, slides = time.monotonic(), _how_many(command, values)
    print("\n".join(_first_words(command, values, slides)), flush=True)
    _run_at(words, read.verbose)
    following = command.next if command.name != "check" else _after_check(command, values) if slides else ()
    print("\n".join(_last_words(command, values, time.monotonic() - started, following)), flush=True)
    return 0


def _run_at(words: Sequence[str], is_verbose: bool) -> None:
    with quiet_run(is_verbose):
        run_here(words if is_verbose else [*words, "--logging_file=False"])


def _first_words(command: Command, values: Mapping[str, str], slides: str) -> list[str]:
    source = values.get(command.first) or values.get("dataset_dir", "")
    return [
        f"slpd {command.name}: {SUMMARIES[command.name]}",
        f"  from  {source}{slides}",
        f"  to    {', '.join(map(str, made_places(command, values)))}",
    ]


def _how_many(command: Command, values: Mapping[str, str]) -> str:
    if command.name not in _SLIDES:
        return ""
    from ..slides import find_slides

    try:
        n_slides = len(find_slides(values["dataset_dir"]))
    except BundleError:
        if command.name == "check" and files_below(values["dataset_dir"], _CHECKED_TOO, is_quiet=True):
            return ""
        raise
    return f" ({n_slides} slide{'s' * (n_slides != 1)})"


def _last_words(command: Command, values: Mapping[str, str], seconds: float, following: Sequence[str]) -> list[str]:
    lines = [f"done in {duration(seconds)}"]
    lines += [f"  {place}" for place in made_places(command, values) if place.exists()]
    shown = {
        "QUARANTINE": str(Path(values.get("output_dir", ""), "quarantine.txt")),
        "SLIDES": values.get("dataset_dir" if command.name in _SLIDES else "slides_dir", "SLIDES"),
        "TOKENS": values.get("tokens_dir") if "tokens_dir" in command.made else values.get("dataset_dir", "TOKENS"),
    }
    if label := values.get("label"):
        shown["diagnosis"] = label
    for number, step in enumerate(following):
        line = " ".join(str(shown.get(word, word)) for word in step.split())
        lines.append(f"{'next' if number == 0 else '    '}  {line}")
    return lines


def _after_check(command: Command, values: Mapping[str, str]) -> tuple[str, ...]:
    """What to run after slides were looked at; nothing where each of them has a problem."""
    with Path(values["output_dir"], "checks.csv").open(newline="", encoding="utf-8") as file:
        problems = [bool(row["problem"]) for row in csv.DictReader(file)]
    if not any(problems):
        return ("slpd tokenize SLIDES",)
    return () if all(problems) else command.next


def _planned(command: Command, read: Words, values: Mapping[str, str], words: Sequence[str]) -> list[str]:
    """What would be read, made and overwritten, and the same run as MONAI's command."""
    made = made_places(command, values)
    lines = [f"slpd {command.name} would run", f"  {equal_command(words, read.processes)}", "read"]
    for name, word in values.items():
        if Path(word) not in made and Path(word).exists():
            lines.append(f"  --{name} {word}{_how_many(command, values) if name == 'dataset_dir' else ''}")
    lines.append("made, or gone on with")
    for place in made:
        lines.append(f"  {place}{_state(place)}")
    return lines


def _state(place: Path) -> str:
    if not place.exists():
        return " (new)"
    if place.is_file():
        return " (is there; that of another run is kept aside)"
    n_files = sum(1 for _ in zip(range(_MOST_SHOWN + 1), place.rglob("*"), strict=False))
    if not n_files:
        return " (empty)"
    return f" (is there, with {'more than ' * (n_files > _MOST_SHOWN)}{min(n_files, _MOST_SHOWN)} files)"
