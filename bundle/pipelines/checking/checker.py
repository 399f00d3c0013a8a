"""Checking a folder of slides and its tables: every slide is looked at, and nothing stops at a bad one."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ...cohort import SlideRef, SlideRow, SlideTable, write_quarantine
from ...core import EarlierResults, as_bool, as_whole, check_folder, sole_run
from ...pages import csv_text, write_results
from ...slides import ReadSettings, find_slides
from .cohort_look import compare_slides
from .deep_look import DeepLook
from .look import Look, look_at, side_by_side
from .look_files import LookFile
from .stored_look import look_at_stored, stored_refs
from .table_look import TableLook, look_at_tables

_SECONDS_BETWEEN_LINES = 10.0
_MOST_LISTED = 20
_MOST_DEATHS = 2
_DEADLY = (
    "was in work when two runs died (a library that crashed on it, too little memory, or somebody's kill), and is not "
    "opened any more. --overwrite true looks at it again."
)
_COLUMNS = (
    "bytes", "format", "codec", "reader", "compared_with", "width", "height", "levels", "mpp", "mpp_source",
    "area_mm2", "tissue_share", "regions", "patches", "missing_tiles", "n_read",
)  # fmt: skip
_log = logging.getLogger(__name__)


class Checks(NamedTuple):
    """What was found.

    Attributes:
        looks: of all slides, those with a problem first, then those with warnings.
        tables: of slide table and splits.
        seconds: that the run took.
        n_kept: looks of an earlier run that are still good.
        dataset_dir: where the slides are.
    """

    looks: list[Look]
    tables: TableLook
    seconds: float
    n_kept: int
    dataset_dir: str

    @property
    def bad(self) -> list[Look]:
        """Slides with a problem."""
        return [look for look in self.looks if look.problem]

    @property
    def odd(self) -> list[Look]:
        """Slides without a problem, and with warnings."""
        return [look for look in self.looks if look.oddities and not look.problem]


class SlideChecker:
    """Look at every slide of a folder and at its tables: ``checks.csv``, ``quarantine.txt``, a page.

    Args:
        dataset_dir: folder of slides, searched in depth, or one slide; or of token files or embeddings, all of which
            are read and compared with their checksums.
        output_dir: made where it is missing.
        page: is given the :class:`Checks` and writes a page; None: none is written.
        slide_table: None: there is none.
        splits: file of splits, see :func:`~bundle.cohort.read_splits`; None: there is none.
        label: columns of the slide table that will be learned, between commas.
        sampled_patches: that are decoded of each slide.
        num_workers: slides that are looked at side by side.
        overwrite: look at all again.
        seed: which patches are decoded.
        reading: how slides will be read, see :class:`~bundle.slides.ReadSettings`.

    Raises:
        BundleError: a setting is out of its range.
    """

    def __init__(
        self,
        dataset_dir: str | Path,
        output_dir: str | Path,
        page: Callable[[Checks], Any] | None = None,
        *,
        slide_table: str | Path | None = None,
        splits: str | Path | None = None,
        label: str | None = None,
        sampled_patches: int = 8,
        num_workers: int = 4,
        overwrite: bool = False,
        seed: int = 0,
        **reading: Any,
    ) -> None:
        self.dataset_dir, self.output_dir, self.page = Path(dataset_dir), Path(output_dir), page
        self.slide_table, self.splits = slide_table, splits
        self.labels = [name.strip() for name in (label or "").split(",") if name.strip()]
        self.how = ReadSettings(**reading).checked()
        self.look = DeepLook(self.how, as_whole(sampled_patches, "sampled_patches"), as_whole(seed, "seed"))
        self.num_workers, self.overwrite = as_whole(num_workers, "num_workers", 1), as_bool(overwrite)

    @property
    def settings(self) -> tuple[Any, ...]:
        """All that changes a look."""
        return self.how, self.look.n_patches, self.look.seed

    def run(self) -> Checks:
        """Check, write, and say what was found.

        Raises:
            BundleError: there is no slide, two would have one id, the results cannot be written, or another run
                writes them.
        """
        check_folder(self.output_dir, "what is found", "output_dir")
        with sole_run(self.output_dir, "check", "output_dir"):
            return self._check()

    def _check(self) -> Checks:
        started = time.monotonic()
        stored = stored_refs(self.dataset_dir)
        refs = stored or find_slides(self.dataset_dir)
        _log.info("%d slides in %s: looking at %d at a time", len(refs), self.dataset_dir, self.num_workers)
        base = self.dataset_dir.parent if self.dataset_dir.is_file() else self.dataset_dir
        table, tables = look_at_tables(self.slide_table, self.splits, refs, base, self.labels)
        looks, n_kept = (look_at_stored(stored, self.num_workers), 0) if stored else self._look_at_all(refs, table)
        compare_slides(looks, lambda look: look.ref.slide_id in tables.with_row)
        for look in looks:
            if look.ref.slide_id in tables.without_row:
                look.warnings.append("it has no row in the slide table")
        looks.sort(key=lambda look: (not look.problem, not look.oddities))
        checks = Checks(looks, tables, time.monotonic() - started, n_kept, str(self.dataset_dir))
        self._write(checks)
        _log.info("%s", as_text(checks, self.output_dir))
        return checks

    def _look_at_all(self, refs: Sequence[SlideRef], table: SlideTable) -> tuple[list[Look], int]:
        """Looks in the order of ``refs``, and how many were there."""
        rows = {ref.slide_id: table.row(ref.slide_id, ref.path) for ref in refs}
        file = LookFile(self.output_dir / "checks.jsonl", self.settings, is_fresh=self.overwrite)
        kept = [look for ref in refs if (look := file.get(ref, rows[ref.slide_id])) is not None]
        done = {look.ref.slide_id: look for look in kept}
        if done:
            _log.info("%d slides are as they were when they were looked at before", len(done))
        deadly = [ref for ref in refs if file.deaths(ref, rows[ref.slide_id]) >= _MOST_DEATHS]
        done |= {ref.slide_id: Look(ref, problem=_DEADLY) for ref in deadly}
        waiting = (partial(self._look_at, ref, rows[ref.slide_id], file) for ref in refs if ref.slide_id not in done)
        progress = _Progress(len(refs) - len(done))
        try:
            with closing(side_by_side(waiting, self.num_workers)) as looks:
                for look in looks:
                    file.add(look, rows[look.ref.slide_id])
                    done[look.ref.slide_id] = look
                    progress(look)
        finally:
            file.close(keeps=[ref.slide_id for ref in deadly])
        return [done[ref.slide_id] for ref in refs], len(kept)

    def _look_at(self, ref: SlideRef, row: SlideRow, file: LookFile) -> Look:
        started = time.perf_counter()
        file.begin(ref, row)
        look = look_at(ref, row, self.how, self.look)
        look.seconds = time.perf_counter() - started
        return look

    def _write(self, checks: Checks) -> None:
        asked: dict[str, Any] = {
            "dataset_dir": self.dataset_dir,
            "slide_table": self.slide_table,
            "splits": self.splits,
        }
        asked |= {"label": self.labels, **self.how._asdict(), "sampled_patches": self.look.n_patches}
        EarlierResults(self.output_dir, "checking", ("checks.csv", "quarantine.txt", "check.html"), asked)()
        rows = [
            [look.ref.slide_id, look.problem, "; ".join(look.oddities)]
            + [getattr(look, name) for name in _COLUMNS]
            + ["; ".join(look.images), round(look.seconds, 2)]
            for look in sorted(checks.looks, key=lambda look: look.ref.slide_id)
        ]
        header = ["slide", "problem", "warnings", *_COLUMNS, "images", "seconds"]
        write_results(self.output_dir, {"checks.csv": csv_text(header, rows)})
        write_quarantine(self.output_dir / "quarantine.txt", {each.ref.slide_id: each.problem for each in checks.bad})
        if self.page is not None:
            self.page(checks)


def as_text(checks: Checks, output_dir: Path) -> str:
    """For the console: counts, problems, and where the rest stands."""
    n, bad, odd = len(checks.looks), checks.bad, checks.odd
    lines = [
        f"{n} slides: {n - len(bad) - len(odd)} good, {len(odd)} odd, {len(bad)} with a problem; "
        f"{checks.seconds / max(n - checks.n_kept, 1):.2g} s a slide"
    ]
    told = _together([(look.ref.slide_id, look.problem) for look in bad])
    told_odd = _together([(f"{look.ref.slide_id} (odd)", "; ".join(look.oddities)) for look in odd])
    lines += [*told[:_MOST_LISTED], *told_odd[:_MOST_LISTED]]
    if len(told) > _MOST_LISTED or len(told_odd) > _MOST_LISTED:
        lines.append(f"  ... and more in {output_dir / 'checks.csv'}")
    lines += [f"  table: {text}" for text in [*checks.tables.faults, *checks.tables.remarks]]
    if 0 < len(bad) < n:
        lines.append(f"  to leave out the {len(bad)}: --exclude {output_dir / 'quarantine.txt'}")
    return "\n".join(lines)


def _together(told: Sequence[tuple[str, str]]) -> list[str]:
    """A line for each thing that is said, with the slides of which it is said."""
    of_text = defaultdict[str, list[str]](list)
    for slide, text in told:
        of_text[text].append(slide)
    lines = []
    for text, slides in of_text.items():
        more = f" and {len(slides) - 3} more" if len(slides) > 3 else ""
        lines.append(f"  {', '.join(slides[:3])}{more}: {text}")
    return lines


class _Progress:
    """A line every ten seconds: how far, and how long it will take."""

    def __init__(self, total: int) -> None:
        self.total, self.n_done, self.n_bad = total, 0, 0
        self._started = self._said = time.monotonic()

    def __call__(self, look: Look) -> None:
        self.n_done += 1
        self.n_bad += bool(look.problem)
        now = time.monotonic()
        if now - self._said < _SECONDS_BETWEEN_LINES or self.n_done == self.total:
            return
        self._said, rate = now, (now - self._started) / self.n_done
        _log.info(
            "%d of %d slides, %d with a problem, %.2g s a slide, about %.0f s left",
            self.n_done, self.total, self.n_bad, rate, rate * (self.total - self.n_done),
        )  # fmt: skip
