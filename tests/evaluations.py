"""Evaluations that have predicted nothing yet, for tests of what sums them up and shows them."""

import re

import numpy as np

from bundle.evaluation import EvaluationReport
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


def write(evaluation: Evaluation, folder, **options) -> str:
    """The page of an evaluation."""
    return EvaluationReport(folder, **options)(evaluation).read_text(encoding="utf-8")


def cells(page: str, label: str) -> list[list[str]]:
    """Words of the cells of the body of the first table with this label, a list a row."""
    body = page.split(f'aria-label="{label}"')[1].split("<tbody>")[1].split("</tbody>")[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in body.split("</tr>")[:-1]]
    return [[re.sub(r"<[^>]*>", " ", cell).strip() for cell in row] for row in rows]
