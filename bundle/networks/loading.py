"""Weights into a module: all of them, or an error that says what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from ..core import BundleError
from .architecture import describe

_SHOWN = 4


def load_into(module: nn.Module, state: Mapping[str, Tensor], *, source: str | Path) -> None:
    """Load strictly: every tensor of the module is replaced, every given tensor is used, shapes agree.

    Args:
        module: what to load into; unchanged if anything does not fit.
        state: tensors under the module's own names.
        source: the file, for the error.

    Raises:
        BundleError: lists missing and unexpected names and differing shapes, and says what the two architectures are.
    """
    own = module.state_dict()
    complaints = []
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} is {list(state[name].shape)} in the file, {list(own[name].shape)} here"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    for title, entries in (("missing", missing), ("unexpected", unexpected), ("different shapes", shapes)):
        if entries:
            more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
            complaints.append(f"{title}: {', '.join(entries[:_SHOWN])}{more}")
    if complaints:
        raise BundleError(
            f"{source} does not fit: {'; '.join(complaints)}. The file holds {describe(state)}; "
            f"expected is {describe(own)}. Give a file of that architecture, or set the architecture to the file's."
        )
    module.load_state_dict(dict(state), strict=True)
