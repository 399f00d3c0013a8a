"""What token and embedding files record, as plain values, and what reading a damaged one raises."""

from typing import Any

import numpy as np

DAMAGED_FILE = (OSError, RuntimeError, KeyError, ValueError, TypeError)  # h5py answers damage with any of these


def encoder_key(encoder: str) -> str:
    """What tells one encoder from another: the hash of its weights where the text has one, else the text."""
    return encoder.rpartition("sha256:")[2].strip() or encoder


def plain_value(value: Any) -> Any:
    """An attribute of a file as Python's own type."""
    if isinstance(value, bytes):
        return value.decode()
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
