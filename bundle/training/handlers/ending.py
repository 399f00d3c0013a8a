"""What is given back when a run is over, however it ends."""

from __future__ import annotations

from collections.abc import Callable

from ignite.engine import Engine, Events

_WAITING = "waiting_for_the_end"


def when_over(engine: Engine, give_back: Callable[[], object]) -> None:
    """Call ``give_back`` once, when the run is complete, after the handlers that are there now, or when it raises."""
    if not hasattr(engine.state, _WAITING):
        setattr(engine.state, _WAITING, [])
        engine.add_event_handler(Events.COMPLETED, _complete)
        engine.add_event_handler(Events.EXCEPTION_RAISED, _fail)
    getattr(engine.state, _WAITING).append(give_back)


def _complete(engine: Engine) -> None:
    waiting: list[Callable[[], object]] = getattr(engine.state, _WAITING)
    while waiting:
        waiting.pop()()


def _fail(engine: Engine, error: BaseException) -> None:
    _complete(engine)
    raise error
