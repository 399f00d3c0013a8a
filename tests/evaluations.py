"""Evaluations that have predicted nothing yet, for tests of what sums them up and shows them."""

import numpy as np

from bundle.evaluation.findings import Evaluation


def bare_evaluation(targets, splits, **options) -> Evaluation:
    """Patients p0, p1, ... with a slide each and these targets: two classes, or time and event; folds, no site."""
    n, is_survival = len(targets), np.ndim(targets) == 2
    given = {
        "task": "survival" if is_survival else "classification",
        "label": "months / died" if is_survival else "label",
        "classes": [] if is_survival else ["a", "b"],
        "units": [f"p{i}" for i in range(n)],
        "slides": [[f"s{i}"] for i in range(n)],
        "sites": [None] * n,
        "split_kind": "folds",
    }
    return Evaluation(targets=np.asarray(targets), splits=splits, **{**given, **options})
