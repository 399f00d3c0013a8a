"""Tiles that a file leaves out: filled from the finer level; where no level has them, there is nothing to read."""

import math

import numpy as np
from numpy.typing import NDArray

from .backend import Backend
from .resample import downsample, reduced, resampled, whole_factor

Box = tuple[int, int, int, int]


def fill(picture: NDArray[np.uint8], backend: Backend, x: int, y: int, level: int, boxes: list[Box]) -> None:
    """Paint what lies within boxes as the next finer level shows it, white at level 0.

    Some scanners leave tiles out of the small levels, which can be made of the large ones, and programs show them.

    Args:
        picture: RGB uint8 [h, w, 3] of a rectangle of a level, changed in place.
        backend: its file.
        x, y, level: where it lies.
        boxes: (left, top, right, bottom) in px of the level; they may go on beyond the rectangle, and the level.
    """
    height, width = picture.shape[:2]
    for left, top, right, bottom in boxes:
        x0, y0, x1, y1 = max(left, x), max(top, y), min(right, x + width), min(bottom, y + height)
        picture[y0 - y : y1 - y, x0 - x : x1 - x] = 255
        level_width, level_height = backend.level_sizes[level]
        x1, y1 = min(x1, level_width), min(y1, level_height)
        if level > 0 and x1 > x0 and y1 > y0:
            picture[y0 - y : y1 - y, x0 - x : x1 - x] = _of_finer(backend, level, (x0, y0, x1, y1))


def filled(
    picture: NDArray[np.uint8], backend: Backend, x: int, y: int, level: int, boxes: list[Box]
) -> NDArray[np.uint8]:
    """The same rectangle with its boxes filled, see :func:`fill`: a copy where there are any."""
    if boxes:
        picture = picture.copy()
        fill(picture, backend, x, y, level, boxes)
    return picture


def _of_finer(backend: Backend, level: int, box: Box) -> NDArray[np.uint8]:
    """A rectangle of a level made smaller from the level before it; what is missing there comes from further down."""
    size = backend.level_sizes[level - 1]
    factor = downsample(size, backend.level_sizes[level])
    edges = [edge * factor for edge in box]
    left, top = math.floor(edges[0]), math.floor(edges[1])
    right, bottom = (min(math.ceil(edge - 1e-6), limit) for edge, limit in zip(edges[2:], size, strict=True))
    raw = backend.read(left, top, right - left, bottom - top, level - 1)
    width, height = box[2] - box[0], box[3] - box[1]
    whole = whole_factor(factor)
    if whole:
        beyond = (0, height * whole - raw.shape[0]), (0, width * whole - raw.shape[1]), (0, 0)
        return reduced(np.pad(raw, beyond, "edge") if any(map(any, beyond)) else raw, whole)
    place = edges[0] - left, edges[1] - top, min(edges[2], right) - left, min(edges[3], bottom) - top
    return resampled(raw, (width, height), place)


def nowhere(backend: Backend, level: int, shape: tuple[int, int]) -> tuple[NDArray[np.bool_], int]:
    """What a level cannot show, because its tiles are missing there and in every finer level.

    Args:
        backend: the file.
        level: that is read.
        shape: rows and columns of the answer, which covers the slide.

    Returns:
        bool [*shape], and the number of the level's tiles in which something is missing.
    """
    boxes = backend.left_out_tiles(level)
    mask = np.zeros(shape, bool)
    for found, finer in ((boxes, level), *((backend.left_out_tiles(i), i) for i in range(level))):
        if not len(found):
            return np.zeros(shape, bool), 0
        own = _covered(*_windows(found, backend.level_sizes[finer], shape), shape)
        mask = own if finer == level else mask & own
    starts, ends = _windows(boxes, backend.level_sizes[level], shape)
    until = np.pad(mask, ((1, 0), (1, 0))).cumsum(0, dtype=np.int64).cumsum(1)  # sum above and left of each place
    within = until[ends[:, 1], ends[:, 0]] - until[starts[:, 1], ends[:, 0]]
    within += until[starts[:, 1], starts[:, 0]] - until[ends[:, 1], starts[:, 0]]
    return mask, int((within > 0).sum())


def _covered(starts: NDArray[np.int64], ends: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Places of an array of a shape within any of n windows, in time that grows with n and with the shape."""
    steps = np.zeros((shape[0] + 1, shape[1] + 1), np.int64)
    for x, y, step in ((starts, starts, 1), (ends, ends, 1), (starts, ends, -1), (ends, starts, -1)):
        np.add.at(steps, (y[:, 1], x[:, 0]), step)
    return steps.cumsum(0).cumsum(1)[:-1, :-1] > 0


def _windows(
    boxes: NDArray[np.int64], size: tuple[int, int], shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First place (x, y), and the one after the last, of what each box covers of an array of a shape: one at least."""
    scale = np.array(shape[::-1]) / size
    starts = np.floor(boxes[:, :2] * scale + 0.5).astype(np.int64)
    ends = np.floor(boxes[:, 2:] * scale + 0.5).astype(np.int64)
    starts = np.minimum(starts, np.array(shape[::-1]) - 1)
    return starts, np.minimum(np.maximum(ends, starts + 1), np.array(shape[::-1]))
