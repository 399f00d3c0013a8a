"""Names that were mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], otherwise: str, *, start: str = "", most: int = 3) -> str:
    """A question with the known names that are nearest, or another hint where none is near.

    Args:
        name: as it was typed.
        known: what it may be.
        otherwise: the other hint.
        start: stands before each name: ``--``.
        most: names in the question.
    """
    near = difflib.get_close_matches(name, list(known), n=most)
    return f"did you mean {' or '.join(f'{start}{each}' for each in near)}?" if near else otherwise
