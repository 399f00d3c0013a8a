"""Patches of a region from slide files: OpenSlide patch by patch, cuCIM in two ways, ours, and decoding alone."""

from __future__ import annotations

import importlib.util
import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from bundle.demo.demo_slides import DemoSlide, draw_slide
from bundle.slides import open_slide, read_patches

from .measure import Case, Variant

_PATCH, _MPP = 256, 0.5
_CELL_UM = 16.0
_BATCH = 32
_CACHE_BYTES = 16 << 20  # two rows of a region's tiles and no more: a run must not find those of the run before
_JPEG = {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (2, 2), "compressionargs": {"level": 85}}
_JPEG2000 = {"compression": "aperio_jp2000_rgb", "photometric": "rgb", "compressionargs": {"level": 40}}


class SlideFiles:
    """Two files of one drawn slide, in a temporary folder that goes when this object does.

    A drawing is mirrored to both sides: one of 4,096 px takes seconds, one of 8,192 px would take half a minute.

    Attributes:
        jpeg: tiles of 256 px, JPEG 4:2:0 at quality 85.
        jpeg2000: a quarter of it, JPEG 2000 as Aperio writes it.
    """

    def __init__(self, drawn_px: int = 4096) -> None:
        cells = round(drawn_px * _MPP / _CELL_UM)
        drawing = DemoSlide("", "nested", "", "site_a", (cells, cells), False, (0, 1, 0))
        picture, _ = draw_slide(drawing, _MPP)
        self._folder = TemporaryDirectory()
        wide = np.concatenate([picture, picture[:, ::-1]], 1)
        self.jpeg = self._write("jpeg.tif", np.concatenate([wide, wide[::-1]]), _JPEG)
        self.jpeg2000 = self._write("jpeg2000.svs", picture, _JPEG2000)

    def _write(self, name: str, picture: NDArray[np.uint8], how: dict[str, Any]) -> Path:
        path = Path(self._folder.name) / name
        said = f"Aperio Image Library v1\n{picture.shape[1]}x{picture.shape[0]} (256x256)|AppMag = 20|MPP = {_MPP}"
        tifffile.imwrite(path, picture, tile=(_PATCH, _PATCH), description=said, metadata=None, maxworkers=1, **how)
        return path


class Task(NamedTuple):
    """Which patches to read.

    Attributes:
        path: a file whose tiles are 256 px.
        x, y: level-0 px of the region's corner.
        mask: bool [P, P].
        factor: level-0 px along a pixel's side.
    """

    path: Path
    x: int
    y: int
    mask: NDArray[np.bool_]
    factor: int = 1

    @property
    def corners(self) -> list[tuple[int, int]]:
        """Level-0 px of each patch's corner."""
        step = _PATCH * self.factor
        return [(self.x + int(column) * step, self.y + int(row) * step) for row, column in np.argwhere(self.mask)]


