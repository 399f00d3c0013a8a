"""What is measured while an encoder is trained: kNN over slides, and how well a region tells its slide and its site."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from monai.inferers import Inferer
from torch import nn
from torch.utils.data import DataLoader

from ..cohort import SlideTable
from ..core import as_whole
from ..parallel import outlive_signals
from ..storage import TokenDataset, collate_regions
from .features.embedding_evaluator import EmbeddingEvaluator
from .metrics.identity_probe import IdentityProbe
from .metrics.slide_knn import SlideKNN

_USUAL = "label"  # a table may do without a column of this name, which nobody asked for
_BATCH = 256


def labels_of(
    dataset: TokenDataset, table: SlideTable, slide_table: str | None = None, label: str | None = None
) -> list[str | None] | None:
    """The class of each slide, None where it has none; None where there is no table, or no column ``label``.

    Args:
        dataset: whose slides.
        table: the slide table, read.
        slide_table: where it was read from; None: there is none.
        label: the column; None: no classes are wanted.

    Raises:
        BundleError: a column of another name than ``label`` is not in the table.
    """
    if slide_table is None or label is None or (label == _USUAL and label not in table.columns):
        return None
    return table.labels(dataset.slide_ids, label)


def online_evaluator(
    dataset: TokenDataset,
    network: nn.Module,
    table: SlideTable,
    slide_labels: Sequence[str | None] | None,
    k_neighbors: int = 5,
    device: torch.device | str = "cpu",
    amp: bool = False,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    inferer: Inferer | None = None,
) -> EmbeddingEvaluator:
    """An evaluator of a teacher's embeddings; without labels it measures nothing.

    Its metrics are ``loo_knn_accuracy`` (the key metric: slides by their mean embeddings, one's patient left out at a
    time), ``mean_token_loo_knn_accuracy`` (the same without an encoder), ``slide_identity`` and ``site_identity`` (the
    shortcut: how well a region's embedding tells its slide and its site; ``token_shift`` is against it).

    Args:
        dataset: all regions.
        network: the teacher's encoder.
        table: has patients and sites.
        slide_labels: see :func:`labels_of`.
        k_neighbors: slides that vote.
        device, amp, num_workers: of the run.
        rank, world_size: which share of the regions is ours.
        inferer: runs the network.
    """
    loader = DataLoader(
        dataset,
        batch_size=_BATCH,
        num_workers=as_whole(num_workers, "num_workers"),
        worker_init_fn=outlive_signals,
        collate_fn=collate_regions,
        sampler=range(rank, len(dataset), world_size),
    )
    if slide_labels is None:
        return EmbeddingEvaluator(device, loader, network, inferer, amp)
    patients, sites = table.patients(dataset.slide_ids), table.sites(dataset.slide_ids)
    knn = partial(SlideKNN, labels=slide_labels, patients=patients, k=k_neighbors, device=device)
    tells = partial(IdentityProbe, "embedding", dataset.slide_index, device=device)
    return EmbeddingEvaluator(
        device,
        loader,
        network,
        inferer,
        amp,
        key_val_metric={"loo_knn_accuracy": knn("embedding")},
        additional_metrics={
            "mean_token_loo_knn_accuracy": knn("mean_token"),
            "slide_identity": tells(),
            "site_identity": tells(groups=sites),
        },
    )
