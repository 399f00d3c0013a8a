"""What an unfinished epoch has gathered: it lies in the engine's state, so that a run can go on within an epoch."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine

_IN_STATE = ("gathered", "prototype_stats", "record")  # attributes of the engine's state


def is_midway(engine: Engine) -> bool:
    """Whether an iteration of this epoch is done: at its start, the epoch is one that a resumed run goes on with."""
    return bool(engine.state.iteration % (engine.state.epoch_length or 1))


def gather(engine: Engine, name: str, **fresh: Any) -> dict[str, Any]:
    """What a handler gathers in this epoch, to be called at its start: as it was left midway, or ``fresh``.

    It holds numbers, tensors that are the same on every rank, and lists and dictionaries of these.
    """
    gathered: dict[str, Any] = engine.state.__dict__.setdefault("gathered", {})
    if not is_midway(engine) or name not in gathered:
        gathered[name] = fresh
    return gathered[name]


def midway_state(engine: Engine) -> dict[str, Any]:
    """What goes to a checkpoint that is written within an epoch; nothing at an epoch's end."""
    if not is_midway(engine):
        return {}
    return {name: getattr(engine.state, name) for name in _IN_STATE if hasattr(engine.state, name)}


def restore_midway(engine: Engine, state: dict[str, Any]) -> None:
    """Take over what :func:`midway_state` gave."""
    for name, value in state.items():
        setattr(engine.state, name, _on(engine.state.device, value))


def _on(device: torch.device, value: Any) -> Any:
    """With its tensors there."""
    if isinstance(value, dict):
        return {name: _on(device, one) for name, one in value.items()}
    if isinstance(value, list):
        return [_on(device, one) for one in value]
    return value.to(device) if torch.is_tensor(value) else value
