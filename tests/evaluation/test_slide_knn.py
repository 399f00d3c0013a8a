"""The online kNN over slides."""

import pytest
import torch
from ignite.engine import Engine
from sklearn.neighbors import KNeighborsClassifier

from bundle.evaluation import SlideKNN


def knn(embeddings, slides, labels, k, patients=None):
    """What a real engine reports that feeds the metric batch by batch; every slide is of its own patient by default."""
    patients = range(len(labels)) if patients is None else patients
    engine = Engine(lambda e, rows: {"embedding": embeddings[rows], "slide": slides[rows]})
    SlideKNN("embedding", labels, [str(patient) for patient in patients], k=k).attach(engine, "knn_accuracy")
    return engine.run(torch.arange(len(slides)).split(3)).metrics


def cohort(n_slides=12, seed=0, gap=1.0):
    """Slides with 1 to 4 regions each, two classes that differ in direction."""
    generator = torch.Generator().manual_seed(seed)
    slides = torch.cat([torch.full((1 + i % 4,), i) for i in range(n_slides)])
    labels = ["a" if i % 2 else "b" for i in range(n_slides)]
    direction = torch.tensor([gap if i % 2 else -gap for i in range(n_slides)])
    embeddings = torch.randn(len(slides), 8, generator=generator)
    embeddings[:, 0] += 3 * direction[slides]
    return embeddings, slides, labels


def test_it_is_leave_one_out_over_slide_means():
    """k = 1 equals scikit-learn's nearest neighbor on normalized slide means, one slide left out at a time."""
    embeddings, slides, labels = cohort(gap=0.3)
    means = torch.stack([embeddings[slides == s].mean(0) for s in range(12)])
    means = torch.nn.functional.normalize(means, dim=1).numpy()
    right = 0
    for left_out in range(12):
        rest = [i for i in range(12) if i != left_out]
        model = KNeighborsClassifier(1).fit(means[rest], [labels[i] for i in rest])
        right += model.predict(means[left_out : left_out + 1])[0] == labels[left_out]
    got = knn(embeddings, slides, labels, k=1)
    assert got["knn_accuracy"] == pytest.approx(right / 12)


def test_separable_classes_are_separated():
    """Accuracy and AUC 1 where the classes point in opposite directions."""
    embeddings, slides, labels = cohort(gap=5.0)
    got = knn(embeddings, slides, labels, k=3)
    assert got["knn_accuracy"] == 1.0
    assert got["knn_auc"] == 1.0


def test_slides_of_one_patient_do_not_vote_for_each_other():
    """Two identical slides of one patient used to vouch for each other."""
    embeddings = torch.eye(4).repeat_interleave(2, 0)
    slides, labels = torch.arange(8), ["a", "a", "b", "b", "a", "a", "b", "b"]
    alone = knn(embeddings, slides, labels, k=1)
    grouped = knn(embeddings, slides, labels, k=1, patients=[i // 2 for i in range(8)])
    assert alone["knn_accuracy"] == 1.0
    assert grouped["knn_accuracy"] < 1.0


def test_unlabelled_slides_and_slides_without_regions_do_not_count():
    """Only labelled slides that were seen are voters and voted on."""
    embeddings, slides, labels = cohort(gap=5.0)
    labels = [None, *labels[1:], "a"]
    got = knn(embeddings, slides, labels, k=1)
    assert got["knn_accuracy"] == 1.0


def test_three_classes_have_an_auc():
    """One against the rest."""
    got = knn(torch.eye(3).repeat(4, 1) + 0.01, torch.arange(12), ["a", "b", "c"] * 4, k=3)
    assert got["knn_auc"] == 1.0


def test_a_class_without_regions_is_left_out_of_the_auc():
    """Of three classes one has no region in this pass: it used to end the run."""
    got = knn(torch.eye(2).repeat(5, 1), torch.arange(10), ["a", "b"] * 5 + ["c"], k=3)
    assert got["knn_accuracy"] == 1.0 and got["knn_auc"] == 1.0
