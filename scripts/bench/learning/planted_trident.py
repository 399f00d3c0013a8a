"""``python -m scripts.bench.learning.planted_trident``: a planted cohort as TRIDENT would have written its features.

Regions are planted: ``configs/import.yaml --region_patches 8`` finds them again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bundle.demo import PlantedSlide

from ...pins.foreign_features import MPP, PITCH, write_trident
from ...pins.records import write_rows
from .cohorts import LEVELS, plant

_ENCODER = "planted"
_REGION_PX = 4096  # by which planted slides count
_CLASSES = ("coarse", "fine")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write ``features_planted/<slide>.h5`` and ``slides.csv`` with slide, patient, label and mpp."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.learning.planted_trident", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of features_planted and slides.csv")
    parser.add_argument("--level", choices=LEVELS, default="medium", help="of difficulty (medium)")
    parser.add_argument("--seed", type=int, default=0, help="of the cohort (0)")
    parser.add_argument("--slides", type=int, default=60, help="their classes alternate (60)")
    parser.add_argument("--regions", type=int, nargs=2, default=(14, 22), help="least and most of a slide (14 22)")
    parser.add_argument(
        "--patients", type=int, help="an even number, whose slides are all of one class (one patient a slide)"
    )
    options = parser.parse_args(arguments)
    n_patients = options.patients or options.slides
    if n_patients % 2 and n_patients < options.slides:
        parser.error("--patients must be even, so that no patient has slides of both classes.")
    cohort = plant(options.level, options.seed, options.slides, tuple(options.regions))
    for slide in cohort.slides:
        write_slide(options.output / f"features_{_ENCODER}" / f"{slide.slide_id}.h5", slide)
    rows = [
        {"slide": slide.slide_id, "patient": f"patient_{i % n_patients:03d}", "label": _CLASSES[slide.label]}
        | {"mpp": MPP}
        for i, slide in enumerate(cohort.slides)
    ]
    write_rows(options.output / "slides.csv", rows)


def write_slide(path: Path, slide: PlantedSlide) -> None:
    """Its tissue tokens as patches of 256 px at 0.5 um/px, on a slide of 0.25."""
    region, row, column = np.nonzero(slide.mask)
    side = slide.mask.shape[-1]
    corner = slide.coords[region] // _REGION_PX * side
    xy: NDArray[np.int64] = (corner + np.stack([column, row], 1)) * PITCH
    width, height = ((slide.coords.max(0) // _REGION_PX + 1) * side * PITCH).tolist()
    write_trident(path, xy, slide.features[slide.mask].astype(np.float32), _ENCODER, size=(width, height))


if __name__ == "__main__":
    main()
