"""``python -m scripts.golden_results A B``: run the chain at two commits, compare, say what differs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .compare import Comparison, compare_folders
from .rules import RULES
from .runs import Bench, RunError, results_of

_ROOT = Path(__file__).resolve().parents[2]
_SHARED = _ROOT.parent / "shared"
_SHOWN = 40  # differences


def main() -> int:
    """Read the command line, run, compare; 0: the same, 1: something differs, 2: a chain cannot be run."""
    options = _parser().parse_args()
    if options.rules:
        for rule in RULES:
            items = "" if rule.items is None else f"  items: {' '.join(rule.items)}"
            print(f"{rule.name}: {rule.reason}\n    {' '.join(rule.files)}{items}")
        return 0
    if len(options.commits) != 2:
        print("Give two commits, or one and . for the files as they are; --help tells more.", file=sys.stderr)
        return 2
    python = options.python.parent.resolve() / options.python.name  # the last link leads out of the environment
    bench = Bench(_ROOT, python, options.results.resolve())
    try:
        if not bench.python.is_file():
            raise RunError(f"there is no interpreter {bench.python}; run scripts/setup, or name one by --python.")
        first, second = _both(bench, options)
        comparison = compare_folders(first, second)
    except (RunError, ValueError) as error:
        print(f"Stopped: {error}", file=sys.stderr)
        return 2
    _report(comparison, options.commits, options.all)
    return int(bool(comparison.differences))


def _both(bench: Bench, options: argparse.Namespace) -> tuple[Path, Path]:
    a, b = options.commits
    slide, schema = (path.resolve() if path.is_file() else None for path in (options.real_slide, options.schema))
    is_same = "." not in (a, b) and bench.hash_of(a) == bench.hash_of(b)
    if a == b == ".":
        raise RunError(
            "the files as they are cannot be compared with themselves; commit them, then give the commit twice."
        )
    return results_of(bench, a, slide, schema), results_of(bench, b, slide, schema, is_same)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/golden",
        description="Runs the demo cohort's chain (slides, tokens, training, embeddings, maps, atlas, search, "
        "evaluation, package) at two commits on this machine and compares what it made, item by item and to the bit. "
        "A commit's results are kept and used again; the same commit twice is run twice.",
    )
    parser.add_argument(
        "commits", nargs="*", metavar="COMMIT", help="any name that git knows; . for the files as they are"
    )
    add = parser.add_argument
    add("--results", type=Path, default=_ROOT / "eval" / "golden", help="where results are kept (default: eval/golden)")
    add("--python", type=Path, default=_ROOT / ".venv" / "bin" / "python", help="default: .venv/bin/python")
    slide = _SHARED / "slides" / "CMU-1-Small-Region.svs"
    add("--real_slide", type=Path, default=slide, help="a scanner's slide; its step is left out where there is none")
    schema = _ROOT / "scripts" / "zoo" / "meta_schema_20240725.json"  # older commits have none of their own
    add("--schema", type=Path, default=schema, help="copy of the metadata's schema, for the package's checks")
    add("--all", action="store_true", help=f"list all differences, not {_SHOWN}")
    add("--rules", action="store_true", help="say what is not compared, and why")
    return parser


def _report(comparison: Comparison, commits: list[str], is_full: bool) -> None:
    found = sorted(comparison.differences, key=lambda d: -1.0 if d.largest is None else d.largest, reverse=True)
    for difference in found if is_full else found[:_SHOWN]:
        largest = "" if difference.largest is None else f"  largest {difference.largest:.3g}"
        print(f"DIFFERS  {difference.path}  {difference.item}{largest}  {difference.what}")
    if len(found) > _SHOWN and not is_full:
        print(f"... and {len(found) - _SHOWN} more; --all lists them")
    print(
        f"\n{comparison.n_files} files compared: {comparison.n_equal_files} have the same bytes, the others hold "
        f"{comparison.n_items} items; not compared (--rules says where):"
    )
    for rule, n in comparison.left_out.items():
        print(f"  {n:5d}  {rule.name}: {rule.reason}")
    n_files = len({difference.path for difference in found})
    verdict = f"{len(found)} DIFFERENCES in {n_files} files" if found else "the same, to the bit"
    print(f"{' and '.join(commits)}: {verdict}")


if __name__ == "__main__":
    sys.exit(main())