class Ways:
    """Ways to fill one batch of patches, uint8 [n, 256, 256, 3]; the batch is made once.

    Args:
        task: what to read.
        threads: of each way.
        files: whose slides are read; kept, because their folder goes with them.
    """

    def __init__(self, task: Task, threads: int, files: SlideFiles | None = None) -> None:
        self.task, self.threads, self.files = task, threads, files
        self.batch = np.empty((int(task.mask.sum()), _PATCH, _PATCH, 3), np.uint8)
        self._slide = open_slide(task.path)
        self._openslide, self._cucim = _by_openslide(task.path), _by_cucim(task.path)
        self._page = tifffile.TiffFile(task.path).pages.first
        self._file = os.open(task.path, os.O_RDONLY)

    def by_openslide(self) -> None:
        """A call a patch, as the published code's tiling does; threads share the patches."""
        size = _PATCH * self.task.factor

        def read(patch: int, corner: tuple[int, int]) -> None:
            picture = self._openslide.read_region(corner, 0, (size, size)).convert("RGB")
            self.batch[patch] = picture if self.task.factor == 1 else picture.reduce(self.task.factor)

        self._share(read, enumerate(self.task.corners))

    def by_cucim_region(self) -> None:
        """The whole region at once, then cut up."""
        n_rows, n_columns = self.task.mask.shape
        corner, size = (self.task.x, self.task.y), (n_columns * _PATCH, n_rows * _PATCH)
        picture = np.asarray(self._cucim.read_region(corner, size, num_workers=self.threads))
        parts = picture.reshape(n_rows, _PATCH, n_columns, _PATCH, 3).swapaxes(1, 2)
        for patch, (row, column) in enumerate(np.argwhere(self.task.mask)):
            self.batch[patch] = parts[row, column]

    def by_cucim_batches(self) -> None:
        """A list of patches, which cuCIM's threads decode ahead."""
        size, done = (_PATCH, _PATCH), 0
        how = {"batch_size": _BATCH, "num_workers": self.threads}
        for found in self._cucim.read_region(self.task.corners, size, **how):
            some = np.asarray(found).reshape(-1, _PATCH, _PATCH, 3)[: len(self.batch) - done]
            self.batch[done : done + len(some)] = some
            done += len(some)

    def by_us(self) -> None:
        """:func:`bundle.slides.read_patches`."""
        read_patches(
            self._slide,
            (self.task.x, self.task.y),
            self.task.mask,
            mpp=_MPP * self.task.factor,
            patch_size=_PATCH,
            n_threads=self.threads,
            out=self.batch,
        )

    def decoded_tiles(self) -> None:
        """Every tile under the patches, decoded once and left as it is: no checks, nothing cut or moved."""
        n_columns, step = -(-self._page.imagewidth // _PATCH), _PATCH * self.task.factor
        tiles = {
            row * n_columns + column
            for x, y in self.task.corners
            for row in range(y // _PATCH, -(-(y + step) // _PATCH))
            for column in range(x // _PATCH, -(-(x + step) // _PATCH))
        }
        decode = (
            imagecodecs.jpeg8_decode
            if self._page.compression == 7
            else partial(imagecodecs.jpeg2k_decode, numthreads=1)
        )

        def read(slot: int, tile: int) -> None:
            data = os.pread(self._file, self._page.databytecounts[tile], self._page.dataoffsets[tile])
            decode(data, out=self.batch[slot % len(self.batch)])

        self._share(read, enumerate(sorted(tiles)))

    def _share(self, read: Callable[..., None], jobs: Iterable[tuple[Any, ...]]) -> None:
        """Threads take the next job, until none is left."""
        waiting = deque(jobs)

        def work(_: int) -> None:
            while waiting:
                try:
                    job = waiting.popleft()
                except IndexError:  # another thread was quicker
                    return
                read(*job)

        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(work, range(self.threads)))

    def variants(self) -> list[Variant]:
        """Those that can run here. Without OpenSlide, ours is what others are compared with."""
        found = [Variant("read_patches", "reference" if self._openslide is None else "ours", self.by_us)]
        if self._openslide is not None:
            found.insert(0, Variant("OpenSlide, 256 px loop", "reference", self.by_openslide))
        if self._cucim is not None and self.task.factor == 1:
            found.append(Variant("cuCIM region", "peer", self.by_cucim_region))
            found.append(Variant("cuCIM batched", "peer", self.by_cucim_batches))
        return [*found, Variant("direct tile decode", "limit", self.decoded_tiles)]


def cases(device: str, threads: int) -> list[Case]:
    """Regions of 16 x 16 patches on the tiles, off them, half empty, in JPEG 2000, and at twice the um/px."""
    return reading_cases(SlideFiles(), threads, 16)


def reading_cases(files: SlideFiles, threads: int, n: int) -> list[Case]:
    """The cases for n x n patches; the drawn slide has at least n patches on a side, n is a multiple of 4."""
    full = np.ones((n, n), bool)
    inner = n * _PATCH // 2  # the middle of the slide: no way gains from its border
    small = full[: n // 4 * 3, : n // 4 * 3]
    tasks = {
        "region of 4096 px, aligned": (Task(files.jpeg, inner, inner, full), 4.5),
        "128 px off the tiles": (Task(files.jpeg, inner + 128, inner + 128, full), 3.0),
        "half of the patches are background": (Task(files.jpeg, inner, inner, _fuller_half(files.jpeg, inner, n)), 4.0),
        "JPEG 2000": (Task(files.jpeg2000, 0, 0, small), 1.5),
        "4096 px at twice the um/px": (Task(files.jpeg, 0, 0, full[: n // 2, : n // 2], factor=2), 2.5),
    }
    return [
        Case(
            "reading",
            title,
            Ways(task, threads, files).variants(),
            work=float(task.mask.sum()),
            unit="patches",
            goal={"read_patches": goal},
            note=f"{threads} thread(s) each, into a batch that is there already; files in the system's cache.",
        )
        for title, (task, goal) in tasks.items()
    ]


def _fuller_half(path: Path, corner: int, n: int) -> NDArray[np.bool_]:
    """The half of a region's tiles that takes most bytes: where the tissue is, bool [n, n]."""
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        n_columns, first = -(-page.imagewidth // _PATCH), corner // _PATCH
        sizes = np.reshape(page.databytecounts, (-1, n_columns))[first : first + n, first : first + n]
    return np.argsort(np.argsort(sizes.ravel(), kind="stable")).reshape(n, n) >= n * n // 2


def _by_openslide(path: Path) -> Any:
    if importlib.util.find_spec("openslide") is None:
        return None
    import openslide

    slide = openslide.OpenSlide(path)
    slide.set_cache(openslide.OpenSlideCache(_CACHE_BYTES))
    return slide


def _by_cucim(path: Path) -> Any:
    if importlib.util.find_spec("cucim") is None:
        return None
    os.environ.setdefault("ENABLE_CUSLIDE2", "0")  # silences a plugin that needs a GPU
    from cucim import CuImage  # type: ignore[attr-defined,unused-ignore]

    return CuImage(str(path))
