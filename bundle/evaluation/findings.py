"""What a slide-level evaluation found: plain records that protocols make, statistics sum up and reports show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..cohort import Split
from ..pages import Interval

MAIN_METRIC = {"classification": "auc", "ordinal": "quadratic_kappa", "survival": "c_index"}


class Method(NamedTuple):
    """One way from slides to predictions.

    Attributes:
        encoder: the name a user gave to a region encoder; "tokens" for what the patch encoder alone gives; "untrained".
        features: "mean_token", "region_embedding", "prototypes", "regions" (the bag of a slide's region embeddings),
            "patch_tokens" (the bag of its tissue tokens), "slide_vector" (brought by a user), "mixture", "composition"
            or "transport" (pooled by cohort prototypes).
        protocol: "knn", "linear", "mlp", "mil", "cox", "mil_survival".
        train_fraction: share of the training patients that were used, in (0, 1].
    """

    encoder: str
    features: str
    protocol: str
    train_fraction: float


@dataclass
class Predictions:
    """What one method said of the test rows of one split.

    Attributes:
        method: whose predictions.
        split: name of the split.
        rows: indices of the rows predicted, int64 [n].
        scores: probabilities [n, C] that sum to 1, or risks [n, 1] (higher: earlier event).
        n_train: rows learned from.
        repeats: scores of the same method with further seeds.
    """

    method: Method
    split: str
    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    n_train: int
    repeats: list[NDArray[np.float64]] = field(default_factory=list)

    @property
    def of_seeds(self) -> NDArray[np.float64]:
        """Scores of every seed, [seeds, n, C or 1]."""
        return np.stack([self.scores, *self.repeats])


@dataclass
class Result:
    """All metrics of one method: metric -> value in each split, metric -> interval, and metric -> value of each seed.

    The former two are means over seeds. The value of a seed is the mean over splits of its metrics, those splits left
    out that have none.
    """

    method: Method
    per_split: dict[str, list[float]]
    summary: dict[str, Interval]
    per_seed: dict[str, list[float]] = field(default_factory=dict)


class Comparison(NamedTuple):
    """Method a minus method b on the same rows.

    Attributes:
        metric: which metric.
        difference: a - b with its 95 % interval.
        p_value: two-sided; NaN where it cannot be given.
    """

    a: Method
    b: Method
    metric: str
    difference: Interval
    p_value: float


class Robustness(NamedTuple):
    """How far an encoder's vectors go by class, and not by site or slide.

    Attributes:
        encoder, features: as of an :class:`Method`.
        metric: "robustness_index", "slide_identity" or "site_identity".
        k: neighbors of the index; 0 for the others.
        interval: the metric, and its uncertainty over patients.
        chance: what vectors that know nothing would have.
        curve: k -> index; empty for the others.
    """

    encoder: str
    features: str
    metric: str
    k: int
    interval: Interval
    chance: float
    curve: dict[int, Interval]


@dataclass
class Evaluation:
    """A whole evaluation, as ``results.json`` holds it and ``report.html`` shows it.

    Attributes:
        task: "classification", "ordinal" or "survival".
        label: the table's column, or "time / event".
        classes: names, in the order of the columns of scores; empty for survival.
        units: name of each row (patient).
        slides: the slides of each row.
        targets: class index [n] (int64), or [n, 2] time and event (float64).
        sites: site of each row, None where unknown.
        splits: the splits used; kind "folds" or "fixed".
        split_kind: "folds" or "fixed".
        predictions: of every method and split.
        results: of every method.
        comparisons: between encoders.
        robustness: of every encoder, as far as labels and sites are known.
        warnings: sentences for the reader.
        pretraining_overlap: encoder -> slides of its pre-training that stand in a test split.
        patient_of: patient of each row; empty: each row is one.
        unit: "patient", or "slide": rows are slides.
        patient_overlap: split -> patients of whom it learns from some slides and predicts others, where allowed.
        slide_vectors: encoder -> one vector a row, float32 [n, d], for pictures.
        settings: what the run was asked for.
    """

    task: str
    label: str
    classes: list[str]
    units: list[str]
    slides: list[list[str]]
    targets: NDArray[Any]
    sites: list[str | None]
    splits: list[Split]
    split_kind: str
    predictions: list[Predictions] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    robustness: list[Robustness] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    pretraining_overlap: dict[str, list[str]] = field(default_factory=dict)
    patient_of: list[str] = field(default_factory=list)
    unit: str = "patient"
    patient_overlap: dict[str, list[str]] = field(default_factory=dict)
    slide_vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def patients(self) -> list[str]:
        """Patient of each row."""
        return self.patient_of or self.units

    @property
    def on_both_sides(self) -> list[str]:
        """Patients who stand on both sides of any split."""
        return sorted({patient for patients in self.patient_overlap.values() for patient in patients})
