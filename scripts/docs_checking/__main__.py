"""``python -m scripts.docs_checking``: run what the pages print, and say what does not do what its page says."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from . import figures
from .ground import Ground
from .printed import NAME, PYTHON, ROOT, Printed, files_named, pages, printed
from .running import Log, run
from .table import Plan, Table

_SHOWN = 96


def main() -> int:
    """Read the command line and do it; 1: something is not as a page says, 2: there is no such page."""
    options = _parser().parse_args()
    unknown = [page for page in options.page if page not in pages()]
    if unknown:
        print(f"{unknown[0]} is no page; there are {', '.join(pages())}.", file=sys.stderr)
        return 2
    table, chosen = Table(), options.page or pages()
    faults = table.faults([one for page in pages() for one in printed(page)])
    faults += [fault for page in chosen for fault in table.unnamed_pictures(page)]
    if options.list:
        _print_plans(table, chosen)
    else:
        faults += _check(table, chosen, options)
    _say_not_run(table, chosen)
    print("\n".join(faults), end="\n" if faults else "")
    return int(bool(faults))


def _check(table: Table, chosen: Sequence[str], options: argparse.Namespace) -> list[str]:
    """Run the pages' commands; look for files and figures."""
    ground = Ground(options.folder, options.demo)
    log = Log(ground.folder / "commands.jsonl")
    faults = [fault for page in chosen for fault in _check_page(table, page, ground, log, options.again)]
    faults += figures.faults(table.figures(), chosen, ground.source("demo"))
    ran = [entry for page in chosen for one, _ in _plans(table, page) if (entry := log.of(one)) is not None]
    n_failed = sum(not entry["passed"] for entry in ran)
    seconds = sum(entry["seconds"] for entry in ran)
    print(f"\n{len(ran)} run in {seconds / 60:.0f} minutes, {n_failed} failed")
    return faults


def _check_page(table: Table, page: str, ground: Ground, log: Log, is_again: bool) -> list[str]:
    """Go on where the page was left; where a command had failed from the page's beginning, as later ones need it."""
    plans = list(_plans(table, page))
    is_fresh = is_again or log.has_failed(one for one, _ in plans)
    if not is_fresh and all(log.has_passed(one, plan) for one, plan in plans):
        return []
    folder = ground.page_folder(page, table.files(page), is_fresh)
    faults, heading = [], ""
    for number, (one, plan) in enumerate(plans, 1):
        if not is_fresh and log.has_passed(one, plan):
            continue
        if one.heading != heading:
            ground.put(folder, table.files(page, one.heading))
        heading = one.heading
        said = folder.with_name(f"{folder.name}.{number}.log")
        passed, seconds = run(one, plan, folder, said)
        log.add(one, plan, passed, seconds)
        mark = "passed" if passed else "FAILED"
        print(f"{number}/{len(plans)} {page} {seconds:5.1f} s {mark}  {_short(one)}", flush=True)
        faults += [] if passed else [f"{page}: {_short(one)} failed: {said}"]
    return faults + _missing_files(table, page, folder)


def _plans(table: Table, page: str) -> Iterator[tuple[Printed, Plan]]:
    """What is run of a page; Python goes on from what stands above it."""
    code = ""
    for one in printed(page):
        plan = table.plan(one)
        if plan.line and one.kind == PYTHON:
            code = f"{code}\n\n{plan.line}".strip()
            plan = replace(plan, line=code)
        if plan.line:
            yield one, plan


def _missing_files(table: Table, page: str, folder: Path) -> list[str]:
    names = [name for name in files_named(page) if name not in table.unmade(page)]
    missing = [name for name in names if not next(folder.glob(f"**/{name.rstrip('/')}"), None)]
    return [f"{page}: names {name}, and no command has made it" for name in missing]


def _print_plans(table: Table, chosen: Sequence[str]) -> None:
    for one in (one for page in chosen for one in printed(page)):
        if line := table.plan(one).line:
            print(f"{one.page}: {line}")


def _say_not_run(table: Table, chosen: Sequence[str]) -> None:
    rows = [(one, table.plan(one)) for page in chosen for one in printed(page)]
    rows = [(one, plan) for one, plan in rows if not plan.line and one.kind != NAME]
    print(f"{len(rows)} not run")
    for one, plan in rows:
        print(f"  {one.page}: {_short(one)}\n    needs {plan.needs}: {plan.because}")
    print(f"pictures whose command is not known: {', '.join(table.pictures_of_unknown_origin()) or 'none'}")


def _short(one: Printed) -> str:
    text = one.text.replace("\n", "; ")
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/check_docs",
        description="Runs every command that README and docs print, each page in a folder of its own where the demo "
        "has run, and looks for the files and figures that they name. A second call goes on: pages that have passed "
        "are not run again.",
    )
    parser.add_argument("--page", nargs="+", default=[], help="only these, such as docs/atlas.md")
    parser.add_argument("--again", action="store_true", help="also what has passed, from a fresh folder")
    parser.add_argument("--list", action="store_true", help="say what would be run, and run nothing")
    parser.add_argument("--folder", type=Path, default=ROOT / "eval" / "docs", help="of all that is made (eval/docs)")
    parser.add_argument("--demo", type=Path, help="a folder where slpd demo has run (else it is run: some minutes)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
