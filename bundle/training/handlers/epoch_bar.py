"""How far an epoch is."""

from ignite.handlers.tqdm_logger import ProgressBar

from ...core import Progress


class EpochBar(ProgressBar):
    """Ignite's bar of an epoch's iterations; where there is no terminal, a line now and then."""

    def __init__(self) -> None:
        super().__init__(desc="epoch", unit="step")
        self.pbar_cls = Progress
