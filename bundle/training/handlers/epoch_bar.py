"""How far an epoch is."""

from ignite.handlers.tqdm_logger import ProgressBar

from ...core import Progress
from .turn import Turn


class EpochBar(ProgressBar):
    """Ignite's bar of an epoch's iterations; where there is no terminal, a line now and then."""

    turn = Turn.MEASURE

    def __init__(self) -> None:
        super().__init__(desc="epoch", unit="step")
        self.pbar_cls = Progress
