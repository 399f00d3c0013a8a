"""From features in another tool's layout to a search, each step a command of its own: seconds and memory.

What is measured is the way, not what is learned: the patch encoder is trained for minutes, the region encoder for a few
epochs, and features wider than its tokens are these tokens times a random matrix.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bundle.core import BundleError

from .. import report
from ..processes import CommandError, Record, Usage
from .cohort import Cohort, make_cohort
from .steps import Step, epochs_of, steps_of_slides, steps_of_width


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every step that was not run before, and write the table."""
    options = _options(arguments)
    for name in ("slides", "slide_table", "output", "patch_encoder"):  # steps run in the repository's root
        path = getattr(options, name)
        setattr(options, name, None if path is None else path.resolve())
    try:
        cohort = make_cohort(
            options.slides, options.slide_table, options.slide_column, options.label, options.n_folds, options.output
        )
        measured = {"slides": _run(steps_of_slides(options, cohort), options.output, "slides")}
        for width in options.widths:
            part = f"d{width}"
            measured[part] = _run(steps_of_width(options, cohort, width), options.output, part)
    except (BundleError, CommandError, OSError) as error:
        print(f"Stopped: {error}", file=sys.stderr)
        return 1
    report.keep(options.output, "tissue_features", measured, as_text(measured, options, cohort))
    return 0


def _run(steps: Sequence[Step], output: Path, part: str) -> dict[str, Usage]:
    """What each step took; those of an earlier call are not run again."""
    record = Record(output / f"{part}.json")
    for step in steps:
        record.run(step.name, step.words, output / "logs" / f"{part}.log", step.until)
    return {name: Usage(took["seconds"], took["peak_mib"]) for name, took in record.done.items()}


def as_text(measured: dict[str, dict[str, Usage]], options: argparse.Namespace, cohort: Cohort) -> str:
    """The table, with what came back and what was written."""
    widths = options.widths
    rows = [[name, *_cells(usage), *[""] * (2 * len(widths) - 2)] for name, usage in measured["slides"].items()]
    for name in measured[f"d{widths[0]}"]:
        rows.append([name, *(cell for width in widths for cell in _cells(measured[f"d{width}"][name]))])
    header = ["step", *(title for width in widths for title in (f"D = {width:,}: s", "peak MiB"))]
    lines = [f"{cohort.n_slides} slides, {options.mpp:g} um/px, patches of {options.patch_size} px."]
    lines += ["", report.table(header, rows)]
    for width in widths:
        folder = options.output / f"d{width}"
        found, epochs = json.loads((folder / "compared.json").read_text()), epochs_of(folder / "slpd" / "history.csv")
        lines.append(
            f"- D = {width:,}: {found['patches']:,} patches in {found['regions']:,} regions; {found['equal']} of "
            f"{found['slides']} slides came back bit for bit, {found['in the same regions']} in the regions that they "
            f"came from; features {_size(folder / 'features')}, tokens {_size(folder / 'tokens')}; epochs in the "
            f"history: {', '.join(map(str, epochs))}."
        )
    lines.append(f"- Evaluation: {options.label} of {', '.join(cohort.classes)}; {options.n_folds} folds by patient.")
    return "# From features to search\n\n" + "\n".join(lines) + "\n"


def _cells(usage: Usage) -> list[str]:
    return [f"{usage.seconds:.1f}", f"{usage.peak_mib:,.0f}"]


def _size(folder: Path) -> str:
    return f"{sum(path.stat().st_size for path in folder.rglob('*.h5')) / 1e6:,.0f} MB"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/tissue_features", description=__doc__)
    parser.add_argument("--slides", type=Path, required=True, help="folder of slides, searched in depth")
    parser.add_argument("--slide_table", type=Path, required=True, help="CSV with a row a slide; others are left alone")
    parser.add_argument("--output", type=Path, required=True, help="folder; a second call goes on where one stopped")
    parser.add_argument("--slide_column", default="slide", help="column with file names or ids (slide)")
    parser.add_argument("--label", default="label", help="column with the class (label)")
    parser.add_argument("--widths", type=int, nargs="+", default=[384, 1536], help="lengths of a feature (384 1536)")
    parser.add_argument("--mpp", type=float, default=2.0, help="um/px at which patches are read (2)")
    parser.add_argument("--patch_size", type=int, default=64, help="px (64)")
    parser.add_argument("--patch_encoder", type=Path, help="weights of one's own; without, one is trained for minutes")
    parser.add_argument("--max_epochs", type=int, default=2, help="of SLPD; half of them before the kill (2)")
    parser.add_argument("--n_folds", type=int, default=2, help="of the evaluation, by patient (2)")
    parser.add_argument("--device", default="cpu", help="of all steps; a GPU's memory is not measured (cpu)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
