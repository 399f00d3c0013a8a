"""What is given back when a run is over, however it ends."""

from __future__ import annotations

from collections.abc import Callable

from ignite.engine import Engine, Events

_WAITING = "waiting_for_the_end"
GiveBack = Callable[[BaseException | None], object]


def when_over(engine: Engine, give_back: GiveBack) -> None:
    """Call ``give_back`` once, when the run is complete, after the handlers that are there now, or when it raises.

    It is given the error, or None. What was asked for last comes first.
    """
    if not hasattr(engine.state, _WAITING):
        setattr(engine.state, _WAITING, [])
        engine.add_event_handler(Events.COMPLETED, _complete)
        engine.add_event_handler(Events.EXCEPTION_RAISED, _fail)
    getattr(engine.state, _WAITING).append(give_back)


def _complete(engine: Engine) -> None:
    _give_back(engine, None)


def _fail(engine: Engine, error: BaseException) -> None:
    _give_back(engine, error)
    raise error


def _give_back(engine: Engine, error: BaseException | None) -> None:
    waiting: list[GiveBack] = getattr(engine.state, _WAITING)
    while waiting:
        waiting.pop()(error)
