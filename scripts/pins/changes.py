"""Deliberate changes to the code, each of which a test has to notice.

A test that passes whatever the code does pins nothing. Every change of ``tests/changes.yaml`` is made in a copy of the
repository, its own tests run there, and at least one of them has to fail.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
LIST = ROOT / "tests" / "changes.yaml"
AREAS = ("training", "clustering", "reading")
NOTICED, MISSED, NO_CHANGE, NO_TEST = "noticed", "NOT NOTICED", "could not apply", "could not run"
_LONGEST_S = 900  # of one change's tests
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MPLBACKEND": "Agg"}


class Change(NamedTuple):
    """One deliberate change.

    Attributes:
        name: what is changed, in words.
        area: training, clustering or reading.
        file: the file that is changed, relative to the root.
        old, new: text of the file, there exactly once, and what takes its place.
        tests: pytest's names (file::function, parameters at will) of the tests that have to notice.
    """

    name: str
    area: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def read_changes(path: Path = LIST) -> list[Change]:
    """The list of changes.

    Raises:
        ValueError: an entry lacks a field or has another, or two have one name.
    """
    changes = []
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
        if set(entry) != set(Change._fields):
            raise ValueError(f"a change has the fields {', '.join(Change._fields)}: got {', '.join(map(str, entry))}.")
        changes.append(Change(**{**entry, "tests": tuple(entry["tests"])}))
    names = [change.name for change in changes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"several changes have the name {twice[0]!r}; a name is for one.")
    return changes


def changed_text(change: Change, root: Path) -> str:
    """The file's text after the change.

    Raises:
        ValueError: no such file, or ``old`` is not there exactly once, or what results is no Python.
    """
    path = root / change.file
    if not path.is_file():
        raise ValueError(f"{change.file} is no file.")
    text = path.read_text(encoding="utf-8")
    if text.count(change.old) != 1 or change.old == change.new:
        raise ValueError(f"its old text is {text.count(change.old)} times in {change.file}; it must be there once.")
    changed = text.replace(change.old, change.new)
    if path.suffix == ".py":
        try:
            ast.parse(changed)
        except SyntaxError as error:
            raise ValueError(f"{change.file} would be no Python: {error}.") from error
    return changed


def as_table(changes: Iterable[Change]) -> str:
    """The changes as a Markdown table, area by area."""
    lines = ["| area | what is changed | where | noticed by |", "|---|---|---|---|"]
    for change in sorted(changes, key=lambda each: AREAS.index(each.area)):
        tests = ", ".join(f"`{test}`" for test in change.tests)
        cells = (change.area, change.name, f"`{change.file}`", tests)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def copy_repository(folder: Path) -> None:
    """Copy what git tracks or would track, with its contents of this moment."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def run_tests(tests: Sequence[str], folder: Path) -> tuple[int, str]:
    """pytest's exit code in a copy, up to the first failure, and what it wrote; -1 where it takes too long."""
    # No bytecode: a change within the second that keeps the file's size would be taken for the file of before.
    settings = _ONE_THREAD | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=folder, env=os.environ | settings, capture_output=True, text=True, timeout=_LONGEST_S
        )
    except subprocess.TimeoutExpired:
        return -1, f"no end within {_LONGEST_S} s"
    return done.returncode, done.stdout + done.stderr


def judge(change: Change, folder: Path) -> tuple[str, str]:
    """Make the change in a copy, run its tests, take the change back: one of the four words, who noticed or why not."""
    try:
        changed = changed_text(change, folder)
    except ValueError as error:
        return NO_CHANGE, str(error)
    path = folder / change.file
    before = path.read_bytes()
    path.write_text(changed, encoding="utf-8")
    try:
        code, output = run_tests(change.tests, folder)
    finally:
        path.write_bytes(before)
    if code == 1:
        found = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
        return NOTICED, found[1] if found else ""
    return (MISSED, ", ".join(change.tests)) if code == 0 else (NO_TEST, output[-2000:])


def chosen(changes: list[Change], words: Sequence[str], area: str | None) -> list[Change]:
    """Those of a area, and those whose name holds one of the words; all without either."""
    of_area = [change for change in changes if area in (None, change.area)]
    return [change for change in of_area if not words or any(word.lower() in change.name.lower() for word in words)]


def try_changes(changes: Sequence[Change], folder: Path) -> bool:
    """Run all tests unchanged, then each change's; show each verdict; whether all is well."""
    tests = sorted({test for change in changes for test in change.tests})
    print(f"{len(tests)} tests without any change ... ", end="", flush=True)
    code, output = run_tests(tests, folder)
    print("pass" if code == 0 else f"FAIL\n{output}", flush=True)
    if code != 0:
        return False
    verdicts = []
    for number, change in enumerate(changes, 1):
        print(f"[{number}/{len(changes)}] {change.area}: {change.name} ... ", end="", flush=True)
        started = time.monotonic()
        word, detail = judge(change, folder)
        verdicts.append(word)
        print(f"{word} ({time.monotonic() - started:.0f} s): {detail}", flush=True)
    print(", ".join(f"{verdicts.count(word)} {word}" for word in sorted(set(verdicts))))
    return set(verdicts) == {NOTICED}


def main() -> int:
    """The command line: see ``scripts/changes --help``."""
    parser = argparse.ArgumentParser(prog="scripts/changes", description="Whether the tests notice a change.")
    parser.add_argument("names", nargs="*", help="words of the names of changes; all changes without")
    parser.add_argument("--area", choices=AREAS, help="changes of this area only")
    parser.add_argument("--table", action="store_true", help="write the list as a Markdown table and end")
    parser.add_argument("--list", type=Path, default=LIST, help="another list of changes")
    options = parser.parse_args()
    changes = chosen(read_changes(options.list), options.names, options.area)
    if not changes:
        parser.error("no change has such a name.")
    if options.table:
        print(as_table(changes), end="")
        return 0
    with tempfile.TemporaryDirectory(prefix="changes-") as folder:
        copy_repository(Path(folder))
        return 0 if try_changes(changes, Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
