"""Tokens in, token files out: a region is written at its last token, a file gets its name at its last region."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..cohort import TOKENIZED, SlideOutcome
from ..core import (
    CONTRACT_ATTRIBUTES,
    BundleError,
    SettingError,
    as_bool,
    check_folder,
    contract_difference,
    encoder_key,
)
from ..networks import EncoderContract, weights_file, weights_name
from ..storage import NoRoomError, TokenFile, TokenFileWriter, TokenHeader, checked_verify
from .jobs import Piece, SlideJob, file_version
from .pipeline import SlidePipeline
from .sink import Rows, Sink
from .slide_source import PatchStream
from .token_claims import TokenClaims

logger = logging.getLogger(__name__)


class _OpenFile(NamedTuple):
    """A slide's writer and its regions that still wait for tokens: their grids, and how many are missing."""

    writer: TokenFileWriter
    grids: dict[int, NDArray[np.float32]]
    n_missing: dict[int, int]


class TokenSink(Sink[_OpenFile]):
    """Sorts the tokens of mixed batches back into regions and slides.

    The network is a patch encoder, uint8 [B, 3, p, p] -> [B, D], such as :class:`~bundle.networks.PatchTokenizer`; its
    ``name``, ``sha256``, ``contract``, ``mean``, ``std`` and ``amp`` are recorded, and ``parts`` of several.

    Args:
        dtype: of the stored tokens, float16 or float32.
        overwrite: make files that are already there anew.
        weights: file of an encoder that is made only when a slide needs it, by which files are compared before.
        contract: gives that encoder's contract, for the same purpose; it is asked for where there are weights.
        verify: ``always`` reads files that are there whole, and makes damaged ones anew; ``first`` looks at their
            headers, ``never`` believes them.
    """

    table, done = TOKENIZED, "tokenized"

    def __init__(
        self,
        dtype: str = "float16",
        *,
        overwrite: bool = False,
        weights: str | Path | None = None,
        contract: Callable[[], EncoderContract] | None = None,
        verify: str = "first",
    ) -> None:
        super().__init__()
        if dtype not in ("float16", "float32"):
            raise SettingError(f"dtype is {dtype!r}; tokens are stored as float16 or float32.")
        self.dtype, self.overwrite = dtype, as_bool(overwrite)
        self.weights = None if weights is None else Path(weights)
        self.contract, self.verify = contract, checked_verify(verify)
        self._attributes: dict[str, Any] = {}
        self._claims: TokenClaims | None = None
        self._dim = 0

    def kind(self, source: PatchStream) -> dict[str, Any]:
        """What token files of this run record, as far as it is known before a slide is opened."""
        region_size_px = source.how.region_patches * source.how.patch_size
        return {**self._kind_of_folder(source), "region_size_px": region_size_px, **source.how.tissue}

    def _kind_of_folder(self, source: PatchStream) -> dict[str, Any]:
        """What all token files of a folder have in common."""
        if self.weights is None or not self.weights.exists():
            return source.kind
        encoder = weights_name(weights_file(self.weights))
        contract = {} if self.contract is None else self.contract().record(source.how.patch_size)
        return {**source.kind, "encoder": encoder, **contract}

    def prepare(self, pipeline: SlidePipeline) -> None:
        """Try the encoder, look at the files that are there; no slide is touched before both are well.

        An encoder that is yet to be made is made after that look, and only if a slide needs it.

        Raises:
            BundleError: the encoder does not fit, or a file, or a run in the same folder, is of another kind.
        """
        source: PatchStream = pipeline.source  # type: ignore[assignment]
        kind = {**self._kind_of_folder(source), "region_patches": source.how.region_patches}
        folders, before = {job.file.parent for job in source.jobs}, {job: file_version(job.file) for job in source.jobs}
        is_made = isinstance(pipeline.network, nn.Module)
        if not is_made:
            self._skip_complete(source, folders, kind)
            if not source.is_waiting:
                return
        self._dim = self._try(pipeline, source)
        for folder in folders:
            check_folder(folder, "token files", "tokens_dir")
        encoder, recorded = _encoder_name(pipeline.network), _recorded(pipeline.network, source.how.patch_size)
        if is_made:
            own = {name: value for name, value in recorded.items() if name in CONTRACT_ATTRIBUTES}
            kind |= {"dim": self._dim, "encoder": encoder, **own}
            self._skip_complete(source, folders, kind)
        self._attributes = {"encoder": encoder, "dtype": self.dtype, **recorded}
        if source.is_waiting:
            look = partial(self._look, kind=kind, tissue=source.how.tissue)
            self._claims = TokenClaims(before, kind, lambda job: look(job.file, job))

    def is_free(self, job: SlideJob) -> bool:
        """Nobody else makes the slide's tokens, and they have not been made since the run began."""
        assert self._claims is not None
        return self._claims.is_free(job)

    def wait_for_others(self) -> bool:
        """Until a slide that was left to another process is free; False where there is none."""
        return self._claims is not None and self._claims.wait()

    def close(self) -> None:
        """Remove what is unfinished; others may have its slides."""
        super().close()
        if self._claims is not None:
            self._claims.close()
            self._claims = None

    def add(self, piece: Piece, rows: Rows) -> None:
        """Take tokens [n, D] of a region."""
        job = piece.job
        try:
            begun = self._begun.get(job) or self._begin(job)
            self._put(begun, piece, rows["pred"])
            if begun.writer.is_complete:
                job.insist_on_same()
                begun.writer.commit()
                del self._begun[job]
                job.finish(f"{job.n_patches} patches")
        except NoRoomError as error:
            job.fail(error)
            raise

    def drop(self, begun: _OpenFile) -> None:
        """Remove the part that was written."""
        begun.writer.abort()

    def outcome(self, job: SlideJob) -> SlideOutcome:
        """Its line in the table."""
        return SlideOutcome(
            job.slide_id,
            job.status,
            regions=job.n_regions,
            patches=job.n_patches,
            missing_tiles=job.missing_tiles,
            seconds=job.seconds,
            reader=job.reader,
            mpp=job.mpp,
            error=job.error,
        )

    def _begin(self, job: SlideJob) -> _OpenFile:
        writer = TokenFileWriter(
            job.file,
            region_patches=job.mask.shape[1],
            dim=self._dim,
            dtype=self.dtype,
            coords=job.coords,
            mask=job.mask,
            attributes={**job.attributes, **self._attributes},
        )
        begun = self._begun[job] = _OpenFile(writer.__enter__(), {}, {})
        return begun

    def _put(self, begun: _OpenFile, piece: Piece, tokens: NDArray[np.float32]) -> None:
        region, encoded = piece.part, piece.job.encoded[piece.part]
        if region not in begun.grids:
            begun.grids[region] = np.zeros((*encoded.shape, self._dim), np.float32)
            begun.n_missing[region] = int(encoded.sum())
        rows = np.flatnonzero(encoded)[piece.first : piece.first + piece.n]
        begun.grids[region].reshape(-1, self._dim)[rows] = tokens
        begun.n_missing[region] -= piece.n
        if begun.n_missing[region] == 0:
            begun.writer.write(region, begun.grids.pop(region))
            piece.job.n_written += 1

    def _try(self, pipeline: SlidePipeline, source: PatchStream) -> int:
        """The length of the token that the encoder makes of a blank patch, or of a batch of them where all are full.

        Raises:
            BundleError: it makes none.
        """
        pipeline.made_network()
        side, n = source.how.patch_size, source.batch_size if source.fill_up else 1
        try:
            tokens = pipeline.encode(torch.zeros(n, side, side, 3, dtype=torch.uint8).permute(0, 3, 1, 2))
        except (RuntimeError, ValueError, TypeError) as error:
            raise BundleError(f"the patch encoder does not take patches of {side} px: {error}") from error
        if tokens.ndim != 2:
            raise BundleError(
                f"the patch encoder makes {list(tokens.shape)} of one patch; it must give one vector, [1, D]."
            )
        return tokens.shape[1]

    def _skip_complete(self, source: PatchStream, folders: set[Path], kind: Mapping[str, Any]) -> None:
        """Skip slides whose file is complete, after making sure that each folder holds one kind of tokens.

        Files are kept as they are, with a warning, where they record other settings of tissue. The file of a slide that
        would be read in another way by now (:meth:`SlideReading.change`) is made anew, and replaced once the new one is
        complete.

        Raises:
            BundleError: a file in a folder was made in another way; both ways are named.
        """
        by_path = {job.file: job for job in source.jobs}
        for path in (path for folder in folders for path in sorted(folder.glob("*.h5"))):
            if not (path in by_path and self.overwrite):
                self._look(path, by_path.get(path), kind, source.how.tissue)

    def _look(self, path: Path, job: SlideJob | None, kind: Mapping[str, Any], tissue: Mapping[str, Any]) -> None:
        try:
            file = TokenFile(path, verify=self.verify)
            if self.verify == "always" and job is not None:
                file.verify()
        except BundleError as error:
            logger.warning("%s%s", error, "" if job is None else " It is made anew.")
            return
        _check_kind(file.header, kind)
        if job is not None:
            _skip_if_same(job, file.header, tissue)


