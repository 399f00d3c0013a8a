"""Values of a contract, as they come from YAML, a file of weights, or a command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core import SettingError, as_number, as_whole

_UNSAID = ("", "null", "none")


def as_triple(value: Any, name: str, *, above_zero: bool = False) -> tuple[float, float, float] | None:
    """Three numbers, or one for all three channels; a text has commas between them. None stays None.

    Raises:
        SettingError: it is none of these, a number lies outside [-10, 10] (pixels are in [0, 1]), or is not above 0.
    """
    if _is_unsaid(value):
        return None
    given = value.strip().strip("[]()").split(",") if isinstance(value, str) else value
    entries = list(given) if isinstance(given, Sequence) else [given]
    numbers = [round(as_number(entry, name, -10, 10), 6) for entry in entries]
    if len(numbers) not in (1, 3) or (above_zero and min(numbers) <= 0):
        more = ", each above 0" if above_zero else ""
        raise SettingError(
            f"{name} is {value!r}; give three numbers{more}, of pixels in [0, 1], such as [0.5, 0.5, 0.5]."
        )
    first, second, third = numbers * (3 // len(numbers))
    return first, second, third


def as_pixels(value: Any, name: str) -> int | None:
    """A whole number of at least 1; None stays None."""
    return None if _is_unsaid(value) else as_whole(value, name, 1)


def as_range(value: Any, name: str) -> tuple[float, float] | None:
    """Lowest and highest um/px, or one number that is both; None stays None."""
    if _is_unsaid(value):
        return None
    entries = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    numbers = [as_number(entry, name, 0.01, 100, "um/px") for entry in entries]
    if len(numbers) not in (1, 2) or numbers[0] > numbers[-1]:
        raise SettingError(f"{name} is {value!r}; give the lowest and the highest um/px, such as [0.25, 1.0].")
    return numbers[0], numbers[-1]


def as_word(value: Any, name: str, known: Sequence[str] = ()) -> str | None:
    """A text, one of ``known`` where there are some; None stays None."""
    if _is_unsaid(value):
        return None
    if known and value not in known:
        raise SettingError(f"{name} is {value!r}; known are {', '.join(known)}.")
    return str(value)


def as_flag(value: Any, name: str) -> bool | None:
    """True or false; None stays None."""
    if value is not None and not isinstance(value, bool):
        raise SettingError(f"{name} is {value!r}; give true or false.")
    return value


def as_names(value: Any, name: str) -> tuple[str, ...]:
    """A list of texts, or one."""
    entries = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(entries, Sequence) or not all(isinstance(entry, str) for entry in entries):
        raise SettingError(f"{name} is {value!r}; give a list of file names.")
    return tuple(entries)


def _is_unsaid(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in _UNSAID)
