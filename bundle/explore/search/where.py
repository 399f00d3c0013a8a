"""Filters over columns of the slide table: ``site=A,label=LUAD|LUSC,grade!=3``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...core import BundleError, SettingError


class Where:
    """Conditions that all must hold. A column that a slide leaves empty equals nothing.

    Args:
        text: ``column=value`` or ``column!=value``, parted by commas; ``|`` between values of which one will do. A
            dictionary of columns and values does too. Empty or None: every slide.

    Raises:
        SettingError: a condition is none.
    """

    def __init__(self, text: str | Mapping[str, object] | None = None) -> None:
        if isinstance(text, Mapping):
            text = ",".join(f"{column}={value}" for column, value in text.items())
        self.text = str(text or "").strip()
        self.conditions = [_condition(part, self.text) for part in self.text.split(",") if part.strip()]

    def __bool__(self) -> bool:
        return bool(self.conditions)

    def rows(self, values: Sequence[Mapping[str, str]]) -> NDArray[np.bool_]:
        """Which of some slides' table rows fulfill all conditions, [n].

        Raises:
            BundleError: no slide has a column that is asked for.
        """
        fits = np.ones(len(values), bool)
        for column, is_equal, wanted in self.conditions:
            if not any(column in row for row in values):
                known = sorted({name for row in values for name in row})
                raise BundleError(
                    f"--where {self.text}: no slide of the index has a column {column!r} "
                    f"(known: {', '.join(known) or 'none'}); index with a --slide_table that has it."
                )
            fits &= [(row.get(column, "") in wanted) == is_equal for row in values]
        return fits


def _condition(part: str, text: str) -> tuple[str, bool, set[str]]:
    column, sign, value = part.partition("=")
    is_equal = not column.endswith("!")
    column = column.removesuffix("!").strip()
    wanted = {word.strip() for word in value.split("|")} - {""}
    if not sign or not column or not wanted:
        raise SettingError(f"--where {text}: {part.strip()!r} is no condition; give column=value or column!=value.")
    return column, is_equal, wanted
