"""Which rows of a table were found for a cohort: what is refused, and what is said of the others."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from ..core import BundleError
from .slide_names import Found, is_name_of

_log = logging.getLogger(__name__)
_MOST_LISTED = 5


def insist_on_one_each(found: Mapping[str, Found | None], path_of: Mapping[str, str], source: str) -> None:
    """A row may stand for several slides only where it gives a file's name that all of them have, which is said.

    Args:
        found: the row of each slide.
        path_of: path, or name, of each slide, "" where it is not known.
        source: of the table, for messages.

    Raises:
        BundleError: it may be meant for one of several.
    """
    slides_of = defaultdict[str, list[str]](list)
    for slide_id, row in found.items():
        if row is not None:
            slides_of[row.name].append(slide_id)
    for name, ids in slides_of.items():
        if len(ids) < 2:
            continue
        if not is_name_of(name, [path_of[slide_id] for slide_id in ids]):
            raise BundleError(f"{source}: the row {name!r} may be that of slide {' or '.join(ids[:3])}: give the id.")
        text = "%s: the row %s is that of %d slides, %s: each file has that name"
        _log.warning(text, source, name, len(ids), ", ".join(ids[:5]))


def report_matches(
    found: Mapping[str, Found | None], strangers: Sequence[str], without: Sequence[str], source: str
) -> None:
    """Say how slides found their rows; count and name rows without a slide, and slides without a row.

    Args:
        found: the row of each slide.
        strangers: rows without a slide.
        without: slides without a row.
        source: of the table, for messages.
    """
    how = Counter(row.how for row in found.values() if row is not None)
    ways = f" ({', '.join(f'{n} {way}' for way, n in how.most_common())})" if how else ""
    _log.info("%s: %d of %d slides have a row%s", source, sum(how.values()), len(found), ways)
    if strangers:
        _log.warning("%s: %d rows match no slide, such as %s", source, len(strangers), _listed(strangers))
    if without:
        _log.warning("%s: %d slides have no row, such as %s", source, len(without), _listed(without))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_LISTED])
