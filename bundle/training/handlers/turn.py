"""Whose turn it is when several handlers wait for one event: said once, here, so that a config may list them anyhow."""

from collections.abc import Iterable
from enum import IntEnum, auto
from typing import Any


class Turn(IntEnum):
    """What a handler does, in the order in which it must happen; a handler names its own in the attribute ``turn``.

    Handlers that share a turn do not need each other: they go in the order in which they are listed.
    """

    RESUME = auto()  # an earlier run's state, before anybody looks at it
    CLUSTER = auto()  # the teacher's features become prototypes
    MATCH = auto()  # slides with each other, by these prototypes
    SCHEDULE = auto()  # numbers of the iteration
    GRADIENTS = auto()  # between backward and step
    TEACHER = auto()  # follows the student's step
    MEASURE = auto()  # all else, what others wrote included (MONAI's ValidationHandler): sees the step's result
    RECORD = auto()  # gathers what was measured
    REPORT = auto()  # shows the record
    JUDGE = auto()  # stops a run that is lost, before it is saved
    SAVE = auto()  # the epoch, with all of the above
    EXPORT = auto()  # the weights of a complete run
    STOP = auto()  # a run that was told to, when everybody else is done


def in_turn(handlers: Iterable[Any]) -> list[Any]:
    """The handlers by their turn; one that names none measures, and a list among them is as many handlers."""
    each = [one for handler in handlers for one in (handler if isinstance(handler, list) else [handler])]
    return sorted(each, key=lambda handler: getattr(handler, "turn", Turn.MEASURE))
