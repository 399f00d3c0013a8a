"""Stain and scanner of one slide: what differs from slide to slide and says nothing about the diagnosis."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .fields import Floats

HEMATOXYLIN = np.array([0.58, 0.71, 0.40])
EOSIN = np.array([0.14, 0.82, 0.50])
"""Optical density per unit of stain, red green blue, near the reference vectors in common use for H&E."""

PEN_COLORS = np.array([[2.2, 1.3, 0.25], [2.0, 0.5, 1.2], [1.6, 1.6, 1.5]])
"""Optical density of blue, green and black marker ink."""


class Look(NamedTuple):
    """How one slide was stained and scanned."""

    stain: Floats  # [2, 3] optical density of hematoxylin and eosin, with this slide's strengths
    glass: Floats  # [3] brightness of the empty slide, 0 to 255
    pen: Floats  # [3] optical density of marker ink
    gamma: float
    blur: float  # weight of the neighbors in a three-pixel kernel, 0 to 0.33
    noise: float  # standard deviation in gray levels
    jpeg_quality: int


def draw_look(slide: np.random.Generator, site: np.random.Generator) -> Look:
    """A random stain and scanner within what laboratories show: half the site's habit, half this slide's day.

    Args:
        slide: random numbers of this slide.
        site: random numbers of its site; the same state gives the same habit.
    """

    def varied(spread: float, size: int) -> NDArray[np.float64]:
        return (site.normal(0, spread, size) + slide.normal(0, spread, size)) / np.sqrt(2)

    def turned(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        other = np.clip(vector + varied(0.045, 3), 0.02, None)
        return other / np.linalg.norm(other)

    stain = np.stack([turned(HEMATOXYLIN), turned(EOSIN)]) * np.exp(varied(0.20, 2))[:, None]
    glass = np.minimum(240 + slide.uniform(-7, 7) + 240 * np.clip(varied(0.013, 3), -0.03, 0.03), 252)
    return Look(
        stain=stain.astype(np.float32),
        glass=glass.astype(np.float32),
        pen=PEN_COLORS[slide.integers(len(PEN_COLORS))].astype(np.float32),
        gamma=float(np.clip(1 + varied(0.05, 1)[0], 0.88, 1.12)),
        blur=float(slide.uniform(0.06, 0.24)),
        noise=float(slide.uniform(0.8, 2.2)),
        jpeg_quality=int(slide.integers(74, 92)),
    )


def develop(hematoxylin: Floats, eosin: Floats, ink: Floats | None, noise: Floats, look: Look) -> NDArray[np.uint8]:
    """Stain amounts to the scanned picture [h, w, 3] (Beer-Lambert, then the scanner).

    Args:
        hematoxylin: amount of stain [h + 2, w + 2], 1 in a typical tumor nucleus.
        eosin: amount of stain [h + 2, w + 2], 1 in dense collagen.
        ink: amount of marker ink [h, w], or None.
        noise: standard normal [h, w].
        look: of this slide.
    """
    hematoxylin, eosin = soften(hematoxylin, look.blur), soften(eosin, look.blur)
    picture = np.empty((*hematoxylin.shape, 3), dtype=np.uint8)
    for channel in range(3):
        density = hematoxylin * (-look.gamma * look.stain[0, channel])
        density -= eosin * (look.gamma * look.stain[1, channel])
        if ink is not None:
            density -= ink * look.pen[channel]
        light = np.exp(density, out=density)
        light *= look.glass[channel]
        picture[..., channel] = expose(light, noise, channel, look)
    return picture


def expose(light: Floats, noise: Floats, channel: int, look: Look) -> Floats:
    """Light on the sensor (0 to 255) with its noise, each channel's from another part of the noise."""
    light = light + look.noise * np.roll(noise, 331 * channel, axis=0)
    return np.clip(light, 0, 255, out=light)


def empty_glass(ink: Floats | None, noise: Floats, look: Look) -> NDArray[np.uint8]:
    """The picture [h, w, 3] of a place without tissue: cheaper than to develop nothing."""
    picture = np.empty((*noise.shape, 3), dtype=np.uint8)
    for channel in range(3):
        light = look.glass[channel] * (1 if ink is None else np.exp(-ink * look.pen[channel]))
        picture[..., channel] = expose(light, noise, channel, look)
    return picture


def soften(image: Floats, weight: float) -> Floats:
    """A three-pixel blur along both axes, `weight` each neighbor's share; the outermost pixels are used up."""
    image = (1 - 2 * weight) * image[1:-1] + weight * (image[:-2] + image[2:])
    return (1 - 2 * weight) * image[:, 1:-1] + weight * (image[:, :-2] + image[:, 2:])
