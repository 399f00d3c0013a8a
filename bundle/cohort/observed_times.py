"""What a table's cells say of the end of observation: when it was, and whether the event was seen."""

import math
from collections.abc import Callable

from ..core import BundleError
from .text_tables import is_missing

_FLAG = {**dict.fromkeys(("1", "1.0", "true", "yes"), 1.0), **dict.fromkeys(("0", "0.0", "false", "no"), 0.0)}
# with the words of cBioPortal's tables, which many cohorts come in; they mean the same in a column of either kind
_WORD = {
    **dict.fromkeys(("event", "dead", "deceased", "died", "1:deceased"), 1.0),
    **dict.fromkeys(("censored", "alive", "living", "0:living"), 0.0),
}


def outcome_of(
    slide_id: str, time: str, event: str, number: Callable[[str], float], is_opposite: bool = False
) -> tuple[float, float]:
    """Time, and 1.0 where the event was seen, 0.0 where not; both NaN where either cell is empty.

    Args:
        slide_id: whose cells these are, for messages.
        time, event: the cells.
        number: reads a number as the table writes it.
        is_opposite: 1, true and yes say that the event was not seen, as in a column ``censorship``.

    Raises:
        BundleError: a time that is no positive number, an event that is not one of the words.
    """
    is_known = [not is_missing(word) for word in (time, event)]
    try:
        months = number(time) if is_known[0] else math.nan
    except ValueError:
        months = math.inf
    if is_known[0] and not 0 < months < math.inf:
        raise BundleError(f"slide {slide_id} has the time {time!r}; give a number above 0, or nothing.")
    word = event.lower()
    if is_known[1] and word not in _FLAG and word not in _WORD:
        yes, no = ("censored or alive", "dead") if is_opposite else ("dead", "alive or censored")
        seen, unseen = ("none", "an event") if is_opposite else ("an event", "none")
        raise BundleError(
            f"slide {slide_id} has the event {event!r}; give 1, true, yes or {yes} for {seen}, 0, false, no, {no} for "
            f"{unseen}, or nothing."
        )
    if not all(is_known):
        return math.nan, math.nan
    if word in _WORD:
        return months, _WORD[word]
    return months, 1 - _FLAG[word] if is_opposite else _FLAG[word]
