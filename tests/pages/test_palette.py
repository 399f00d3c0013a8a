"""Colors of prototypes can be told apart, by color-blind readers too."""

from pathlib import Path

import numpy as np
import pytest

from bundle.pages import NO_PROTOTYPE, OKABE_ITO, prototype_colors
from scripts.bench import report
from scripts.bench.learning import plot

# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision deficiency", 2009
VISION = {
    "all cones": np.eye(3),
    "no red cones": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green cones": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "no blue cones": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colors, vision):
    """CIELAB of sRGB colors, uint8 [n, 3], as these eyes see them."""
    shares = colors / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    xyz = (linear @ np.asarray(vision).T).clip(0, 1) @ TO_XYZ.T / TO_XYZ.sum(1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def nearest(colors, vision):
    """Least distance between two of the colors."""
    points = lab(colors, vision)
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return apart[np.triu_indices(len(points), 1)].min()


@pytest.mark.parametrize("vision", VISION)
def test_seven_prototypes_and_none_can_be_told_apart(vision):
    """No two of the colors come near each other, whichever cones are missing."""
    assert nearest(np.concatenate([prototype_colors(7), [NO_PROTOTYPE]]), VISION[vision]) > 10


def test_a_prototypes_color_does_not_depend_on_their_number():
    """21 colors differ; a color stays when more prototypes come; then they repeat."""
    assert len(np.unique(prototype_colors(21), axis=0)) == 21
    np.testing.assert_array_equal(prototype_colors(30)[:4], prototype_colors(4))
    np.testing.assert_array_equal(prototype_colors(30)[21:], prototype_colors(9))
    assert prototype_colors(0).shape == (0, 3)


@pytest.mark.parametrize("module", [report, plot])
def test_pictures_of_benchmarks_take_the_palettes_colors(module):
    """They had copies of its values, which would have stayed behind a change of it."""
    text = Path(module.__file__).read_text()
    assert [name for name, color in OKABE_ITO.items() if color.lower() in text.lower()] == []
    assert set(module._COLORS.values()) & set(OKABE_ITO.values())
