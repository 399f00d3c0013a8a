"""Booleans as they arrive from a command line or a YAML file."""

from .errors import BundleError

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0", "none", ""}


def as_bool(value: object) -> bool:
    """Read a flag that may be a bool, a number 0 or 1, or a word such as ``"false"``.

    The command line hands ``--resume false`` over as a string, which Python would take for true.

    Raises:
        BundleError: the value is none of true/false, yes/no, on/off, 1/0.
    """
    if value is None:
        return False
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise BundleError(f"{value!r} is no yes-or-no value; pass true or false.")
