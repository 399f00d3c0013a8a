"""The tissues by name, which one wins where several score, and how each takes up the two stains."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .fields import Floats


class Tissue(IntEnum):
    """What a pixel shows."""

    GLASS = 0
    STROMA = 1
    TUMOR = 2
    EPITHELIUM = 3
    LUMEN = 4
    LYMPHOID = 5
    FAT = 6
    NECROSIS = 7
    WALL = 8
    BLOOD = 9


class Scores(NamedTuple):
    """Signed distances in um (positive inside), all of one shape: what decides on the tissue."""

    tissue: Floats
    tumor: Floats
    lumen: Floats
    lymphoid: Floats
    fat: Floats
    necrosis: Floats
    vessel: Floats


def classify(scores: Scores) -> NDArray[np.uint8]:
    """The tissue of each pixel or point; later lines win over earlier ones."""
    found = np.full(scores.tissue.shape, Tissue.STROMA, dtype=np.uint8)
    is_tumor = scores.tumor > 0
    found[scores.fat > 0] = Tissue.FAT
    found[is_tumor] = Tissue.TUMOR
    found[is_tumor & (scores.lumen > -80)] = Tissue.EPITHELIUM
    found[is_tumor & (scores.necrosis > 0)] = Tissue.NECROSIS
    found[is_tumor & (scores.lumen > 0)] = Tissue.LUMEN
    found[scores.lymphoid > 0] = Tissue.LYMPHOID
    found[scores.vessel > -9] = Tissue.WALL
    found[scores.vessel > 0] = Tissue.BLOOD
    found[scores.tissue <= 0] = Tissue.GLASS
    return found


class Uptake(NamedTuple):
    """Stain between the nuclei, in units of a tumor nucleus's hematoxylin and of dense collagen's eosin."""

    hematoxylin: Floats
    eosin: Floats
    grain: Floats  # how strongly the fine texture modulates the stain
    fiber: Floats  # how strongly the fiber texture does


_UPTAKE: dict[Tissue, tuple[float, float, float, float]] = {
    Tissue.GLASS: (0.0, 0.0, 0.0, 0.0),
    Tissue.STROMA: (0.07, 0.52, 0.12, 0.42),
    Tissue.TUMOR: (0.24, 0.42, 0.20, 0.0),
    Tissue.EPITHELIUM: (0.22, 0.46, 0.16, 0.0),
    Tissue.LUMEN: (0.005, 0.03, 0.4, 0.0),
    Tissue.LYMPHOID: (0.20, 0.26, 0.25, 0.05),
    Tissue.FAT: (0.0, 0.0, 0.0, 0.0),
    Tissue.NECROSIS: (0.13, 0.72, 0.42, 0.0),
    Tissue.WALL: (0.12, 0.72, 0.12, 0.15),
    Tissue.BLOOD: (0.0, 1.25, 0.32, 0.0),
}


def uptake_tables() -> Uptake:
    """Every tissue's uptake, [n tissues] each: for lookups on whole images."""
    return Uptake(*np.array([_UPTAKE[tissue] for tissue in Tissue], dtype=np.float32).T.copy())
