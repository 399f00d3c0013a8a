"""``python -m scripts.bench.outlines``: tissue found on slides, as pictures and against outlines drawn by eye."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from bundle.cohort import find_slides
from bundle.slides import Slide, open_slide, tissue_mask
from bundle.slides.roi import rasterized
from bundle.slides.roi_files import read_areas

_MPP, _SIDE, _COLUMNS, _ROWS = 8.0, 380, 4, 4
_FOUND, _FAT = (0, 140, 0), (235, 110, 0)


class Agreement(NamedTuple):
    """Shares of pixels: intersection over union, of the drawn what was found, of the found what was drawn."""

    iou: float
    recall: float
    precision: float

    @classmethod
    def of(cls, found: NDArray[np.bool_], drawn: NDArray[np.bool_]) -> Agreement:
        """How far two masks agree."""
        both = np.count_nonzero(found & drawn)
        return cls(both / np.count_nonzero(found | drawn), both / drawn.sum(), both / max(found.sum(), 1))


class Found(NamedTuple):
    """Tissue of a slide's thumbnail [h, w, 3]: with fat, without, and the seconds of the first."""

    picture: NDArray[np.uint8]
    mpp: float
    all: NDArray[np.bool_]
    lean: NDArray[np.bool_]
    seconds: float

    @classmethod
    def on(cls, slide: Slide) -> Found:
        """Look for it."""
        picture, mpp = slide.thumbnail(_MPP, max_px=8192)
        start = time.process_time()
        found = tissue_mask(picture, mpp)
        seconds = time.process_time() - start
        return cls(picture, mpp, found, tissue_mask(picture, mpp, keep_fat=False), seconds)


def compare(slide: Slide, found: Found, drawn: Path) -> dict[str, float]:
    """What is found on a slide against an outline; with fat, and without where fat was outlined."""
    height, width = found.all.shape
    masks = {"Tissue": np.zeros((height, width), bool), "Fat": np.zeros((height, width), bool)}
    for area in read_areas(drawn):
        masks[area.name] |= rasterized(area, width, height, found.mpp / slide.mpp)
    result = {**Agreement.of(found.all, masks["Tissue"])._asdict(), "seconds": found.seconds}
    if masks["Fat"].any():
        result |= {
            "fat_found": float(found.all[masks["Fat"]].mean()),
            "fat_found_if_dropped": float(found.lean[masks["Fat"]].mean()),
            "iou_without_fat": Agreement.of(found.lean, masks["Tissue"] & ~masks["Fat"]).iou,
        }
    return result


def picture_of(slide: Slide, found: Found) -> Image.Image:
    """A thumbnail with what is found outlined in green; in orange what would be left with fat dropped."""
    outlined = found.picture.copy()
    width = max(outlined.shape[:2]) // 500 + 1
    for mask, color in ((found.lean, _FAT), (found.all, _FOUND)):
        outlined[ndimage.morphological_gradient(mask.astype(np.uint8), width + 1) > 0] = color
    image = Image.fromarray(outlined)
    image.thumbnail((_SIDE - 8, _SIDE - 24))
    tile = Image.new("RGB", (_SIDE, _SIDE), "white")
    tile.paste(image, (4, 20))
    ImageDraw.Draw(tile).text((4, 4), slide.slide_id, fill="black")
    return tile


def main(arguments: Sequence[str] | None = None) -> None:
    """Write sheets of all slides, print the table of those that were outlined."""
    parser = argparse.ArgumentParser(prog="scripts/tissue_outlines", description=__doc__)
    parser.add_argument("--slides", type=Path, required=True, help="folder of slides")
    parser.add_argument("--mpp", type=float, help="um/px of slides whose files name none")
    parser.add_argument("--output", type=Path, required=True, help="folder of the sheets, tissue_1.jpg and on")
    parser.add_argument("--drawn", type=Path, default=Path("docs/tissue_outlines"), help="folder of outlines")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    tiles = []
    print("| slide | IoU | recall | precision | s | fat |\n| --- | --- | --- | --- | --- | --- |")
    for ref in find_slides(options.slides):
        with open_slide(ref.path, default_mpp=options.mpp, slide_id=ref.slide_id) as slide:
            found = Found.on(slide)
            tiles.append(picture_of(slide, found))
            drawn = options.drawn / f"{ref.slide_id}.geojson"
            if drawn.exists():
                print(_row(ref.slide_id, compare(slide, found, drawn)), flush=True)
    for number, first in enumerate(range(0, len(tiles), _COLUMNS * _ROWS), 1):
        shown = tiles[first : first + _COLUMNS * _ROWS]
        sheet = Image.new("RGB", (_COLUMNS * _SIDE, -(-len(shown) // _COLUMNS) * _SIDE), "white")
        for place, tile in enumerate(shown):
            sheet.paste(tile, (place % _COLUMNS * _SIDE, place // _COLUMNS * _SIDE))
        sheet.save(options.output / f"tissue_{number}.jpg", quality=75)


def _row(name: str, found: dict[str, float]) -> str:
    fat = ""
    if "fat_found" in found:
        fat = (
            f"{found['fat_found']:.0%} found; {found['fat_found_if_dropped']:.0%} with `keep_fat: false`, then IoU "
            f"with the rest {found['iou_without_fat']:.2f}"
        )
    numbers = " | ".join(f"{found[column]:.2f}" for column in ("iou", "recall", "precision", "seconds"))
    return f"| {name} | {numbers} | {fat} |"


if __name__ == "__main__":
    main()
