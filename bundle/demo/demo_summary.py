"""What the demo has made, where it is, and what to run next."""

import argparse
from pathlib import Path

from ..core import read_history

_MADE = (
    ("slides/", "demo slides and their slide_table.csv"),
    ("patch_encoder/training.png", "stage one: how the patch encoder learned"),
    ("tokenize/slides.csv", "one row a slide: regions, patches, seconds, reader, error"),
    ("tokens/", "token files, one .h5 a slide"),
    ("slpd/training.png", "SLPD: losses, collapse dashboard, kNN"),
    ("slpd/prototypes.png", "slides colored by prototype"),
    ("slpd/history.csv", "every number of every epoch"),
    ("inference/embeddings/", "embeddings and prototypes, one .h5 a slide"),
    ("atlas/atlas.html", "the cohort on one page: open it in a browser"),
)


def demo_summary(demo: Path, models: Path) -> str:
    """A text for the console: what lies where, the kNN result, next steps.

    Args:
        demo: the folder that ``scripts/demo`` filled.
        models: the bundle's folder of weights.
    """
    rows = read_history(demo / "slpd" / "history.csv")
    untrained, trained = rows[0], rows[-1]
    lines = ["", "Made:"]
    lines += [f"  {demo / name!s:<38} {text}" for name, text in _MADE if (demo / name).exists()]
    lines += [
        f"  {models / name!s:<38} {text}"
        for name, text in (("patch_encoder.pt", "the patch encoder"), ("model.pt", "the region encoder"))
    ]
    lines += ["", "Slide-level kNN on the two tissue architectures (accuracy, AUC; leave one patient out):"]
    for title, row, prefix in (
        ("mean patch token", untrained, "mean_token_"),
        ("untrained region encoder", untrained, ""),
        ("SLPD", trained, ""),
    ):
        lines.append(f"  {title:<26} {row[prefix + 'knn_accuracy']:.2f}  {row[prefix + 'knn_auc']:.2f}")
    lines += [
        "  24 slides and minutes of training: all parts work, nothing is learned yet to speak of (docs/learning.md).",
        "",
        "Next:",
        f"  .venv/bin/tensorboard --logdir {demo}",
        "  scripts/label                    the same slides in QuPath (docs/monai_label.md)",
        "  your own slides: the steps in README.md",
    ]
    return "\n".join(lines)


def main() -> None:
    """``python -m bundle.demo.demo_summary FOLDER``: say what the demo has made there."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=Path, default=Path("models"))
    arguments = parser.parse_args()
    print(demo_summary(arguments.folder, arguments.models))


if __name__ == "__main__":
    main()
