"""A slide's regions: planned from its tissue, read as patches."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core import SlideError, readable
from .grid import RegionGrid, region_grid
from .roi import roi_mask
from .settings import ReadSettings
from .slide import Slide
from .tissue import tissue_mask

_TISSUE_MPP = 8.0
_log = logging.getLogger(__name__)


class SlideTissue(NamedTuple):
    """A slide's thumbnail, and what of it is tissue.

    Attributes:
        picture: RGB uint8 [h, w, 3].
        mask: bool [h, w], within the region of interest where there is one.
        mpp: um/px of both.
        n_missing: tiles of the level that is read, which no level that is fine enough shows: background.
    """

    picture: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    mpp: float
    n_missing: int


def find_tissue(slide: Slide, *, roi: str | Path | None = None, mpp: float = 0.5, keep_fat: bool = True) -> SlideTissue:
    """Find tissue on a thumbnail, limited to the region of interest.

    Where the file has no tiles in any level that is fine enough there is background, whatever a coarser level shows.

    Args:
        slide: an open slide.
        roi: file of annotations that limits the tissue, or None; see :func:`~bundle.slides.roi.roi_mask`.
        mpp: um/px at which patches will be read.
        keep_fat: see :func:`tissue_mask`.

    Raises:
        SlideError: the slide does not decode.
        BundleError: the region of interest cannot be read, or lies beyond the slide.
    """
    picture, tissue_mpp = slide.thumbnail(_TISSUE_MPP, max_px=8192)
    tissue = tissue_mask(picture, tissue_mpp, keep_fat=keep_fat)
    missing, n_missing = slide.nowhere(mpp, tissue.shape)
    if n_missing:
        tissue &= ~missing
    if roi is not None:
        tissue &= roi_mask(
            roi,
            picture.shape[1],
            picture.shape[0],
            tissue_mpp / slide.mpp,
            aspect=slide.aspect,
            origin=slide.scanned_from,
        )
    return SlideTissue(picture, tissue, tissue_mpp, n_missing)


def plan_slide(
    slide: Slide, *, roi: str | Path | None = None, mpp: float = 0.5, keep_fat: bool = True, **sizes: Any
) -> RegionGrid:
    """Find tissue, see :func:`find_tissue`, and lay the grid over it.

    Args:
        slide: an open slide.
        roi, mpp, keep_fat: see :func:`find_tissue`.
        sizes: region_patches, patch_size, min_tissue, min_tissue_patches, see :func:`region_grid`.

    Raises:
        SlideError: there is no tissue, or the slide does not decode.
        BundleError: the region of interest cannot be read, or lies beyond the slide.
    """
    if slide.mpp > mpp * 1.02:
        _log.warning(
            "slide %s is enlarged: its finest level has %g um/px, asked for are %g", slide.slide_id, slide.mpp, mpp
        )
    tissue = find_tissue(slide, roi=roi, mpp=mpp, keep_fat=keep_fat)
    if tissue.n_missing:
        _log.warning("slide %s: its file leaves out %d tiles, which are background", slide.slide_id, tissue.n_missing)
    return grid_over(slide, tissue, roi=roi, mpp=mpp, **sizes)


def grid_over(
    slide: Slide, tissue: SlideTissue, *, roi: str | Path | None = None, mpp: float = 0.5, **sizes: Any
) -> RegionGrid:
    """Lay the grid over a slide's tissue; see :func:`plan_slide`.

    Raises:
        SlideError: there is no tissue.
    """
    grid = region_grid(
        tissue.mask,
        tissue.mpp,
        slide_width=slide.width,
        slide_height=slide.height,
        level0_mpp=slide.mpp,
        mpp=mpp,
        read_mpp=slide.read_mpp(mpp),
        **sizes,
    )
    if not len(grid.coords):
        where = "" if roi is None else f" within the region of interest {Path(roi).name}"
        size = f"{tissue.picture.shape[1]} x {tissue.picture.shape[0]}"
        raise SlideError(
            f"slide {slide.slide_id} ({slide.path.name}) has no tissue{where}: a thumbnail of {size} px "
            f"at {tissue.mpp:g} um/px shows none. Look at it; leave it out, or draw its tissue as a roi."
        )
    return grid


def read_patches(
    slide: Slide,
    xy: ArrayLike,
    mask: NDArray[np.bool_],
    *,
    mpp: float = 0.5,
    patch_size: int = 256,
    region_patches: int = 16,
    n_threads: int = 1,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """The patches of one region that ``mask`` names, in row-major order, uint8 [n, patch_size, patch_size, 3].

    Only what lies under these patches is decoded, where the file has tiles.

    Args:
        slide: an open slide.
        xy: level-0 px of the region's top-left corner; may be negative.
        mask: bool [P, P].
        mpp: um/px.
        patch_size: px.
        region_patches: P.
        n_threads: tiles decoded at a time.
        out: contiguous uint8 [at least n, patch_size, patch_size, 3]: its first n are filled and given back. New
            memory, 50 MB a region, costs up to a tenth of the time that decoding takes.

    Raises:
        SlideError: the region does not decode.
        ValueError: ``out`` is too small, or another kind of array.
    """
    cells = np.argwhere(mask)
    if out is not None:
        fits = out.shape[1:] == (patch_size, patch_size, 3) and len(out) >= len(cells)
        if not (fits and out.dtype == np.uint8 and out.flags.c_contiguous):
            raise ValueError(
                f"out must be contiguous uint8 [{len(cells)} or more, {patch_size}, {patch_size}, 3], it is "
                f"{out.dtype} {list(out.shape)}"
            )
    patches = np.empty((len(cells), patch_size, patch_size, 3), np.uint8) if out is None else out[: len(cells)]
    if not len(cells):
        return patches
    first = cells.min(0)
    step = patch_size * slide.read_mpp(mpp) / slide.mpp
    x, y = (float(corner + start * step) for corner, start in zip(np.asarray(xy), first[::-1], strict=True))
    slide.read_patches(x, y, cells - first, patch_size, mpp, patches, n_threads=n_threads)
    return patches


class SlideRegions:
    """Where a slide's regions lie; their patches are read when they are asked for.

    Args:
        slide: open; it is closed where it cannot be planned, and by :meth:`close`.
        how: how it is read.
        roi: file of annotations that limits the tissue, or None.

    Attributes:
        grid: where the regions lie, and which of their patches hold tissue.
        missing_tiles: of the level that is read, which no level that is fine enough shows.
        when_closed: called once the slide is closed.

    Raises:
        SlideError: there is no tissue, the slide does not decode, or would be enlarged by more than ``max_enlarge``.
        BundleError: the region of interest cannot be read, or lies beyond the slide.
    """

    def __init__(self, slide: Slide, how: ReadSettings, roi: str | Path | None = None) -> None:
        self.slide, self.how = slide, how
        self.when_closed: Callable[[], None] = lambda: None
        self.missing_tiles = slide.nowhere(how.mpp)[1]
        try:
            how.check_enlarging(slide)
            self.grid = plan_slide(slide, roi=roi, **how.sizes, **how.kept)
        except BaseException:
            slide.close()
            raise

    def __len__(self) -> int:
        return len(self.grid.coords)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Tissue patches of each region, row-major, uint8 [n, p, p, 3].

        Raises:
            SlideError: a region does not decode.
        """
        return (self.read(region, self.grid.mask[region]) for region in range(len(self)))

    def read(self, region: int, which: NDArray[np.bool_], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Patches of a region that ``which`` [P, P] names; see :func:`~bundle.slides.read_patches`."""
        return read_patches(self.slide, self.grid.coords[region], which, **self.how.sizes, out=out)

    def close(self) -> None:
        """Close the slide's file."""
        self.slide.close()
        self.when_closed()

    @property
    def attributes(self) -> dict[str, Any]:
        """What files made of these regions record of where they lie and how they were read."""
        slide, how = self.slide, self.how
        region_size = how.region_patches * how.patch_size
        odd = {
            "missing_tiles": self.missing_tiles,
            "icc_profile": slide.icc_profile,
            "pixel_aspect": [] if slide.aspect == (1.0, 1.0) else list(slide.aspect),
        }
        return {
            "slide_path": readable(slide.path.name),
            "level0_mpp": slide.mpp,
            "mpp_source": slide.mpp_source,
            "level0_width": slide.width,
            "level0_height": slide.height,
            "mpp": how.mpp,
            "read_mpp": slide.read_mpp(how.mpp),
            "patch_size_px": how.patch_size,
            "region_size_px": region_size,
            "region_size_level0": round(region_size * how.mpp / slide.mpp),
            "image_index": slide.image.index,
            "image_role": slide.image.role,
            **({} if slide.section is None else {"section": slide.section}),
            "reader": slide.reader,
            "decoder": slide.patch_decoder(how.mpp),
            **{name: value for name, value in odd.items() if value},
        }
