"""Similar slides for other programs: ``results.csv`` and ``results.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...pages import csv_text, plain, write_results
from .answer import SearchAnswer

_COLUMNS = ("query", "query_x", "query_y", "by", "rank", "slide", "x", "y", "similarity")


class NeighborsFiles:
    """Call with answers: writes ``results.csv``, a row a neighbor, and ``results.json``, with everything.

    Rows have the columns of the slide table, those of the neighbor; ``x`` and ``y`` (level-0 px) are of a region's
    top-left corner and empty where slides were searched for.

    Args:
        output_dir: folder of the files; made where it is missing.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.output_dir = Path(output_dir)

    def __call__(self, answers: Sequence[SearchAnswer]) -> None:
        """Write the files; readers see the old ones or the new ones, nothing between.

        Raises:
            BundleError: they cannot be written.
        """
        found = [plain(asdict(answer)) for answer in answers]
        texts = {"results.csv": _table(answers), "results.json": json.dumps(found, indent=1, ensure_ascii=False) + "\n"}
        write_results(self.output_dir, texts)


def _table(answers: Sequence[SearchAnswer]) -> str:
    rows = [row for answer in answers for row in _rows(answer)]
    of_table = list(dict.fromkeys(name for _, values in rows for name in values if name not in _COLUMNS))
    return csv_text(
        [*_COLUMNS, *of_table], ([*row, *(values.get(name, "") for name in of_table)] for row, values in rows)
    )


def _rows(answer: SearchAnswer) -> Iterator[tuple[list[Any], dict[str, str]]]:
    """What stands in a row, and the neighbor's values in the slide table."""
    for rank, neighbor in enumerate(answer.neighbors, 1):
        yield [answer.query, "", "", answer.by, rank, neighbor.slide_id, "", "", neighbor.similarity], neighbor.values
    for group in answer.regions:
        for rank, place in enumerate(group.found, 1):
            row = [answer.query, group.query.x, group.query.y, answer.by, rank, place.slide_id, place.x, place.y]
            yield [*row, place.similarity], answer.found_values.get(place.slide_id, {})
