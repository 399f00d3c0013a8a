"""What happens at the start of every epoch: the teacher's features of all regions, then K-means of every slide."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bundle.prototypes import batched_kmeans
from bundle.training import CenterTokenCrop

from . import reference_way
from .cohort import region_features, regions_per_slide
from .loss import in_bf16
from .measure import Case, Variant
from .network import student_and_teacher, tokens

_N_SLIDES = 1000


def teacher_pass(device: str) -> Case:
    """Features of regions: what a re-clustering spends its time on."""
    n_regions = 64 if device == "cpu" else 1024
    _, teacher = student_and_teacher(device)
    data = tokens(n_regions, device)
    crop = CenterTokenCrop(14)
    encoder: Any = teacher.encoder

    def ours() -> Tensor:
        with torch.inference_mode():
            return encoder.project(crop(data).float())

    def reference(uses_bf16: bool) -> Callable[[], Any]:
        return lambda: reference_way.region_features(teacher, crop(data).float(), uses_bf16)

    return Case(
        "re-clustering",
        f"teacher's features of {n_regions} regions",
        [
            Variant("reference, fp32", "reference", reference(False)),
            Variant("reference, bf16", "peer", reference(True)),
            Variant("ours, fp32", "ours", ours),
            Variant("ours, bf16", "ours", in_bf16(ours, device)),
        ],
        work=n_regions,
        unit="regions",
        goal={"ours, fp32": 1.8, "ours, bf16": 3.3},
    )


def clustering(size: int, device: str, threads: int) -> Case:
    """K-means of 1,000 slides, 5 restarts of 10 iterations."""
    lengths = regions_per_slide(_N_SLIDES)
    host, slide_index = region_features(lengths)
    points, slide_index = host.to(device), slide_index.to(device)
    wanted = torch.full((_N_SLIDES,), size, device=device)
    rows, counts = host.numpy(), lengths.tolist()
    variants = [Variant("ours", "ours", lambda: batched_kmeans(points, slide_index, wanted))]
    note = ""
    if importlib.util.find_spec("faiss"):
        import faiss

        faiss.omp_set_num_threads(threads)
        _, _, inertia = reference_way.kmeans_of_slides(rows, counts, size)
        ours = batched_kmeans(points, slide_index, wanted).inertia
        share = float(ours[lengths >= size].sum()) / inertia
        note = f"Inertia over that of faiss: {share:.4f}."
        run = lambda: reference_way.kmeans_of_slides(rows, counts, size)  # noqa: E731
        variants.insert(0, Variant("faiss, slide by slide", "reference", run))
    else:
        variants = [Variant("ours", "reference", variants[0].run)]
        note = "faiss is not installed: nothing to compare with."
    goal = {"ours": 3.5} if size == 2 and threads == 1 else {"ours": 4.0} if size <= 4 and threads > 1 else {}
    title = f"K-means, {_N_SLIDES:,} slides, {len(points):,} regions, K = {size}"
    return Case("re-clustering", title, variants, work=len(points), unit="regions", goal=goal, note=note)


def cases(device: str, threads: int) -> list[Case]:
    """The teacher's pass, and K-means for three K."""
    return [teacher_pass(device), *(clustering(size, device, threads) for size in (2, 4, 8))]
