"""Tokens in, token files out: a region is written at its last token, a file gets its name at its last region."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import BundleError
from ..storage import NoRoomError, TokenFileWriter
from .tokenizer_jobs import Piece, SlideJob


class _OpenFile:
    """A slide's writer and its regions that still wait for tokens."""

    def __init__(self, job: SlideJob, writer: TokenFileWriter) -> None:
        self.job, self.writer = job, writer
        self.grids: dict[int, NDArray[np.float32]] = {}
        self.n_missing: dict[int, int] = {}


class TokenSink:
    """Sorts the tokens of mixed batches back into regions and slides.

    Args:
        dim: length D of a token.
        dtype: float16 or float32.
        attributes: recorded in every file, besides the slide's own (``encoder`` must be among them).
    """

    def __init__(self, dim: int, dtype: str, attributes: dict[str, Any]) -> None:
        self.dim, self.dtype, self.attributes = dim, dtype, attributes
        self._open: dict[SlideJob, _OpenFile] = {}

    def add(self, pieces: Sequence[Piece], tokens: NDArray[np.float32]) -> None:
        """Take the tokens [n, D] of one batch.

        Raises:
            NoRoomError: the disk is full. Any other trouble with a file fails its slide only.
        """
        first = 0
        for piece in pieces:
            part = tokens[first : first + piece.n_patches]
            first += piece.n_patches
            if piece.job.status != "waiting":
                continue
            try:
                self._add_piece(piece, part)
            except NoRoomError as error:
                piece.job.fail(error)
                raise
            except BundleError as error:
                piece.job.fail(error)
        self._drop_failed()

    def close(self) -> None:
        """Remove what is unfinished."""
        for opened in self._open.values():
            opened.writer.abort()
        self._open.clear()

    def _add_piece(self, piece: Piece, tokens: NDArray[np.float32]) -> None:
        opened = self._open.get(piece.job) or self._begin(piece.job)
        encoded = piece.job.encoded[piece.region]
        if piece.region not in opened.grids:
            opened.grids[piece.region] = np.zeros((*encoded.shape, self.dim), np.float32)
            opened.n_missing[piece.region] = int(encoded.sum())
        rows = np.flatnonzero(encoded)[piece.first : piece.first + piece.n_patches]
        opened.grids[piece.region].reshape(-1, self.dim)[rows] = tokens
        opened.n_missing[piece.region] -= piece.n_patches
        if opened.n_missing[piece.region] == 0:
            opened.writer.write(piece.region, opened.grids.pop(piece.region))
            piece.job.n_written += 1
        if opened.writer.is_complete:
            opened.writer.commit()
            del self._open[piece.job]
            piece.job.finish()

    def _begin(self, job: SlideJob) -> _OpenFile:
        writer = TokenFileWriter(
            job.token_path,
            region_patches=job.mask.shape[1],
            dim=self.dim,
            dtype=self.dtype,
            coords=job.coords,
            mask=job.mask,
            attributes={**job.attributes, **self.attributes},
        )
        opened = self._open[job] = _OpenFile(job, writer.__enter__())
        return opened

    def _drop_failed(self) -> None:
        for job in [job for job in self._open if job.status == "failed"]:
            self._open.pop(job).writer.abort()