def _skip_if_same(job: SlideJob, header: TokenHeader, tissue: Mapping[str, Any]) -> None:
    found = header.attributes
    change = job.reading.change(found)
    if change:
        logger.warning("slide %s is tokenized anew, and %s replaced: %s", header.slide_id, job.file, change)
        return
    recorded = {name: found[name] for name in tissue if name in found}
    if "min_tissue" in found:  # ours, then; other tools' tissue is their own
        recorded.setdefault("tissue_rule", 1)
    others = [f"{name} {v} in place of {tissue[name]}" for name, v in recorded.items() if v != tissue[name]]
    unsaid = job.reading.unsaid(found)
    if others or unsaid:
        text = "tokens of slide %s are kept although they were made with %s; --overwrite true makes them anew"
        logger.warning(text, header.slide_id, ", ".join([*others, *[unsaid] * bool(unsaid)]))
    recorded_too = {"reader": str(found.get("reader", "")), "missing_tiles": int(found.get("missing_tiles", 0))}
    job.skip(header.n_regions, float(found.get("level0_mpp", math.nan)), **recorded_too)


def _check_kind(header: TokenHeader, expected: Mapping[str, Any]) -> None:
    found = {**header.attributes, "region_patches": header.region_patches, "dim": header.dim}
    for name, wanted in expected.items():
        if name in CONTRACT_ATTRIBUTES:
            continue
        value = found.get(name, wanted)
        same = encoder_key(value) == encoder_key(wanted) if name == "encoder" else value == wanted
        if not same:
            raise BundleError(
                f"the folder {header.path.parent} holds tokens of another kind: {header.path.name} was made with "
                f"{name} {value}, this run would use {wanted}. Choose another tokens_dir, or remove the old files."
            )
    differs = contract_difference(found, expected) if "encoder_contract" in expected else None
    if differs is not None:
        raise BundleError(
            f"the folder {header.path.parent} holds tokens of the same encoder with pixels prepared otherwise: "
            f"{header.path.name} was made with {differs[0]}, this run would use {differs[1]}. Choose another "
            "tokens_dir, or remove the old files."
        )


def _encoder_name(network: Any) -> str:
    name, sha256 = str(getattr(network, "name", type(network).__name__)), getattr(network, "sha256", "")
    return f"{name} sha256:{sha256}" if sha256 else name


def _recorded(network: Any, patch_size: int) -> dict[str, Any]:
    recorded: dict[str, Any] = {"amp": bool(getattr(network, "amp", False))}
    if isinstance(contract := getattr(network, "contract", None), EncoderContract):
        recorded |= contract.record(patch_size)
    if parts := getattr(network, "parts", ""):
        recorded["encoder_parts"] = parts
    for name in ("mean", "std"):
        if (values := getattr(network, name, None)) is not None:
            recorded[f"normalization_{name}"] = [float(channel) for channel in values]
    return recorded
