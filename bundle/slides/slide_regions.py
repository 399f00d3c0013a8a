"""An open slide as its regions: planned once, read one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .regions import plan_slide, read_patches
from .settings import ReadSettings
from .slide import Slide


class SlideRegions:
    """Where a slide's regions lie; their patches are read when they are asked for.

    Args:
        slide: open; it is closed where it cannot be planned, and by :meth:`close`.
        how: how it is read.
        roi: GeoJSON that limits the tissue, or None.

    Attributes:
        grid: where the regions lie, and which of their patches hold tissue.

    Raises:
        SlideError: there is no tissue, or the slide does not decode.
        BundleError: the GeoJSON is none.
    """

    def __init__(self, slide: Slide, how: ReadSettings, roi: str | Path | None = None) -> None:
        self.slide, self.how = slide, how
        try:
            self.grid = plan_slide(slide, roi=roi, **how.sizes, **how.tissue)
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

    @property
    def attributes(self) -> dict[str, Any]:
        """What files made of these regions record of where they lie and how they were read."""
        slide, how = self.slide, self.how
        region_size = how.region_patches * how.patch_size
        return {
            "slide_path": slide.path.name,
            "level0_mpp": slide.mpp,
            "mpp_source": slide.mpp_source,
            "level0_width": slide.width,
            "level0_height": slide.height,
            "mpp": how.mpp,
            "read_mpp": slide.read_mpp(how.mpp),
            "patch_size_px": how.patch_size,
            "region_size_px": region_size,
            "region_size_level0": round(region_size * how.mpp / slide.mpp),
            "reader": slide.reader,
            "decoder": slide.patch_decoder(how.mpp),
        }
