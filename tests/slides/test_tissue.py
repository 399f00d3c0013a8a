"""Tissue on thumbnails that are hard: pale, without glass, brown, blue, bloody, scribbled on, with black borders."""

import numpy as np
import pytest
from scipy import ndimage

from bundle.slides import open_slide, tissue_mask

HEIGHT, WIDTH, MPP = 240, 320, 8.0
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]
TISSUE = ((ROWS - 110) / 70) ** 2 + ((COLUMNS - 140) / 90) ** 2 < 1
NOWHERE = np.zeros_like(TISSUE)
INK = NOWHERE.copy()
INK[:, :14] = INK[10:60, 240:310] = True

HE = (0.30, 0.45, 0.18)  # optical density of red, green, blue


def thumbnail(density, *, glass=(242, 242, 242), tissue=TISSUE, ink=None):
    """RGB uint8: tissue of a color with texture on glass, with noise, ink over it."""
    random = np.random.default_rng(0)
    texture = (1 + 0.75 * ndimage.gaussian_filter(random.normal(size=TISSUE.shape), 1.5)).clip(0.2, 2)[..., None]
    picture = np.where(
        tissue[..., None], np.array(glass) * 10 ** (-np.array(density) * texture), np.array(glass, float)
    )
    if ink is not None:
        picture[INK] = ink
    return (picture + random.normal(size=picture.shape) * 1.5).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("density", "glass"),
    [
        (HE, (242, 242, 242)),
        ((0.06, 0.12, 0.05), (242, 242, 242)),  # pale
        ((0.03, 0.06, 0.025), (242, 242, 242)),  # very pale
        (HE, (236, 234, 220)),  # yellowish light
        ((0.06, 0.12, 0.05), (185, 186, 183)),  # a dark scan
        ((0.55, 0.80, 1.10), (242, 242, 242)),  # strong DAB
        ((0.20, 0.35, 0.50), (242, 242, 242)),  # DAB
        ((0.30, 0.23, 0.10), (242, 242, 242)),  # the blue counterstain of IHC: red loses more than green
        ((0.60, 0.45, 0.20), (242, 242, 242)),  # the same, dense
        ((0.12, 0.09, 0.04), (242, 242, 242)),  # the same, pale
        ((0.12, 0.55, 0.45), (242, 242, 242)),  # blood
        ((0.06, 0.60, 0.20), (242, 242, 242)),  # eosin
        ((0.70, 0.85, 0.45), (242, 242, 242)),  # lymph node
    ],
)
def test_tissue_is_found(density, glass):
    """At least 97 % of tissue is found and at most 2 % of glass taken for it, in every stain.

    The blue counterstain and blood once passed for ink, and nothing of them was found.
    """
    found = tissue_mask(thumbnail(density, glass=glass), MPP)
    assert found.shape == TISSUE.shape and found.dtype == bool
    assert found[TISSUE].mean() > 0.97 and found[~TISSUE].mean() < 0.02


@pytest.mark.parametrize("density", [(0.40, 0.46, 0.10), (0.22, 0.25, 0.05), (0.45, 0.45, 0.12)])
def test_violet_stains_are_tissue(density):
    """A violet stain (cresyl violet, crystal violet) takes as much of green as of red, which no blue or green ink does:
    however little it takes of blue, it is found."""
    found = tissue_mask(thumbnail(density), MPP)
    assert found[TISSUE].mean() > 0.97 and found[~TISSUE].mean() < 0.02


INKS = {
    "blue": (40, 70, 180),
    "dark blue": (30, 60, 150),
    "light blue": (120, 180, 235),
    "cyan": (90, 190, 220),
    "green": (30, 140, 70),
    "light green": (150, 220, 160),
    "red": (215, 40, 50),
    "pink": (240, 120, 150),
    "yellow": (235, 225, 90),
    "orange": (240, 150, 50),
    "black pen": (25, 25, 30),
    "black border": (0, 0, 0),
    "shadow": (190, 190, 190),
}


@pytest.mark.parametrize("ink", INKS.values(), ids=INKS)
def test_ink_is_no_tissue(ink):
    """Ink and borders are left out, beside tissue and alone on the glass; the tissue stays."""
    found = tissue_mask(thumbnail(HE, ink=ink), MPP)
    assert found[INK].mean() < 0.01 and found[TISSUE].mean() > 0.97
    assert tissue_mask(thumbnail(HE, ink=ink, tissue=NOWHERE), MPP).mean() < 0.001


def test_glass_alone_and_tissue_alone():
    """Empty glass has no tissue, and a slide without glass is all tissue: the threshold adapts within bounds."""
    assert not tissue_mask(thumbnail(HE, tissue=NOWHERE), MPP).any()
    assert not tissue_mask(np.full((50, 60, 3), 255, np.uint8), MPP).any()
    assert not tissue_mask(np.zeros((50, 60, 3), np.uint8), MPP).any()
    assert tissue_mask(thumbnail(HE, tissue=~NOWHERE), MPP).mean() > 0.99


def test_specks_are_dropped_and_holes_filled():
    """Dust below 100 um goes; a hole below 100 um in tissue closes; a core of a needle biopsy stays."""
    tissue = TISSUE.copy()
    tissue[110:118, 140:148] = False
    tissue[220:226, 20:26] = True
    tissue[20:230, 290:300] = True
    found = tissue_mask(thumbnail(HE, tissue=tissue), MPP)
    assert found[110:118, 140:148].all() and not found[215:232, 10:40].any() and found[22:228, 291:299].mean() > 0.97


@pytest.mark.parametrize("mpp", [2.0, 4.0, 16.0, 32.0])
def test_resolution_changes_little(mpp):
    """The share of tissue is the same on finer and coarser thumbnails."""
    picture = thumbnail(HE)
    factor = mpp / MPP
    scaled = ndimage.zoom(picture, (1 / factor, 1 / factor, 1), order=1)
    assert abs(tissue_mask(scaled, mpp).mean() - TISSUE.mean()) < 0.02


def test_tissue_of_a_real_slide(real_slide):
    """On the real H&E slide what is stained is found, and what is glass is not."""
    with open_slide(real_slide) as slide:
        picture, mpp = slide.thumbnail(MPP)
    found = tissue_mask(picture, mpp)
    saturation = np.ptp(ndimage.uniform_filter(picture.astype(float), (5, 5, 0)), axis=2)
    assert found[saturation > 45].mean() > 0.98 and found[saturation < 8].mean() < 0.02
