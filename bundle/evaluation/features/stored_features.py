"""Features of patients from embedding files, as inference wrote them: nothing is embedded again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...cohort import fingerprint_of
from ...core import BundleError, contract_difference, encoder_key, files_below
from ...networks import read_pretraining, sha256_of
from ...storage import (
    SlideEmbeddings,
    TokenDataset,
    find_embeddings,
    read_embeddings,
    read_embeddings_header,
    read_token_header,
    without_listed,
)
from .brought_features import BroughtFeatures
from .pooled_features import PooledFeatures, RegionVectors
from .region_encoders import RegionEncoders
from .slide_features import SlideFeatures

_log = logging.getLogger(__name__)
_ALIKE = ("region_encoder", "encoder", "mpp", "region_size_px")


class EmbeddingFiles:
    """A folder of embedding files, searched in depth; one whose header is broken is left out with a warning.

    Args:
        folder: what inference wrote: ``output_dir``, or ``embeddings`` in it.
        exclude: file of slides to leave out; None: all are kept.

    Attributes:
        slide_ids: in the order of the files.
        slide_paths: names of the slides' own files, "" where one is not recorded.
        encoder: patch encoder of the tokens.
        region_encoder: name and SHA-256.
        attributes: what the first file records.
        token_dim: 0; there are no tokens.

    Raises:
        BundleError: no file can be read; they are of different encoders or resolutions; a slide comes twice.
    """

    token_dim = 0

    def __init__(self, folder: str | Path, exclude: str | Path | None = None) -> None:
        self._paths: list[Path] = []
        self.slide_ids: list[str] = []
        self.slide_paths: list[str] = []
        first: dict[str, Any] = {}
        seen: set[str] = set()
        problems = []
        for path in without_listed(find_embeddings(folder), exclude, folder):
            try:
                header = read_embeddings_header(path)
            except BundleError as error:
                _log.warning("left out: %s", error)
                problems.append(str(error))
                continue
            first = first or {**header, "path": path}
            _check_alike(first, header, path)
            if header["slide_id"] in seen:
                raise BundleError(f"slide {header['slide_id']} has two files of embeddings, one of them {path}.")
            self._paths.append(path)
            seen.add(header["slide_id"])
            self.slide_ids.append(str(header["slide_id"]))
            self.slide_paths.append(str(header.get("slide_path", "")))
        if not self._paths:
            raise BundleError(f"no embeddings in {folder} can be read; {problems[0] if problems else 'it has none'}.")
        self.attributes = {name: value for name, value in first.items() if name != "path"}
        self.encoder, self.region_encoder = str(first.get("encoder", "")), str(first.get("region_encoder", ""))

    def slides(self) -> list[SlideEmbeddings]:
        """All of them, without their attention.

        Raises:
            BundleError: one is damaged behind its header; the message names it.
        """
        return [read_embeddings(path, attention=False) for path in self._paths]


class StoredFeatures(PooledFeatures):
    """Features of one region encoder, whose embeddings are at hand; "tokens" are not.

    Args:
        files: the embeddings.
        encoders: files of weights by name: the one that made the embeddings gives them its name and the slides that it
            was trained on. Without it they are called as the weights' file was.
        n_prototypes: K, prototypes of a patient; they are clustered anew, over all slides of a patient.
        device: where to cluster.
        seed: of K-means.
    """

    def __init__(
        self,
        files: EmbeddingFiles,
        encoders: Mapping[str, str | Path] | None = None,
        n_prototypes: int = 4,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        slides = files.slides()
        self._vectors = RegionVectors(
            np.concatenate([slide.features for slide in slides]), np.concatenate([s.projection for s in slides])
        )
        self._fingerprints = {slide.slide_id: _fingerprint(slide) for slide in slides if slide.mask.any()}
        super().__init__(files.slide_ids, _index(slides), n_prototypes, device, seed)
        key = encoder_key(files.region_encoder)
        given = encoders if isinstance(encoders, Mapping) else {}
        at_hand = {name: path for name, path in given.items() if path and Path(path).is_file()}
        known = [name for name, path in at_hand.items() if sha256_of(path) == key]
        self._name = str(known[0]) if known else files.region_encoder.partition(" sha256:")[0] or "embeddings"
        self._pretraining = read_pretraining(at_hand[known[0]]) if known else None

    @property
    def names(self) -> list[str]:
        """The one encoder."""
        return [self._name]

    @property
    def pretraining(self) -> dict[str, list[str] | None]:
        """Slides that it was trained on; None where unknown."""
        return {self._name: self._pretraining}

    def regions(self, encoder: str) -> RegionVectors:
        """Regions of the whole cohort."""
        return self._vectors

    def fingerprints(self) -> dict[str, str]:
        """A hash of each slide's number of regions and of the embedding of its region with the most tissue."""
        return self._fingerprints


