"""The teacher follows its student."""

from ignite.engine import Engine, Events
from torch import nn

from ...networks import ema_update_
from .turn import Turn


class TeacherUpdateHandler:
    """After every optimizer step: ``teacher <- m teacher + (1 - m) student``, m = ``engine.state.teacher_momentum``.

    Args:
        student: the module itself, not its ``DistributedDataParallel`` wrapper.
        teacher: same architecture.
    """

    turn = Turn.TEACHER

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        self.student = student
        self.teacher = teacher

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        ema_update_(self.teacher, self.student, engine.state.teacher_momentum)
