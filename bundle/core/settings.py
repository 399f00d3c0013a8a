"""Settings as they arrive from a command line or a YAML file: flags, numbers, devices, folders to write to."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import BundleError, SettingError

if TYPE_CHECKING:
    import torch

_TRUE = {"true", "yes", "on", "1"}
FORCE = "force"
_FALSE = {"false", "no", "off", "0", "none", ""}


def as_number(value: Any, name: str, low: float = -math.inf, high: float = math.inf, unit: str = "") -> float:
    """``value`` as a finite float within [low, high].

    Raises:
        SettingError: it is none; the message has ``name``, the value and the range.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isfinite(number) and low <= number <= high:
        return number
    raise SettingError(f"{name} is {value!r}; give a number{_range(low, high)}{f' {unit}' if unit else ''}.")


def as_whole(value: Any, name: str, low: int = 0) -> int:
    """``value`` as an int of at least ``low``; 4.0 is whole, 4.5 is not.

    Raises:
        SettingError: it is none; the message has ``name``, the value and the least.
    """
    try:
        number = as_number(value, name)
    except SettingError:
        number = math.nan
    if number >= low and number == math.floor(number):
        return int(number)
    raise SettingError(f"{name} is {value!r}; give a whole number of at least {low}.")


def as_bool(value: object) -> bool:
    """Read a flag that may be a bool, a number 0 or 1, or a word such as ``"false"``.

    The command line hands ``--resume false`` over as a string, which Python would take for true.

    Raises:
        BundleError: the value is not one of true/false, yes/no, on/off, 1/0.
    """
    if value is None:
        return False
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise BundleError(f"{value!r} is no yes-or-no value; pass true or false.")


def is_forced(value: object) -> bool:
    """Whether a value is the word with which a flag is insisted on."""
    return str(value).strip().lower() == FORCE


def as_amp(value: object) -> bool:
    """Read ``amp``: a flag, or ``"force"``, which is yes without a question (:mod:`bundle.core.bfloat16` asks it).

    Raises:
        BundleError: the value is neither.
    """
    return is_forced(value) or as_bool(value)


def check_device(device: torch.device | str | int) -> None:
    """Make sure that torch can compute there. CUDA is asked for its presence only: no memory is taken.

    Raises:
        BundleError: there is no such kind of device, or none of it on this machine.
    """
    import torch  # takes seconds, which a command that is mistyped need not wait

    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise BundleError(f"{device!r} is no device; give --device cpu, cuda or cuda:0.") from error
    if wanted.type == "cpu":
        return
    if wanted.type == "cuda":
        n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if n_gpus == 0:
            raise BundleError(
                f"device is {device!s}, but torch {torch.__version__} sees no NVIDIA GPU: give --device cpu, or "
                "install the GPU packages and a driver (scripts/setup; nvidia-smi must list the GPU)."
            )
        if (wanted.index or 0) >= n_gpus:
            raise BundleError(f"device is {device!s}, but there are {n_gpus} GPUs; give cuda:0 to cuda:{n_gpus - 1}.")
        return
    try:
        torch.empty(0, device=wanted)
    except Exception as error:  # each kind of device that is not built in raises something else
        raise BundleError(f"device is {device!s}, which torch cannot use here; give cpu or cuda.") from error


def check_folder(folder: str | Path, what: str, name: str) -> Path:
    """Make the folder and make sure that files can be written there, before hours of work are to end in it.

    Args:
        folder: where to write.
        what: what will be written, as the message calls it.
        name: the id by which another folder is chosen.

    Raises:
        BundleError: it is a file, cannot be made, or cannot be written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror
        raise BundleError(f"{what} cannot be written to {folder}: {reason}. Choose another {name}.") from error
    return folder


def _range(low: float, high: float) -> str:
    if math.isinf(low) and math.isinf(high):
        return ""
    if math.isinf(high):
        return f" of at least {low:g}"
    return f" from {low:g} to {high:g}"
