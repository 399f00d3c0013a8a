"""A look at a slide: what its file says, and what is wrong with it; estimating and checking look in the same way."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from threading import Event
from typing import Any

from ...cohort import SlideRef, SlideRow
from ...core import SlideError, heed
from ...slides import ReadSettings, Slide

_TOLERANCE = 1.02  # of the resolution, as in reading


@dataclass
class Look:
    """What is known of a slide.

    Attributes:
        ref: which slide.
        bytes: of its file.
        format, reader, codec: of the file; the library that opened it; of its tiles. Empty where unknown.
        images: what the file holds, in words.
        width, height: px of level 0.
        levels: how many.
        mpp: um/px of level 0; nan where unknown.
        mpp_source: who says so.
        area_mm2: of the whole slide, glass included.
        tissue_share: of that, in [0, 1]; nan where it was not looked for.
        regions, patches: by its tissue; None where it was not looked for.
        missing_tiles: that no level shows.
        n_read: sampled patches that were decoded.
        compared_with: another reader that gives the same thumbnail; empty where none was asked.
        problem: why it will fail, or should not be used; empty for a good slide.
        remark: that it is enlarged, although it will not fail.
        warnings: what else is odd about it, in sentences.
        thumbnail: with the tissue's outline, a data URI; empty where there is none.
        small: gray values of the thumbnail on a grid, by which copies are found; empty where it is blank.
        seconds: spent on it.
    """

    ref: SlideRef
    bytes: int = 0
    format: str = ""
    reader: str = ""
    codec: str = ""
    images: list[str] = field(default_factory=list)
    width: int = 0
    height: int = 0
    levels: int = 0
    mpp: float = math.nan
    mpp_source: str = ""
    area_mm2: float = 0.0
    tissue_share: float = math.nan
    regions: int | None = None
    patches: int | None = None
    missing_tiles: int = 0
    n_read: int = 0
    compared_with: str = ""
    problem: str = ""
    remark: str = ""
    warnings: list[str] = field(default_factory=list)
    thumbnail: str = ""
    small: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def add_problem(self, text: str) -> None:
        """One more reason not to use it, without the slide's name in front: whoever shows it names the slide."""
        for start in (f"slide {self.ref.slide_id}", f" ({self.ref.path.name})", ":"):
            text = text.removeprefix(start)
        self.problem = f"{self.problem} {text.strip()}".strip()

    @property
    def oddities(self) -> list[str]:
        """All that is odd about it, although it will not fail."""
        return [*([self.remark] if self.remark else []), *self.warnings]


Step = Callable[[Slide, Look, SlideRow], Any]  # looks further at an open slide, and writes down what it finds


def look_at(ref: SlideRef, row: SlideRow, how: ReadSettings, *steps: Step) -> Look:
    """Open a slide and write down what its file says; whatever is wrong with it is its problem, and no exception.

    Args:
        ref: which slide.
        row: what the slide table says of it.
        how: how it will be read.
        steps: further looks, in this order; after one that raises there are no others.
    """
    look = Look(ref)
    try:
        if not ref.path.exists():
            raise SlideError(f"{ref.path.name} is a link that leads nowhere, or is gone.")
        look.bytes = ref.path.stat().st_size
        with how.open(ref.path, row.mpp, ref.slide_id, ref.section) as slide:
            _write_down(slide, look, how)
            for step in steps:
                step(slide, look, row)
    except Exception as error:  # whatever is wrong with a slide is that slide's problem
        look.add_problem(str(error) or type(error).__name__)
    return look


def _write_down(slide: Slide, look: Look, how: ReadSettings) -> None:
    look.reader, look.codec = slide.reader, slide.image.codec
    look.images = [str(image) for image in slide.images]
    look.width, look.height, look.levels = slide.width, slide.height, len(slide.level_downsamples)
    look.mpp, look.mpp_source = slide.mpp, slide.mpp_source
    look.area_mm2 = slide.width * slide.height * (slide.mpp / 1000) ** 2
    try:
        how.check_enlarging(slide)
    except SlideError as error:
        look.add_problem(str(error))
    else:
        if slide.mpp > how.mpp * _TOLERANCE:
            look.remark = f"its finest level has {slide.mpp:g} um/px: it will be enlarged to {how.mpp:g}"


def side_by_side(looks: Iterator[Callable[[], Look]], num_workers: int) -> Generator[Look, None, None]:
    """Looks as they are done, by several threads; readers and arithmetic leave Python's lock alone.

    Where it is closed early, looks that have begun end at the next piece of their slide, and are waited for.

    Args:
        looks: each looks at one slide.
        num_workers: threads, at least 1.
    """
    stop = Event()
    with ThreadPoolExecutor(num_workers, initializer=heed, initargs=(stop,)) as pool:
        try:
            running: set[Future[Look]] = {pool.submit(look) for look in islice(looks, 2 * num_workers)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(look) for look in islice(looks, len(done))}
                yield from (future.result() for future in done)
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
