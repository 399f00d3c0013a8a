"""``report.html``: what a slide-level evaluation found, for readers, as one page that needs nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...pages import SlidePicture, render, write_page
from ..findings import Evaluation
from ..row_units import overlap_text
from .evaluation_errors import worst_mistakes
from .evaluation_figures import calibration_panels, roc_panels, survival_panels
from .evaluation_headline import headline
from .evaluation_planes import plane_panels
from .evaluation_robustness import robustness_panels, robustness_rows
from .evaluation_rows import best_method, method_name, metric, metric_names, readable
from .evaluation_tables import (
    comparison_rows,
    confusion_tables,
    interval_methods,
    missing_folds,
    result_rows,
    setting_rows,
)


class EvaluationReport:
    """Call with an :class:`Evaluation`: writes ``report.html``, one file that needs nothing beside it.

    Args:
        output_dir: folder of the file; made where it is missing.
        thumbnails: slide id -> RGB uint8 [h, w, 3], alone or with its um/px (``bundle.slides.Thumbnails``), or None
            where the slide is not at hand. Without it errors are listed without pictures.
        title: heading of the page.
    """

    def __init__(
        self, output_dir: str | Path, thumbnails: SlidePicture | None = None, title: str = "Slide-level evaluation"
    ) -> None:
        self.path = Path(output_dir) / "report.html"
        self.thumbnails = thumbnails
        self.title = title

    def __call__(self, evaluation: Evaluation) -> Path:
        """Write the page; a reader sees the old one or the new one, nothing between.

        Returns:
            Where it is.

        Raises:
            BundleError: it cannot be written.
        """
        values = _who(evaluation) | _metrics(evaluation) | _pictures(evaluation, self.thumbnails)
        page = render(Path(__file__).parent, "evaluation.html", title=self.title, evaluation=evaluation, **values)
        return write_page(self.path, page)


def _who(evaluation: Evaluation) -> dict[str, Any]:
    """Patients, sites, splits and what is wrong with them; told from the rows themselves, not from the settings."""
    splits, is_survival = evaluation.splits, evaluation.task == "survival"
    tested = Counter(row for split in splits for row in split.test.tolist())
    classes = Counter([] if is_survival else evaluation.targets.astype(int).tolist())
    return {
        "is_survival": is_survival,
        "is_folds": evaluation.split_kind == "folds",
        "n_patients": len(set(evaluation.patients)),
        "overlap": overlap_text(evaluation.patient_overlap) if evaluation.patient_overlap else "",
        "n_slides": len({slide for slides in evaluation.slides for slide in slides}),
        "n_sites": len(_sites(evaluation, range(len(evaluation.sites)))),
        "is_once": len(tested) == len(evaluation.units) and set(tested.values()) == {1},
        "is_crossed": any(_sites(evaluation, s.train) & _sites(evaluation, s.test) for s in splits),
        "n_events": int((evaluation.targets[:, 1] > 0).sum()) if is_survival else 0,
        "class_counts": [(name, classes[index]) for index, name in enumerate(evaluation.classes)],
        "leaks": [split.name for split in splits if np.intersect1d(split.train, split.test).size],
        "overlaps": [(readable(name), slides) for name, slides in evaluation.pretraining_overlap.items() if slides],
    }


def _sites(evaluation: Evaluation, rows: Sequence[int] | np.ndarray) -> set[str]:
    return {site for site in (evaluation.sites[int(row)] for row in rows) if site is not None}


def _metrics(evaluation: Evaluation) -> dict[str, Any]:
    """What stands in tables."""
    results = result_rows(evaluation)
    compared = [metric(comparison.metric) for comparison in evaluation.comparisons]
    return {
        "metrics": [metric(name) for name in metric_names(evaluation)],
        "headline": headline(evaluation),
        "results": results,
        "has_best": any(cell.is_best for row in results for cell in row.cells),
        "methods": interval_methods(evaluation),
        "missing_folds": missing_folds(evaluation),
        "repeated": sorted({readable(p.method.protocol) for p in evaluation.predictions if p.repeats}),
        "n_seeds": max((1 + len(p.repeats) for p in evaluation.predictions), default=1),
        "comparisons": comparison_rows(evaluation),
        "robustness": robustness_rows(evaluation),
        "robustness_panels": robustness_panels(evaluation),
        "lower_is_better": sorted({item.title for item in compared if item.sign < 0}),
        "settings": list(setting_rows(evaluation.settings)),
    }


def _pictures(evaluation: Evaluation, picture: SlidePicture | None) -> dict[str, Any]:
    """What is drawn: curves of the task, embeddings, the slides of the worst mistakes."""
    method = best_method(evaluation)
    found = {
        "planes": plane_panels(evaluation),
        "best": method_name(method) if method else "",
        "mistakes": worst_mistakes(evaluation, method, picture) if method else [],
    }
    if evaluation.task == "survival":
        return found | {"survival": survival_panels(evaluation)}
    curves = {"roc": roc_panels(evaluation), "calibration": calibration_panels(evaluation)}
    return found | curves | {"confusions": confusion_tables(evaluation)}
