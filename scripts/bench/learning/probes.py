"""What an embedding knows: the slide's class, the region's prototype, and whose slide it is."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_score
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
}


def probe(embeddings: NDArray[np.float32], data: PlantedTokens) -> dict[str, float]:
    """Score region embeddings [N, d]; all in [0, 1].

    ``knn_accuracy``, ``knn_auc``: k = 5, leaving the slide's patient out, on the mean over a slide's regions (each
    slide is a patient of its own). ``linear``: logistic regression on the same means, 5 stratified folds.
    ``prototype`` and ``site``: ridge classifier on single regions, 5 folds of slides. ``slide``: the same, trained on
    half of each slide's regions and tested on the rest; guessing gives 1 / S.
    """
    slides = data.slide_index.numpy()
    metric = SlideKNN("embedding", [str(label) for label in data.labels], data.slide_ids)
    metric.update((torch.from_numpy(np.asarray(embeddings, np.float32)), data.slide_index))
    votes = metric.figures()
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
    if len(np.unique(data.sites)) > 1:
        sites = data.sites[slides]
        scores["site"] = float(cross_val_score(ridge, embeddings, sites, groups=slides, cv=by_slide).mean())
    return scores
