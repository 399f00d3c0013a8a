"""A slide on its way to its embeddings."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cohort import SlideOutcome, SlideRef, SlideRow
from ..core import BundleError

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class InferenceJob:
    """One slide. ``status``: waiting, done, skipped (its embeddings are there and up to date) or failed.

    ``change`` says why embeddings that are there are made anew.
    ``coords``, ``mask`` and ``attributes`` are known once its token file is open; ``found`` grows with each batch.
    """

    ref: SlideRef
    row: SlideRow
    token_path: Path
    file: Path
    is_slide: bool
    status: str = "waiting"
    error: str = ""
    change: str = ""
    n_regions: int = 0
    n_prototypes: int = 0
    n_embedded: int = 0
    mpp: float = math.nan
    coords: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 2), np.int64))
    mask: NDArray[np.bool_] = field(default_factory=lambda: np.empty((0, 0, 0), bool))
    attributes: dict[str, Any] = field(default_factory=dict)
    found: list[Mapping[str, NDArray[Any]]] = field(default_factory=list)

    @property
    def slide_id(self) -> str:
        """The slide's id."""
        return self.ref.slide_id

    def settle(self, header: Mapping[str, Any], change: str, unsaid: str = "") -> None:
        """Its embeddings are there: skip the slide, or say why it is embedded all the same; the first reason counts.

        Args:
            header: see :func:`~bundle.storage.read_embeddings_header`.
            change: why they are not what this run would make; empty where they are.
            unsaid: what they were made with although this run does not say so.
        """
        if change:
            if not self.change:
                _log.info("slide %s is embedded anew: %s", self.slide_id, change)
            self.change = self.change or change
            return
        if unsaid:
            text = "embeddings of slide %s are kept although they were made with %s; --overwrite true makes them anew"
            _log.warning(text, self.slide_id, unsaid)
        self.status, self.n_regions = "skipped", int(header["n_regions"])
        self.n_prototypes, self.mpp = int(header["n_prototypes"]), float(header["level0_mpp"])

    def finish(self, n_prototypes: int) -> None:
        """The file has its name."""
        self.status, self.n_prototypes = "done", n_prototypes
        self._forget()
        _log.info("slide %s: %d regions, %d prototypes", self.slide_id, self.n_regions, n_prototypes)

    def fail(self, error: BaseException | str) -> None:
        """Give the slide up; the first reason counts."""
        if self.status == "failed":
            return
        is_plain = isinstance(error, BundleError | str)
        self.status, self.error = "failed", str(error) if is_plain else f"{type(error).__name__}: {error}"
        self._forget()
        _log.warning("slide %s failed: %s", self.slide_id, self.error)

    def _forget(self) -> None:
        """Nothing of a slide's regions stays in memory: a cohort may have 10^5 slides."""
        self.found.clear()
        self.coords, self.mask = self.coords[:0], self.mask[:0]

    def index_row(self, root: Path) -> SlideOutcome:
        """The slide's line in the index of the folder ``root``."""
        is_there = self.status in ("done", "skipped")
        return SlideOutcome(
            self.slide_id,
            self.status,
            regions=self.n_regions,
            prototypes=self.n_prototypes,
            mpp=self.mpp,
            file=self.file.relative_to(root).as_posix() if is_there else "",
            error=" ".join(self.error.split()),
            values={name: value for name, value in self.row.values.items() if name != "slide"},
        )
