"""TensorBoard's projector: regions of a cohort as points with pictures."""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from ...cohort import SlideTable
from ...core import BundleError, Progress, Replacement, SettingError, as_whole, check_folder, remove_stale_parts
from ...pages import RegionPicture
from ...storage import SlideEmbeddings, find_embeddings, read_embeddings

_SPRITE_PX = 8192  # TensorBoard takes no larger picture of all pictures
_NO_COLUMN = {"slide", "mpp", "roi"}
_NO_PICTURE = 225
_log = logging.getLogger(__name__)


@dataclass
class _Points:
    """What is known of the regions so far, a row each."""

    features: list[NDArray[np.float32]] = field(default_factory=list)
    projection: list[NDArray[np.float32]] = field(default_factory=list)
    metadata: list[list[str]] = field(default_factory=list)
    pictures: list[NDArray[np.uint8] | None] = field(default_factory=list)


class RegionProjector:
    """Writes ``output_dir/projector/``: region embeddings and projections with slide, prototype and table columns.

    Every slide gives the same number of regions, drawn at random by its name. An old projector there is replaced.

    Args:
        dataset_dir: folder of embedding files, searched in depth, or one of them.
        output_dir: where ``projector/`` goes.
        picture: slide id, x, y and side in level-0 px -> RGB uint8 [px, px, 3] of the region, or None where there is
            none (``bundle.slides.RegionPictures``).
        table: its columns are shown.
        n_regions: points, at most, at least one a slide as far as that goes.
        seed: of the sample.

    Raises:
        BundleError: there is no embedding file.
    """

    def __init__(
        self,
        dataset_dir: str | Path,
        output_dir: str | Path,
        picture: RegionPicture | None = None,
        table: SlideTable | None = None,
        n_regions: int = 2000,
        seed: int = 0,
    ) -> None:
        self.files = find_embeddings(dataset_dir)
        self.folder = Path(output_dir) / "projector"
        self.picture = picture
        self.table = SlideTable({}) if table is None else table
        self.n_regions = as_whole(n_regions, "projector_regions", 2)
        self.seed = as_whole(seed, "seed")

    def run(self) -> Path:
        """Read, and write the folder.

        Returns:
            The folder, for ``tensorboard --logdir``.

        Raises:
            BundleError: no file can be read, their embeddings differ in length, or the folder cannot be written.
        """
        check_folder(self.folder.parent, "the projector", "output_dir")
        files = self.files
        if len(files) > self.n_regions:
            chosen = np.random.default_rng(self.seed).choice(len(files), self.n_regions, replace=False)
            files = [files[i] for i in sorted(chosen)]
        points, per_slide = _Points(), max(1, self.n_regions // len(files))
        for path in Progress(files, desc="reading regions", unit="slide"):
            try:
                self._add(points, read_embeddings(path), per_slide)
            except BundleError as error:
                _log.warning("%s", error)
        if not points.metadata:
            raise BundleError(f"none of the {len(files)} embedding files can be read; run inference again.")
        if len({row.shape for row in points.features}) > 1:
            raise BundleError("embeddings of different lengths lie there: give files of one region encoder.")
        self._write(points)
        _log.info("%d regions of %d slides: tensorboard --logdir %s", len(points.metadata), len(files), self.folder)
        return self.folder

    def _add(self, points: _Points, slide: SlideEmbeddings, n_wanted: int) -> None:
        rng = np.random.default_rng([self.seed, zlib.crc32(slide.slide_id.encode())])
        chosen = np.sort(rng.choice(len(slide), min(n_wanted, len(slide)), replace=False))
        row = self.table.row(slide.slide_id, str(slide.attributes.get("slide_path", slide.slide_id))).values
        shares = slide.mask.mean((1, 2))
        for region in chosen.tolist():
            x, y = slide.coords[region].tolist()
            prototype = int(slide.assignment[region]) + 1
            own = [slide.slide_id, str(region), str(prototype or "none"), f"{shares[region]:.2f}"]
            points.features.append(slide.features[region])
            points.projection.append(slide.projection[region])
            points.metadata.append([_one_line(v) for v in own + [row.get(name, "") for name in self._columns()]])
            if self.picture is not None:
                points.pictures.append(self.picture(slide.slide_id, x, y, slide.region_size_level0))

    def _columns(self) -> list[str]:
        return [name for name in self.table.columns if name not in _NO_COLUMN]

    def _write(self, points: _Points) -> None:
        header = ["slide", "region", "prototype", "tissue share", *self._columns()]
        try:
            remove_stale_parts(self.folder.parent, self.folder.name)
            with Replacement(self.folder) as part, SummaryWriter(str(part)) as writer:
                for tag, rows in (("embedding", points.features), ("projection", points.projection)):
                    sprite = _sprite(points.pictures)
                    writer.add_embedding(np.stack(rows), points.metadata, sprite, 0, tag, header)
        except OSError as error:
            raise BundleError(f"the projector cannot be written to {self.folder}: {error.strerror}.") from error


def _sprite(pictures: Sequence[NDArray[np.uint8] | None]) -> torch.Tensor | None:
    """Pictures in [0, 1], [n, 3, px, px]; gray where there is none; None where there is none at all.

    Raises:
        SettingError: TensorBoard cannot show so many of this size.
    """
    first = next((picture for picture in pictures if picture is not None), None)
    if first is None:
        return None
    side = len(first) * math.ceil(math.sqrt(len(pictures)))
    if side > _SPRITE_PX:
        most = (_SPRITE_PX // len(first)) ** 2
        raise SettingError(
            f"{len(pictures)} pictures of {len(first)} px are more than TensorBoard shows: take at most {most} "
            "(--projector_regions), or smaller ones (--projector_px)."
        )
    blank = np.full_like(first, _NO_PICTURE)
    stacked = np.stack([blank if picture is None else picture for picture in pictures])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2) / 255


def _one_line(text: str) -> str:
    """Text that fits into a cell of a table separated by tabs; an empty cell would be read as none."""
    return " ".join(text.split()) or "-"
