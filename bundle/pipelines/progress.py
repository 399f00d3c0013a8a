"""A bar with slides, patches or regions a second and the time left, while an engine works through slides."""

import time
from typing import Any

from ignite.engine import Engine, Events

from ..core import Progress


class TokenProgressHandler:
    """Shows how far a :class:`~bundle.pipelines.SlidePipeline` is; a slide in work counts by its regions.

    Args:
        what: what is being done, for the bar.
        unit: what is counted, in words.
        disable: True hides the bar; else it is one on a terminal, and a line now and then elsewhere.
    """

    def __init__(self, what: str = "tokenizing", unit: str = "patches", disable: bool = False) -> None:
        self.what, self.unit, self.disable = what, unit, disable
        self._bar: Any = None
        self._started_s = 0.0

    def attach(self, engine: Engine) -> None:
        """Open at the start, move after each batch, close at the end or at an error."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self._stop)

    def __call__(self, engine: Any) -> None:
        """Move the bar to where the engine is."""
        progress = engine.progress
        rate = progress.rows / max(time.monotonic() - self._started_s, 1e-9)
        self._bar.set_postfix_str(f"{rate:,.0f} {self.unit}/s", refresh=False)
        self._bar.update(progress.done - self._bar.n)

    def _start(self, engine: Any) -> None:
        self._started_s = time.monotonic()
        self._bar = Progress(
            total=engine.progress.total,
            desc=self.what,
            disable=self.disable,
            smoothing=0,
            bar_format="{desc}: {n:.1f}/{total} slides |{bar}|{postfix} [{elapsed}, {remaining} left]",
        )

    def _stop(self, engine: Any) -> None:
        self(engine)
        self._bar.close()
