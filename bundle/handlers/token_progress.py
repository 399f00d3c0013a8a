"""A bar with slides, patches a second and the time left, while slides are tokenized."""

import time
from typing import Any

from ignite.engine import Engine, Events
from tqdm.auto import tqdm


class TokenProgressHandler:
    """Shows how far a :class:`~bundle.engines.TokenizingEvaluator` is; a slide in work counts by its regions.

    Args:
        disable: True hides the bar, False shows it always, None shows it on a terminal only.
    """

    def __init__(self, disable: bool | None = None) -> None:
        self.disable = disable
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
        rate = progress.patches / max(time.monotonic() - self._started_s, 1e-9)
        self._bar.set_postfix_str(f"{rate:,.0f} patches/s", refresh=False)
        self._bar.update(progress.done - self._bar.n)

    def _start(self, engine: Any) -> None:
        self._started_s = time.monotonic()
        self._bar = tqdm(
            total=engine.progress.total,
            desc="tokenizing",
            disable=self.disable,
            smoothing=0,
            bar_format="{desc}: {n:.1f}/{total} slides |{bar}|{postfix} [{elapsed}, {remaining} left]",
        )

    def _stop(self, engine: Any) -> None:
        self(engine)
        self._bar.close()
