"""Slides as if a second scanner had seen them: another stain, a softer focus, a stronger compression.

Real tissue of one source says nothing of robustness. Half of each class's patients, rendered anew, are a second site
of which everything is known: what an embedding tells of it is not the tissue's.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from bundle.demo.pyramid import write_pyramid
from bundle.demo.stain import EOSIN, HEMATOXYLIN
from bundle.slides import open_slide

from ...pins.records import write_rows

ORIGINAL, RENDERED = "first", "second"
_STRIP_ROWS = 1024
_BLUR_PX, _JPEG_QUALITY = 0.8, 50
_STAIN_SD, _SLIDE_SD = 0.25, 0.05  # of the logarithm of a stain's strength: the scanner's habit, and a slide's day
_TURN_SD = 0.06  # of a stain's color


def patients_of_second(rows: list[dict[str, str]], label: str, seed: int) -> set[str]:
    """Every second patient of each class, in a random order.

    Args:
        rows: of the slide table, with ``patient`` and the label.
        label: its column with the class.
        seed: of the order.
    """
    by_class: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        by_class[row[label]].add(row["patient"])
    draws, chosen = np.random.default_rng([seed, 1]), set()
    for name in sorted(by_class):
        order = draws.permutation(sorted(by_class[name]))
        chosen |= set(order[1::2].tolist())
    return chosen


def second_cohort(slides: Path, rows: list[dict[str, str]], label: str, output: Path, mpp: float, seed: int) -> Path:
    """A folder with the slides of every second patient rendered anew, links to the others, and a table with ``site``.

    Args:
        slides: folder of the slides, by the names in ``rows``.
        rows: of the slide table.
        label: its column with the class.
        output: ``slides`` and ``slides.csv`` go here; what is there is kept.
        mpp: um/px at which slides are rendered.
        seed: of the choice and of the stains.

    Returns:
        The table.
    """
    chosen = patients_of_second(rows, label, seed)
    (output / "slides").mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        made = output / "slides" / row["slide"]
        if made.exists():
            continue
        if row["patient"] not in chosen:
            made.symlink_to((slides / row["slide"]).resolve())
            continue
        with open_slide(slides / row["slide"], mpp=float(row["mpp"]) if row.get("mpp") else None) as slide:
            width, height = (round(side * slide.mpp / mpp) for side in (slide.width, slide.height))
            picture, _ = slide.read(0, 0, width, height, mpp)
        write_pyramid(made, rendered(picture, seed, number), mpp, jpeg_quality=_JPEG_QUALITY)
    table = output / "slides.csv"
    found = [
        row | ({"mpp": str(mpp), "site": RENDERED} if row["patient"] in chosen else {"site": ORIGINAL}) for row in rows
    ]
    write_rows(table, found, list(dict.fromkeys([*rows[0], "mpp", "site"])))
    return table


def link_tokens(slides: Path, tokens: Path, output: Path) -> None:
    """Tokens of slides that are links, which were not rendered, are taken over: nothing is encoded twice."""
    output.mkdir(parents=True, exist_ok=True)
    for slide in slides.iterdir():
        made, known = (folder / f"{slide.stem}.h5" for folder in (output, tokens))
        if slide.is_symlink() and known.exists() and not made.exists():
            made.hardlink_to(known)


def rendered(picture: NDArray[np.uint8], seed: int, slide: int) -> NDArray[np.uint8]:
    """A picture [height, width, 3] as the second scanner has it.

    Optical density is taken apart into hematoxylin, eosin and what is left, each stain gets another strength and
    color, and the whole is blurred.

    Args:
        picture: RGB.
        seed: of the scanner: the same for all slides.
        slide: number of the slide, for what differs from day to day.
    """
    habit, day = np.random.default_rng([seed, 2]), np.random.default_rng([seed, 3, slide])
    stains = np.stack([v / np.linalg.norm(v) for v in (HEMATOXYLIN, EOSIN, np.cross(HEMATOXYLIN, EOSIN))])
    strength = np.exp(habit.normal(0, _STAIN_SD, 2) + day.normal(0, _SLIDE_SD, 2))
    turned = stains[:2] + habit.normal(0, _TURN_SD, (2, 3))
    turned *= (strength / np.linalg.norm(turned, axis=1))[:, None]
    change = (np.linalg.inv(stains) @ np.concatenate([turned, stains[2:]])).astype(np.float32)
    out = np.empty_like(picture)
    for start in range(0, len(picture), _STRIP_ROWS):
        density = -np.log((picture[start : start + _STRIP_ROWS].astype(np.float32) + 1) / 256)
        out[start : start + _STRIP_ROWS] = np.clip(256 * np.exp(-(density @ change)) - 1, 0, 255)
    return np.asarray(Image.fromarray(out).filter(ImageFilter.GaussianBlur(_BLUR_PX)))
