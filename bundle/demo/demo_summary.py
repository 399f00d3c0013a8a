"""What the demo has made, where it is, and what to run next."""

import argparse
import csv
from pathlib import Path

_MADE = (
    ("slides/", "demo slides and their slide_table.csv"),
    ("tokenize/slides.csv", "one row a slide: regions, patches, seconds, reader, error"),
    ("tokens/", "token files, one .h5 a slide"),
    ("slpd/training.png", "SLPD: losses, collapse dashboard, kNN"),
    ("slpd/prototypes.png", "what was learned: slides colored by prototype"),
    ("slpd/history.csv", "every number of every epoch"),
    ("evaluation/report.html", "the diagnosis by nearest neighbors, with intervals: open it in a browser"),
    ("inference/embeddings/", "embeddings and prototypes, one .h5 a slide"),
    ("atlas/atlas.html", "prototypes on every slide, the cohort on one page: open it in a browser"),
)
_RIVALS = {"tokens": "mean patch token", "untrained": "untrained region encoder", "SLPD": "SLPD"}


def demo_summary(demo: Path, models: Path) -> str:
    """A text for the console: what lies where, what was measured, next steps.

    Args:
        demo: the folder that ``scripts/demo`` filled.
        models: the bundle's folder of weights.
    """
    lines = ["", "Made:"]
    lines += [f"  {demo / name!s:<38} {text}" for name, text in _MADE if (demo / name).exists()]
    lines += [
        f"  {models / name!s:<38} {text}"
        for name, text in (
            ("demo_patch_encoder.pt", "the patch encoder, which came along"),
            ("model.pt", "the region encoder"),
        )
    ]
    lines += [
        *_measured(demo),
        "",
        "Next:",
        f"  .venv/bin/tensorboard --logdir {demo}",
        "  scripts/label                    the same slides in QuPath (docs/monai_label.md)",
        "  your own slides: the steps in README.md",
    ]
    return "\n".join(lines)


def _measured(demo: Path) -> list[str]:
    """The AUC of each encoder with its interval."""
    table = demo / "evaluation" / "results.csv"
    if not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        rows = {row["encoder"]: row for row in csv.DictReader(file) if row["metric"] == "auc"}
    lines = ["", "Which of two diagnoses, by the 5 nearest patients: AUC, chance is .5 [95 % interval over folds]"]
    for name, title in _RIVALS.items():
        if name in rows:
            value, low, high = (float(rows[name][column] or "nan") for column in ("value", "low", "high"))
            lines.append(f"  {title:<26} {value:.2f}  [{low:.2f}, {high:.2f}]")
    return [*lines, "  Synthetic slides of one seed; over seeds: docs/learning.md."]


def main() -> None:
    """``python -m bundle.demo.demo_summary FOLDER``: say what the demo has made there."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=Path, default=Path("models"))
    arguments = parser.parse_args()
    print(demo_summary(arguments.folder, arguments.models))


if __name__ == "__main__":
    main()
