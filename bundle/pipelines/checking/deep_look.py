"""A look into a slide: tissue, sampled patches, a second reader, a thumbnail."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor
from scipy import ndimage

from ...cohort import SlideRow
from ...core import SlideError
from ...pages import OKABE_ITO, jpeg_uri
from ...slides import (
    ReadSettings,
    RegionGrid,
    Slide,
    SlideTissue,
    find_tissue,
    grid_over,
    open_slide,
    read_patches,
    recognized,
)
from .look import Look

_THUMBNAIL_PX = 320
_COMPARED_PX = 512
_MOST_COMPARED_PX = (
    64e6  # of the level that a thumbnail is made of: beyond, a second one would take as long as all else
)
_MOST_DIFFERENCE = 8.0  # of 255, mean of a thumbnail; decoders differ by less than 1, other channels by more than 20
_SHARES = (0.01, 0.95)  # of tissue; biopsies have 2 %, and no scan is without glass
_LEAST_SIDE_MM = 0.5  # the smallest biopsies are as thick; crops and thumbnails that pass for slides are smaller
_SMALL_PX, _BLANK = 48, 2.0  # a grid; standard deviation of gray values
_ONE_COLOR = 1.0  # standard deviation of a patch's values; noise of a scanner alone is above


class DeepLook:
    """A step of :func:`~bundle.pipelines.checking.look.look_at`.

    Args:
        how: how slides will be read.
        n_patches: that are decoded, spread over the slide's tissue.
        seed: which; the slide's id counts, too, so that neighbors change nothing.
    """

    def __init__(self, how: ReadSettings, n_patches: int, seed: int) -> None:
        self.how, self.n_patches, self.seed = how, n_patches, seed

    def __call__(self, slide: Slide, look: Look, row: SlideRow) -> None:
        """Look for tissue, decode some of it, ask another reader.

        Raises:
            SlideError: there is no tissue, or something does not decode.
            BundleError: the region of interest cannot be read.
        """
        look.format = recognized(slide.path).name
        _judge_size(slide, look)
        tissue = find_tissue(slide, roi=row.roi, mpp=self.how.mpp, keep_fat=self.how.keep_fat)
        look.missing_tiles, look.tissue_share = tissue.n_missing, float(tissue.mask.mean())
        look.thumbnail = jpeg_uri(outlined(tissue.picture, tissue.mask, _THUMBNAIL_PX), _THUMBNAIL_PX)
        look.small = small_gray(tissue.picture)
        grid = find_regions(slide, look, row, self.how, tissue)
        _judge_tissue(look, is_limited=row.roi is not None)
        self._read_some(slide, look, grid)
        _ask_another(slide, look)

    def _read_some(self, slide: Slide, look: Look, grid: RegionGrid) -> None:
        """Decode patches spread over the tissue: one of each of as many parts of the list of all.

        Raises:
            SlideError: one does not decode.
        """
        cells = np.argwhere(grid.mask)
        rng = np.random.default_rng([self.seed, *look.ref.slide_id.encode()])
        edges = np.linspace(0, len(cells), min(self.n_patches, len(cells)) + 1).round().astype(int)
        n_blank = 0
        for start, end in zip(edges[:-1], edges[1:], strict=True):
            region, *cell = cells[rng.integers(start, end)].tolist()
            which = np.zeros(grid.mask.shape[1:], bool)
            which[tuple(cell)] = True
            patch = read_patches(slide, grid.coords[region], which, **self.how.sizes)[0]
            look.n_read += 1
            n_blank += bool(patch.std() < _ONE_COLOR)
        if n_blank:
            look.warnings.append(f"{n_blank} of {look.n_read} sampled patches of tissue are of one color")


def find_regions(
    slide: Slide, look: Look, row: SlideRow, how: ReadSettings, tissue: SlideTissue | None = None
) -> RegionGrid:
    """Lay the grid, and write down how many regions and patches it has.

    Raises:
        SlideError: there is no tissue.
        BundleError: the region of interest cannot be read.
    """
    tissue = tissue or find_tissue(slide, roi=row.roi, mpp=how.mpp, keep_fat=how.keep_fat)
    kept = {name: value for name, value in how.kept.items() if name != "keep_fat"}
    grid = grid_over(slide, tissue, roi=row.roi, **how.sizes, **kept)
    look.regions, look.patches = len(grid.coords), int(grid.mask.sum())
    return grid


def outlined(picture: NDArray[np.uint8], mask: NDArray[np.bool_], max_px: int) -> NDArray[np.uint8]:
    """A picture made smaller, with the outline of a mask.

    Args:
        picture: RGB uint8 [h, w, 3].
        mask: bool [h, w].
        max_px: longest side of what is given back.
    """
    image = Image.fromarray(picture)
    image.thumbnail((max_px, max_px), Image.Resampling.BOX)
    small = np.asarray(Image.fromarray(mask).convert("L").resize(image.size, Image.Resampling.BOX)) > 127
    line = small & ~ndimage.binary_erosion(small)
    drawn = np.array(image)
    drawn[line] = ImageColor.getrgb(OKABE_ITO["blue"])
    return drawn


def small_gray(picture: NDArray[np.uint8]) -> list[int]:
    """Gray values of a picture on a grid of 48 x 48, row by row; none where it is blank."""
    size = (_SMALL_PX, _SMALL_PX)
    gray = np.asarray(Image.fromarray(picture).convert("L").resize(size, Image.Resampling.BOX))
    return gray.ravel().tolist() if gray.std() >= _BLANK else []


def _judge_size(slide: Slide, look: Look) -> None:
    sides = [side * slide.mpp / 1000 for side in (slide.width, slide.height)]
    if min(sides) < _LEAST_SIDE_MM:
        look.warnings.append(
            f"it is {slide.width} x {slide.height} px, {sides[0]:.2g} x {sides[1]:.2g} mm: a crop or a thumbnail, or "
            f"its {slide.mpp:g} um/px are wrong"
        )


def _judge_tissue(look: Look, *, is_limited: bool) -> None:
    """``is_limited``: to a region of interest, which may be as small as it likes."""
    if not (0 if is_limited else _SHARES[0]) <= look.tissue_share <= _SHARES[1]:
        look.warnings.append(f"{100 * look.tissue_share:.2g} % of it is tissue: look whether the outline is right")
    if look.missing_tiles:
        look.warnings.append(f"its file leaves out {look.missing_tiles:,} tiles, which are background")


def _ask_another(slide: Slide, look: Look) -> None:
    """Compare a thumbnail with that of the first other reader that sees the same levels."""
    for reader in recognized(slide.path).readers:
        if reader == slide.reader or look.compared_with or _is_costly(slide):
            continue
        try:
            other = open_slide(slide.path, reader=reader, mpp=slide.mpp, slide_id=slide.slide_id, section=slide.section)
        except SlideError:  # it need not read all that the first one does
            continue
        with other:
            if other.level_downsamples == slide.level_downsamples:
                _compare(slide, other, look)


def _compare(slide: Slide, other: Slide, look: Look) -> None:
    pictures = [each.thumbnail(max_px=_COMPARED_PX)[0].astype(np.int16) for each in (slide, other)]
    look.compared_with = other.reader
    difference = float(np.abs(pictures[0] - pictures[1]).mean())
    if difference > _MOST_DIFFERENCE:
        look.add_problem(
            f"{slide.reader} and {other.reader} show other pictures of it, a mean "
            f"{difference:.0f} of 255 apart. Look at it in a viewer, and name the reader that is right (--wsi_reader)."
        )


def _is_costly(slide: Slide) -> bool:
    """Whether a thumbnail is made of a level of many px."""
    scale = max(16.0 / slide.mpp, max(slide.width, slide.height) / _COMPARED_PX)
    coarsest = max(each for each in slide.level_downsamples if each <= max(scale, 1.0))
    return slide.width * slide.height / coarsest**2 > _MOST_COMPARED_PX