def evaluation_dataset(
    dataset_dir: str | Path, verify: str = "first", exclude: str | Path | None = None
) -> TokenDataset | EmbeddingFiles:
    """Token files or embedding files, by what the first readable file is.

    Args:
        dataset_dir: the folder.
        verify: when token files are compared with their checksums, see :class:`TokenDataset`; embeddings always are.
        exclude: file of slides to leave out, see :func:`bundle.cohort.without_excluded`; None: all are kept.

    Raises:
        BundleError: there is neither.
    """
    if _holds_embeddings(Path(dataset_dir)):
        return EmbeddingFiles(dataset_dir, exclude)
    return TokenDataset(dataset_dir, cache="none", verify=verify, exclude=exclude)


def _holds_embeddings(folder: Path) -> bool:
    """Whether the first file that is either kind is embeddings; one stray file among tokens makes no difference."""
    for path in find_embeddings(folder) if folder.is_dir() and files_below(folder, (".h5",), is_quiet=True) else []:
        for read, answer in ((read_embeddings_header, True), (read_token_header, False)):
            try:
                read(path)
            except BundleError:
                continue
            return answer
    return False


def evaluation_features(
    dataset: TokenDataset | EmbeddingFiles,
    network: RegionEncoders,
    output_dir: str | Path,
    n_prototypes: int = 4,
    *,
    encoders: Mapping[str, str | Path] | None = None,
    slide_vectors: Mapping[str, NDArray[np.float32]] | None = None,
    **options: Any,
) -> PooledFeatures:
    """Features of what there is: :class:`SlideFeatures` of token files, :class:`StoredFeatures` of embeddings.

    Args:
        dataset: see :func:`evaluation_dataset`.
        network: encoders of token files.
        output_dir: where embeddings of token files are kept.
        n_prototypes: a patient.
        encoders: files of weights by name.
        slide_vectors: of another program, by name, see :func:`read_slide_vectors`; they stand beside the encoders.
        options: of :class:`SlideFeatures`.
    """
    features: PooledFeatures
    if isinstance(dataset, TokenDataset):
        features = SlideFeatures(dataset, network, output_dir, n_prototypes, **options)
    else:
        features = StoredFeatures(dataset, encoders, n_prototypes, options.get("device", "cpu"), options.get("seed", 0))
    return BroughtFeatures(features, slide_vectors) if slide_vectors else features


def _index(slides: list[SlideEmbeddings]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(slides)), [len(slide) for slide in slides])


def _fingerprint(slide: SlideEmbeddings) -> str:
    fullest = int(slide.mask.sum((1, 2)).argmax())
    return f"{len(slide)} {fingerprint_of(slide.features[fullest])}"


def _check_alike(first: Mapping[str, Any], other: Mapping[str, Any], path: Path) -> None:
    for name in _ALIKE:
        a, b = first.get(name), other.get(name)
        if (encoder_key(str(a)) != encoder_key(str(b))) if "encoder" in name else a != b:
            raise BundleError(
                f"embeddings do not belong together: {name} is {a} in {first['path']} and {b} in {path}. Run inference "
                "again for all slides, or keep each kind in a folder of its own."
            )
    if (differs := contract_difference(first, other)) is not None:
        raise BundleError(
            f"embeddings do not belong together: patches were prepared with {differs[0]} in {first['path']} and with "
            f"{differs[1]} in {path}. Run inference again for all slides, or keep each kind in a folder of its own."
        )
