"""Demo slides: a small cohort of drawn slides with two diagnoses, patients, sites and a slide table."""

import csv
import logging
import os
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core import BundleError, Progress
from .arrangements import CELL_UM, TASKS
from .fields import Floats, smooth_noise
from .layout import REGION_UM, Layout, draw_layout
from .nuclei import place_nuclei
from .pyramid import write_pyramid
from .render import Drawing, draw_block
from .stain import Look, draw_look

_logger = logging.getLogger(__name__)

BLOCK_PX = 1024
TISSUE_SHARE = 0.70
BIOPSY_CELLS = (56, 88)
"""Height and width of the needle biopsy's slide: 0.9 x 1.4 mm, smaller than a region."""


class DemoSlide(NamedTuple):
    """One slide of the demo cohort, before it is drawn."""

    slide: str  # file name
    label: str
    patient: str
    site: str
    cells: tuple[int, int]  # height and width of the slide in cells of 16 um
    has_ink: bool
    seed: tuple[int, ...]


def make_demo_slides(
    output_dir: str | Path,
    n_slides: int = 24,
    seed: int = 0,
    mpp: float = 2.0,
    regions: int = 10,
    *,
    task: str = "mixture",
    n_workers: int | None = None,
) -> Path:
    """Draws a cohort of slides and writes it with its `slide_table.csv` (slide, label, patient, site).

    The label is in how tissues are arranged. Stain, scanner, size, marker ink, patient and site do not depend on it.
    One slide is a biopsy smaller than a region. The same arguments give the same files, bit by bit, on one machine.

    Args:
        output_dir: made if missing; files of the same names are replaced.
        n_slides: at least 2.
        seed: of everything random.
        mpp: um per px of the drawn slides, 0.25 to 4. A slide takes about 0.5 GB of memory at 0.5.
        regions: about how many regions of 2048 um a slide has, at least 1.
        task: how the labels differ, a key of `arrangements.TASKS`.
        n_workers: processes; None takes one for each core.

    Returns:
        The folder.

    Raises:
        BundleError: an argument is out of range, or the folder cannot be written.
    """
    _check(n_slides, mpp, regions, task)
    folder = Path(str(output_dir))  # the command line makes a number of 2024
    cohort = plan_demo_cohort(n_slides, seed, regions, task)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _draw_all([(folder, slide, mpp) for slide in cohort], n_workers or _n_cores())
        with open(folder / "slide_table.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["slide", "label", "patient", "site"])
            table.writerows([slide.slide, slide.label, slide.patient, slide.site] for slide in cohort)
    except OSError as error:
        raise BundleError(
            f"demo slides could not be written to {folder}: {error}. Name a folder that can be written, with room for "
            f"about {max(1, n_slides * regions * 0.5 / mpp * 2 / mpp):.0f} MB."
        ) from error
    if strangers := sorted({p.name for p in folder.glob("demo_*.tif")} - {s.slide for s in cohort}):
        _logger.warning("%s holds %d older demo slides, e.g. %s", folder, len(strangers), strangers[0])
    return folder


def plan_demo_cohort(n_slides: int, seed: int, regions: int, task: str = "mixture") -> list[DemoSlide]:
    """Who the slides belong to: labels in equal numbers; names and their order say nothing about the label.

    In each label every fourth patient has two slides, the sites take turns, and one patient in five is marked with ink.
    """
    rng = np.random.default_rng([seed, 0])
    owners: list[tuple[str, int, int]] = []  # of each slide: label, patient, patient counted within the label
    for label, n_own in zip(TASKS[task].diagnoses, (n_slides - n_slides // 2, n_slides // 2), strict=True):
        wanted, in_label = len(owners) + n_own, 0
        while len(owners) < wanted:
            owner = (label, owners[-1][1] + 1 if owners else 0, in_label)
            owners += [owner] * min(2 if in_label % 4 == 1 else 1, wanted - len(owners))
            in_label += 1
    n_patients = owners[-1][1] + 1
    names, biopsy = rng.permutation(n_patients), int(rng.integers(n_slides))
    cohort = []
    for i, (label, patient, in_label) in enumerate(owners[k] for k in rng.permutation(n_slides)):
        area, aspect = regions * rng.uniform(0.75, 1.2) / 0.97, np.exp(rng.uniform(-0.25, 0.25))
        sides = np.sqrt([area / aspect, area * aspect]) * REGION_UM / CELL_UM
        cells = BIOPSY_CELLS if i == biopsy else (int(sides[0]), int(sides[1]))
        name, site = f"patient_{names[patient]:02d}", f"site_{'abc'[in_label % 3]}"
        cohort.append(DemoSlide(f"demo_{i:02d}.tif", label, name, site, cells, in_label % 5 == 3, (seed, 1, i)))
    return cohort


def compose_slide(slide: DemoSlide) -> tuple[np.random.Generator, Look, Layout]:
    """A slide's look and layout, and its random numbers as they stand after those: all that is cheap about a slide."""
    rng = np.random.default_rng(slide.seed)
    look = draw_look(rng, np.random.default_rng([slide.seed[0], 2, *slide.site.encode()]))
    return rng, look, draw_layout(rng, slide.cells, slide.label, TISSUE_SHARE)


def draw_slide(slide: DemoSlide, mpp: float) -> tuple[NDArray[np.uint8], Drawing]:
    """The picture [height, width, 3] of one slide, and what it was drawn from."""
    rng, look, layout = compose_slide(slide)
    ink = _pen_stroke(rng, layout.scores.tissue) if slide.has_ink else None
    drawing = Drawing(layout, place_nuclei(rng, layout, mpp), look, ink, mpp)
    height, width = (round(n * CELL_UM / mpp) for n in slide.cells)
    picture = np.empty((height, width, 3), dtype=np.uint8)
    for row, column in product(range(0, height, BLOCK_PX), range(0, width, BLOCK_PX)):
        part = picture[row : row + BLOCK_PX, column : column + BLOCK_PX]
        part[...] = draw_block(drawing, row, column, *part.shape[:2])
    return picture, drawing


def _pen_stroke(rng: np.random.Generator, tissue: Floats) -> Floats:
    """Marker ink along one edge of the tissue, as pathologists mark a slide; 0 to 1 on cells."""
    stroke = 1.6 - np.abs(-tissue / CELL_UM - 9 - 3 * smooth_noise(rng, tissue.shape, 40)) / 2.2
    rows, columns = np.indices(tissue.shape)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = rows / tissue.shape[0] - 0.5, columns / tissue.shape[1] - 0.5
    is_side = y * np.sin(angle) + x * np.cos(angle) > 0.22
    return np.clip(np.where(is_side, stroke, 0), 0, 1).astype(np.float32) * 0.9


def _draw_and_write(job: tuple[Path, DemoSlide, float]) -> None:
    folder, slide, mpp = job
    picture, drawing = draw_slide(slide, mpp)
    write_pyramid(folder / slide.slide, picture, mpp, jpeg_quality=drawing.look.jpeg_quality)


def _draw_all(jobs: list[tuple[Path, DemoSlide, float]], n_workers: int) -> None:
    n_workers = min(n_workers, len(jobs))
    if n_workers <= 1:
        for job in Progress(jobs, "drawing", unit="slide"):
            _draw_and_write(job)
        return
    # Forked workers need no importable __main__ (notebooks, `python -`), and only numpy, scipy and Pillow run in them.
    context = get_context("fork" if "fork" in get_all_start_methods() else None)
    with ProcessPoolExecutor(n_workers, mp_context=context) as pool:
        list(
            Progress(pool.map(_draw_and_write, jobs), "drawing", len(jobs), unit="slide")
        )  # the first error is raised here


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check(n_slides: int, mpp: float, regions: int, task: str) -> None:
    if task not in TASKS:
        raise BundleError(f"demo slides cannot be drawn: task is {task!r}; give one of {', '.join(TASKS)}.")
    for name, value, low, high in (
        ("n_slides", n_slides, 2, 10000),
        ("mpp", mpp, 0.25, 4.0),
        ("regions", regions, 1, 400),
    ):
        if not low <= value <= high:
            raise BundleError(f"demo slides cannot be drawn: {name} is {value}; give a value from {low} to {high}.")
