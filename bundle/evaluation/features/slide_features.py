"""Features of patients from token files: regions embedded once, and kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.inferers import Inferer
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, Subset

from ...cohort import fingerprint_of
from ...core import BundleError, Meeting, Progress, as_amp, as_whole, meeting
from ...storage import TokenDataset, collate_regions
from ..protocols.inputs import Inputs, TokenBags
from .embedding_evaluator import EmbeddingEvaluator
from .feature_store import Arrays, FeatureStore
from .pooled_features import PATCH_TOKENS, PooledFeatures, RegionVectors
from .region_encoders import TOKENS, RegionEncoders
from .tissue_tokens import TissueTokens

_PART = 2048  # regions a file: what a kill can cost
_PROBED = 64  # slides whose tokens are looked at together


class SlideFeatures(PooledFeatures):
    """Region embeddings of every encoder, and of "tokens": the mean tissue token, which needs no encoder.

    Whole regions are embedded (training sees crops of them). A pass over the token files serves all encoders; those
    that take centered tokens have one of their own. What is found is kept under ``output_dir/features`` in parts, by a
    hash of the token files and the weights, so that a killed run goes on and another run with the same weights does not
    embed again.

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
        super().__init__(dataset.slide_ids, dataset.slide_index.numpy(), n_prototypes, device, seed)
        self.dataset, self.encoders, self.uses_bf16 = dataset, encoders, as_amp(amp)
        self._batch_size = as_whole(batch_size, "batch_size", 1)
        self._num_workers = as_whole(num_workers, "num_workers")
        self._inferer = inferer
        self._folder = Path(output_dir) / "features"
        self._regions: dict[str, RegionVectors] = {}

    @property
    def names(self) -> list[str]:
        """ "tokens", then the encoders."""
        return [TOKENS, *self.encoders.names]

    @property
    def pretraining(self) -> dict[str, list[str] | None]:
        """Slides that each encoder was trained on; None where unknown."""
        return self.encoders.pretraining

    def kinds(self, encoder: str) -> list[str]:
        """Which features there are of an encoder; of "tokens" those of patches, too."""
        return [*super().kinds(encoder), *([PATCH_TOKENS] if encoder == TOKENS else [])]

    def of_patients(self, encoder: str, features: str, members: Sequence[Sequence[int]]) -> Inputs:
        """Features of patients; patch tokens stay in their files until a protocol asks for them."""
        if features != PATCH_TOKENS:
            return super().of_patients(encoder, features, members)
        regions, sizes = self.regions_of(members)
        source = TissueTokens(self.dataset, self._key(TOKENS))
        return TokenBags(source, np.split(regions, np.cumsum(sizes)[:-1]))

    def embed(self) -> None:
        """Embed what is not there yet, and read everything into memory. Processes of torchrun take part after part.

        Raises:
            BundleError: an embedding is not finite; nothing can be written.
        """
        stores = {name: FeatureStore(self._folder / self._key(name)) for name in self.names}
        n_regions = len(self.dataset)
        parts = [range(start, min(start + _PART, n_regions)) for start in range(0, n_regions, _PART)]
        together = self._meet(stores)
        missing = {i: [n for n in self.names if not stores[n].has(i, len(p))] for i, p in enumerate(parts)}
        for takes_centered in (False, True):
            centered = self.encoders.centered
            wanted = {i: [n for n in names if (n in centered) == takes_centered] for i, names in missing.items()}
            wanted = {i: names for i, names in wanted.items() if names}
            order: Iterable[int] = range(len(parts))
            if together is not None:
                shared = together.share_out(order, lambda i: f"{self._key(TOKENS)} {i}", lambda i: 1, "parts of slides")
                order = (i for _, i in shared)
            if wanted:
                self._embed(self.dataset.centered() if takes_centered else self.dataset, parts, wanted, order, stores)
        self._meet(stores)
        for name in self.names:
            read = [stores[name].read(i) for i in range(len(parts))]
            self._regions[name] = RegionVectors(*(np.concatenate([part[key] for part in read]) for key in read[0]))

    def _meet(self, stores: Mapping[str, FeatureStore]) -> Meeting | None:
        """All processes of torchrun have come so far, and see what the others have written."""
        together = meeting()
        if together is not None:
            for store in stores.values():
                together.insist_on_shared(store.folder, "embeddings", "output_dir")
        return together

    def _embed(
        self,
        dataset: TokenDataset,
        parts: Sequence[range],
        wanted: Mapping[int, list[str]],
        order: Iterable[int],
        stores: Mapping[str, FeatureStore],
    ) -> None:
        """Make and keep what is wanted of parts, by their number the names of encoders; in an order of numbers."""
        total = sum(len(parts[i]) for i in wanted)
        with Progress(total=total, desc="embedding regions", unit="region") as bar:
            for i, names in ((i, wanted[i]) for i in order if i in wanted):
                network = self.encoders.only([name for name in names if name != TOKENS])
                batches: list[dict[str, Arrays]] = []

                def keep(engine: Engine, batches: list[Any] = batches, network: RegionEncoders = network) -> None:
                    batches.append(_found(engine.state.output, network))
                    bar.update(len(engine.state.output["slide"]))

                self._evaluator(dataset, parts[i], network, keep).run()
                for name in names:
                    mine = [batch[name] for batch in batches]
                    arrays = {key: np.concatenate([each[key] for each in mine]) for key in mine[0]}
                    _check_finite(name, arrays)
                    stores[name].write(i, arrays)

    def _evaluator(
        self, dataset: TokenDataset, regions: range, network: RegionEncoders, keep: Callable[[Engine], None]
    ) -> EmbeddingEvaluator:
        loader = DataLoader(
            Subset(dataset, regions),
            batch_size=self._batch_size,
            num_workers=self._num_workers,
            collate_fn=collate_regions,
        )
        evaluator = EmbeddingEvaluator(self.device, loader, network, self._inferer, self.uses_bf16)
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, keep)
        return evaluator

    def regions(self, encoder: str) -> RegionVectors:
        """Regions of the whole cohort, in the order of the data set."""
        if not self._regions:
            self.embed()
        return self._regions[encoder]

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

    def _key(self, name: str) -> str:
        """Hash of all that the regions' vectors depend on."""
        files = [(h.path.name, h.path.stat().st_size, h.path.stat().st_mtime_ns) for h in self.dataset.headers]
        what: list[Any] = [self.dataset.fingerprint, self.dataset.encoder, files, _PART]
        if name != TOKENS:
            encoder = self.encoders.encoders[self.encoders.names.index(name)]
            what += [self.encoders.hashes[name], encoder.backbone.n_heads, self.uses_bf16, self.device.type]  # type: ignore[union-attr]
        return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def _found(output: dict[str, torch.Tensor], network: RegionEncoders) -> dict[str, Arrays]:
    """Embedding, and projection of length 1, of the regions of a batch by encoder, "tokens" among them."""
    tokens = output["mean_token"]
    vectors = {TOKENS: (tokens, normalize(tokens, dim=1)), **network.split(output["embedding"])}
    return {
        name: {"embedding": embedding.cpu().numpy(), "projection": projection.cpu().numpy()}
        for name, (embedding, projection) in vectors.items()
    }


def _check_finite(name: str, arrays: Arrays) -> None:
    if not all(np.isfinite(values).all() for values in arrays.values()):
        what = "token files" if name == TOKENS else f"encoder {name}"
        raise BundleError(
            f"the {what} gives embeddings that are not finite: its weights have diverged or the token files are "
            "damaged; turn amp off, or give another encoder."
        )
