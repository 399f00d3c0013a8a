"""What token and embedding files record, as plain values, and what reading a damaged one raises."""

from collections.abc import Mapping
from typing import Any

import numpy as np

DAMAGED_FILE = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    OverflowError,
)  # h5py answers damage with any


def encoder_key(encoder: str) -> str:
    """What tells one encoder from another: the hash of its weights where the text has one, else the text."""
    return encoder.rpartition("sha256:")[2].strip() or encoder


# How an encoder's pixels were prepared, as files record it; the first is a hash of all that changes tokens.
CONTRACT_ATTRIBUTES = (
    "encoder_contract", "patch_mean", "patch_std", "patch_input_px", "patch_resize_px", "patch_interpolation",
    "encoder_output", "encoder_mpp",
)  # fmt: skip
_BEFORE = {"patch_mean": [0.485, 0.456, 0.406], "patch_std": [0.229, 0.224, 0.225]}


def contract_difference(first: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str] | None:
    """What two files' attributes say of how their encoder's pixels were prepared, in words; None where it is the same.

    Files of before contracts were recorded have mean and standard deviation, or nothing, which was ImageNet's; their
    patches were encoded as they are.
    """
    if "encoder_contract" in first and "encoder_contract" in other:
        if first["encoder_contract"] == other["encoder_contract"]:
            return None
        names = [name for name in CONTRACT_ATTRIBUTES[1:-1] if first.get(name) != other.get(name)]
        return _contract_words(first, names), _contract_words(other, names)
    if any("encoder_contract" not in found and "source_dtype" in found for found in (first, other)):
        return None  # features of other tools, which do not say
    is_known = ["encoder_contract" in found or "normalization_mean" in found for found in (first, other)]
    if not all(is_known) and not any("encoder_contract" in found for found in (first, other)):
        return None
    one, two = (found if "encoder_contract" in found else _older(found) for found in (first, other))
    names = [name for name in ("patch_mean", "patch_std") if _rounded(one.get(name)) != _rounded(two.get(name))]
    sides = {found["patch_input_px"] for found in (one, two) if "patch_input_px" in found}
    names += ["patch_input_px"] if len(sides) > 1 else []
    names += ["patch_resize_px"] if one.get("patch_resize_px") != two.get("patch_resize_px") else []
    return (_contract_words(one, names), _contract_words(two, names)) if names else None


def _older(found: Mapping[str, Any]) -> dict[str, Any]:
    told = {f"patch_{name}": found.get(f"normalization_{name}", _BEFORE[f"patch_{name}"]) for name in ("mean", "std")}
    return {**told, **({"patch_input_px": found["patch_size_px"]} if "patch_size_px" in found else {})}


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 6) for value in values or ()]


def _contract_words(found: Mapping[str, Any], names: list[str]) -> str:
    words = [f"{name} {found.get(name, 'not recorded')}" for name in names]
    return ", ".join(words) or f"encoder_contract {found['encoder_contract']}"


def plain_value(value: Any) -> Any:
    """An attribute of a file as Python's own type."""
    if isinstance(value, bytes):
        return value.decode()
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
