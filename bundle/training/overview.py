"""A run at a glance."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("loss [nats]", ("self", "intra", "inter")),
    ("teacher: entropy, KL to student [nats]", ("teacher_entropy", "kl")),
    ("teacher spread (0 = collapsed)", ("teacher_spread",)),
    ("prototypes: stay / dead [share]", ("agreement", "neighbor_agreement", "dead_share")),
    ("kNN over slides", ("knn_accuracy", "mean_token_knn_accuracy", "knn_auc")),
    ("length of the centers", ("center_norm", "prototype_center_norm")),
)


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
