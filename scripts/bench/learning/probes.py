"""What an embedding knows: the slide's class, the region's prototype, whose slide it is, and where its tissue ends."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeClassifier, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bundle.evaluation import SlideKNN

from .cohorts import PlantedTokens

METRICS = {
    "knn_accuracy": "class of a slide, kNN",
    "knn_auc": "kNN AUC",
    "linear": "class, linear probe",
    "prototype": "prototype of a region",
    "slide": "whose slide",
    "site": "which site",
    "outline": "center of tissue, R2",
}
_PENALTIES = np.logspace(-2, 5, 15)


def probe(embeddings: NDArray[np.float32], data: PlantedTokens) -> dict[str, float]:
    """Score region embeddings [N, d]; all in [0, 1], but ``outline``, which is at most 1.

    ``knn_accuracy``, ``knn_auc``: k = 5, leaving the slide's patient out, on the mean over a slide's regions (each
    slide is a patient of its own). ``linear``: logistic regression on the same means, 5 stratified folds.
    ``prototype`` and ``site``: ridge classifier on single regions, 5 folds of slides. ``slide``: the same, trained on
    half of each slide's regions and tested on the rest; guessing gives 1 / S. ``outline``: how well the center of a
    region's tissue can be read (:func:`outline`).
    """
    slides = data.slide_index.numpy()
    metric = SlideKNN("embedding", [str(label) for label in data.labels], data.slide_ids)
    metric.update((torch.from_numpy(np.asarray(embeddings, np.float32)), data.slide_index))
    votes = metric.metrics()
    means = np.stack([embeddings[slides == slide].mean(0) for slide in range(len(data.labels))])
    ridge = make_pipeline(StandardScaler(), RidgeClassifier())
    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    stratified = StratifiedKFold(min(5, len(data.labels) // 2), shuffle=True, random_state=0)
    by_slide = GroupKFold(min(5, len(data.labels)))
    rng = np.random.default_rng(0)
    is_seen = np.concatenate([rng.permutation(n) % 2 for n in np.bincount(slides)]).astype(bool)
    scores = {
        "knn_accuracy": votes["accuracy"],
        "knn_auc": votes["auc"],
        "linear": float(cross_val_score(logistic, means, data.labels, cv=stratified).mean()),
        "prototype": float(cross_val_score(ridge, embeddings, data.prototypes, groups=slides, cv=by_slide).mean()),
        "slide": float(ridge.fit(embeddings[is_seen], slides[is_seen]).score(embeddings[~is_seen], slides[~is_seen])),
    }
    scores["outline"] = outline(embeddings, data.masks.numpy(), slides)["tissue_center"]
    if len(np.unique(data.sites)) > 1:
        sites = data.sites[slides]
        scores["site"] = float(cross_val_score(ridge, embeddings, sites, groups=slides, cv=by_slide).mean())
    return scores


def outline(embeddings: NDArray[np.float32], masks: NDArray[np.bool_], slides: NDArray[np.int64]) -> dict[str, float]:
    """How much of the outline of a region's tissue can be read from its embedding: R2 of a ridge regression.

    1 where it can be read exactly, 0 or less where the mean over all regions is as good. Predictions are of folds of
    slides that the regression was not fitted on; its penalty is chosen within the others. Regions without tissue are
    left out.

    Args:
        embeddings: of regions, [N, d].
        masks: patches with tissue, [N, P, P].
        slides: whose regions they are, [N]; at least two.

    Returns:
        ``tissue_share``: of the share of patches with tissue; ``tissue_center``: of the mean row and column of these,
        mean of both. NaN where all regions have the same.
    """
    has_tissue = masks.any((1, 2))
    embeddings, masks, slides = embeddings[has_tissue], masks[has_tissue].astype(np.float64), slides[has_tissue]
    share = masks.mean((1, 2))
    total, steps = masks.sum((1, 2)), np.arange(masks.shape[1])
    truth = np.stack([share, masks.sum(2) @ steps / total, masks.sum(1) @ steps / total], 1)
    ridge = make_pipeline(StandardScaler(), RidgeCV(_PENALTIES, alpha_per_target=True))
    folds = GroupKFold(min(5, len(np.unique(slides))))
    guess = cross_val_predict(ridge, embeddings, truth, groups=slides, cv=folds)
    found = [r2_score(y, x) if np.ptp(y) > 0 else float("nan") for y, x in zip(truth.T, guess.T, strict=True)]
    return {"tissue_share": float(found[0]), "tissue_center": float(np.mean(found[1:]))}
