"""Colors that color-blind readers can tell apart, and those of prototypes: the same on every picture, page and file."""

import numpy as np
from numpy.typing import NDArray

# Okabe and Ito, "Color Universal Design", 2008.
OKABE_ITO = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "pink": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
    "black": "#000000",
}
LUMA = (0.299, 0.587, 0.114)  # shares of red, green and blue in how bright a color looks (ITU-R BT.601)
NO_PROTOTYPE = (190, 190, 190)
# Neighbors are far from each other; pink, which resembles stained tissue, and pale yellow come last.
_ORDER = ("blue", "orange", "green", "vermillion", "sky", "pink", "yellow")
_DARKER, _LIGHTER = 0.6, 0.55  # of the way to black is left, of the way to white is gone


def prototype_colors(n: int) -> NDArray[np.uint8]:
    """Colors of ``n`` prototypes, uint8 [n, 3]: seven hues, then the same darker and lighter; they repeat after 21."""
    hues = np.array([[int(OKABE_ITO[name][i : i + 2], 16) for i in (1, 3, 5)] for name in _ORDER], np.float64)
    table = np.concatenate([hues, hues * _DARKER, hues + (255 - hues) * _LIGHTER]).round().astype(np.uint8)
    return table[np.arange(n) % len(table)]
