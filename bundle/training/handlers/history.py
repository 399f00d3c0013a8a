"""The record of every epoch as a table, a line on the console, and a plot."""

import csv
import io
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...core import BundleError, read_history, write_text
from .turn import Turn

_log = logging.getLogger(__name__)
_MOVE = "The resumed run would write over it. Move it away, then run again."
_SPOKEN = ("loss", "self", "intra", "inter", "masked", "teacher_entropy", "kl", "dead_share", "loo_knn_accuracy")
_PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("loss [nats]", ("self", "intra", "inter", "masked")),
    (
        "targets: entropy; KL to student [nats]",
        ("teacher_entropy", "intra_entropy", "inter_entropy", "masked_entropy", "kl"),
    ),
    ("teacher spread (0 = collapsed)", ("teacher_spread",)),
    ("prototypes: stay / dead [share]", ("agreement", "neighbor_agreement", "dead_share")),
    ("kNN, leaving one patient out", ("loo_knn_accuracy", "mean_token_loo_knn_accuracy", "loo_knn_auc")),
    ("length of the centers", ("center_norm", "prototype_center_norm", "masked_center_norm")),
)


class HistoryHandler:
    """Appends ``engine.state.record`` to ``history.csv`` after every epoch and draws ``training.png``.

    A resumed run drops the rows of epochs that it repeats. Where nothing can be written (a full disk) the old table
    stays, and the run goes on with a warning: its checkpoint matters more.

    Args:
        output_dir: where both files go.
    """

    turn = Turn.REPORT

    def __init__(self, output_dir: str | Path) -> None:
        self.output_dir = Path(output_dir)
        self.path = self.output_dir / "history.csv"
        self.rows: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._recall)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def _recall(self, engine: Engine) -> None:
        self.rows = [engine.state.record] if engine.state.record else []
        if self.path.exists() and engine.state.epoch > 0:
            try:
                self.rows = [row for row in read_history(self.path) if row["epoch"] <= engine.state.epoch]
            except BundleError as error:
                raise BundleError(f"{error} {_MOVE}") from error
            except (KeyError, TypeError) as error:
                raise BundleError(f"{self.path} is no history of a run: it has no epochs. {_MOVE}") from error

    def __call__(self, engine: Engine) -> None:
        record = engine.state.record
        self.rows.append(record)
        if idist.get_rank() != 0:
            return
        try:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            write_text(self.path, self._as_csv())
            plot_training(self.rows, self.output_dir / "training.png")
        except OSError as error:
            _log.warning("%s and its plot are not up to date: %s", self.path, error)
        spoken = [f"{k} {record[k]:.3g}" for k in _SPOKEN if k in record and math.isfinite(record[k])]
        epoch = f"epoch {engine.state.epoch}/{engine.state.max_epochs}"
        _log.info("%s: %s, %.1f s", epoch, ", ".join(spoken), record["seconds"])

    def _as_csv(self) -> str:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in self.rows for name in row)))
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()


def plot_training(rows: Sequence[Mapping[str, float]], path: str | Path) -> None:
    """Draw the epochs' records as one PNG of six panels; a panel without data says so.

    Args:
        rows: one record an epoch, each with ``epoch``.
        path: PNG file to write.
    """
    figure = Figure(figsize=(12, 6.5), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(2, 3).flat, _PANELS, strict=True):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        drawn = False
        for name in names:
            points = [(row["epoch"], row[name]) for row in rows if row.get(name) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), marker=".", label=name.replace("_", " "))
                drawn = True
        if drawn:
            axes.legend(fontsize=8)
        else:
            axes.text(0.5, 0.5, "none in this run", ha="center", va="center", transform=axes.transAxes, color="gray")
    figure.savefig(path, dpi=110)
