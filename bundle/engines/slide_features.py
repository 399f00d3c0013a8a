"""Features of patients: regions embedded once, kept on disk, pooled as each protocol wants them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.inferers import Inferer
from numpy.typing import NDArray
from torch.nn.functional import normalize

from ..cohort import BundleError, as_bool, as_whole, fingerprint_of
from ..functional import batched_kmeans
from ..protocols import Bags, Inputs, PrototypeSets, Vectors
from ..tokens import TokenDataset
from .embedding_pass import embed_regions
from .feature_store import FeatureStore
from .region_encoders import TOKENS, RegionEncoders

_PART = 2048  # regions a file: what a kill can cost
_PROBED = 64  # slides whose tokens are looked at together
KIND_OF = {  # the kind of input that features become
    "mean_token": Vectors.kind,
    "region_embedding": Vectors.kind,
    "regions": Bags.kind,
    "prototypes": PrototypeSets.kind,
}
FEATURES = tuple(KIND_OF)


class RegionVectors(NamedTuple):
    """All regions of the cohort: ``embedding`` [N, dim], and ``projection`` [N, d] of unit length, float32."""

    embedding: NDArray[np.float32]
    projection: NDArray[np.float32]


class SlideFeatures:
    """Region embeddings of every encoder, and of "tokens": the mean tissue token, which needs no encoder.

    Whole regions are embedded (training sees crops of them). A pass over the token files serves all encoders; what it
    finds is kept under ``output_dir/features`` in parts, by a hash of the token files and the weights, so that a killed
    run goes on and another run with the same weights does not embed again.

    Args:
        dataset: the token files.
        encoders: network of the encoders to compare.
        output_dir: folder above ``features``.
        n_prototypes: K, prototypes of a patient; fewer where there are fewer distinct regions.
        batch_size: regions in a forward pass.
        num_workers: reading processes.
        device: where to compute.
        amp: bfloat16 autocast.
        inferer: runs the network.
        seed: of K-means.
    """

    def __init__(
        self,
        dataset: TokenDataset,
        encoders: RegionEncoders,
        output_dir: str | Path,
        n_prototypes: int = 4,
        *,
        batch_size: int = 64,
        num_workers: int = 0,
        device: torch.device | str = "cpu",
        amp: bool = False,
        inferer: Inferer | None = None,
        seed: int = 0,
    ) -> None:
        self.dataset, self.encoders = dataset, encoders
        self.n_prototypes = as_whole(n_prototypes, "n_prototypes", 1)
        self.seed = as_whole(seed, "seed")
        self.device, self.uses_bf16 = torch.device(device), as_bool(amp)
        self._batch_size = as_whole(batch_size, "batch_size", 1)
        self._num_workers = as_whole(num_workers, "num_workers")
        self._inferer = inferer
        self._folder = Path(output_dir) / "features"
        self._regions: dict[str, RegionVectors] = {}

    @property
    def names(self) -> list[str]:
        """ "tokens", then the encoders."""
        return [TOKENS, *self.encoders.names]

    def kinds(self, encoder: str) -> list[str]:
        """Which features there are of an encoder."""
        return [f for f in FEATURES if f != ("region_embedding" if encoder == TOKENS else "mean_token")]

    def embed(self) -> None:
        """Embed what is not there yet, and read everything into memory.

        Raises:
            BundleError: an embedding is not finite; nothing can be written.
        """
        stores = {name: FeatureStore(self._folder / self._key(name)) for name in self.names}
        n_regions = len(self.dataset)
        parts = [range(start, min(start + _PART, n_regions)) for start in range(0, n_regions, _PART)]
        missing = {i: [n for n in self.names if not stores[n].has(i, len(p))] for i, p in enumerate(parts)}
        embedding = embed_regions(
            self.dataset,
            self.encoders,
            [(parts[i], names) for i, names in missing.items() if names],
            device=self.device,
            amp=self.uses_bf16,
            batch_size=self._batch_size,
            num_workers=self._num_workers,
            inferer=self._inferer,
        )
        for i, found in zip([i for i, names in missing.items() if names], embedding, strict=True):
            for name, arrays in found.items():
                _check_finite(name, arrays)
                stores[name].write(i, arrays)
        for name in self.names:
            read = [stores[name].read(i) for i in range(len(parts))]
            self._regions[name] = RegionVectors(*(np.concatenate([part[key] for part in read]) for key in read[0]))

    def regions(self, encoder: str) -> RegionVectors:
        """Regions of the whole cohort, in the order of the data set."""
        if not self._regions:
            self.embed()
        return self._regions[encoder]

    def of_patients(self, encoder: str, features: str, members: Sequence[Sequence[int]]) -> Inputs:
        """Features of patients, from the regions of all their slides together.

        Args:
            encoder: one of ``names``.
            features: one of ``kinds(encoder)``.
            members: places in ``dataset.slide_ids`` of the slides of each of n patients.
        """
        regions, sizes = self._regions_of(members)
        if features == "prototypes":
            return self._prototypes(self.regions(encoder).projection[regions], sizes)
        values = self.regions(encoder).embedding[regions]
        if features == "regions":
            return Bags(values, sizes)
        sums = np.add.reduceat(values.astype(np.float64), np.cumsum(sizes) - sizes, axis=0)
        return Vectors((sums / sizes[:, None]).astype(np.float32))

    def fingerprints(self) -> dict[str, str]:
        """A hash of each slide's number of regions and of its region with the most tissue, as stored.

        Slides without any tissue have none: they are alike without being copies.
        """
        counts = np.bincount(self.dataset.slide_index.numpy(), minlength=len(self.dataset.slide_ids))
        starts = np.cumsum(counts) - counts
        tissue = self.dataset.masks.sum((1, 2)).numpy()
        fullest = np.array([s + tissue[s : s + n].argmax() for s, n in zip(starts, counts, strict=True)], np.int64)
        found = {}
        for start in range(0, len(fullest), _PROBED):
            grids = self.dataset.read(fullest[start : start + _PROBED]).cpu().numpy()
            for slide, grid in enumerate(grids, start):
                if grid.any():
                    found[self.dataset.slide_ids[slide]] = f"{counts[slide]} {fingerprint_of(grid)}"
        return found

    def _regions_of(self, members: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Regions of the patients one after the other, [M], and how many each has, [n]."""
        slide_index = self.dataset.slide_index.numpy()
        starts = np.searchsorted(slide_index, np.arange(len(self.dataset.slide_ids) + 1))
        groups = [np.concatenate([np.arange(starts[s], starts[s + 1]) for s in slides]) for slides in members]
        return np.concatenate(groups), np.array([len(group) for group in groups], np.int64)

    def _prototypes(self, projection: NDArray[np.float32], sizes: NDArray[np.int64]) -> PrototypeSets:
        owner = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(self.device)
        wanted = torch.full((len(sizes),), self.n_prototypes, device=self.device)
        points = torch.from_numpy(projection).to(self.device)
        clusters = batched_kmeans(points, owner, wanted, seed=self.seed)
        centroids = normalize(clusters.centroids, dim=2) * clusters.valid[..., None]
        return PrototypeSets(centroids.float().cpu().numpy(), clusters.valid.cpu().numpy())

    def _key(self, name: str) -> str:
        """Hash of all that the regions' vectors depend on."""
        files = [(h.path.name, h.path.stat().st_size, h.path.stat().st_mtime_ns) for h in self.dataset.headers]
        what: list[Any] = [self.dataset.fingerprint, self.dataset.encoder, files, _PART]
        if name != TOKENS:
            what += [self.encoders.hashes[name], self.uses_bf16, self.device.type]
        return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def _check_finite(name: str, arrays: dict[str, NDArray[np.float32]]) -> None:
    if not all(np.isfinite(values).all() for values in arrays.values()):
        what = "token files" if name == TOKENS else f"encoder {name}"
        raise BundleError(
            f"the {what} gives embeddings that are not finite: its weights have diverged or the token files are "
            "damaged; turn amp off, or give another encoder."
        )
