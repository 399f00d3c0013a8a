"""How much of a slide each prototype stands for."""

import numpy as np
from numpy.typing import NDArray

from ..embeddings import SlideEmbeddings


def prototype_shares(slide: SlideEmbeddings) -> NDArray[np.float64]:
    """Share of the slide's tissue that lies in regions of each prototype, [K]; the sum is 1 where all have one."""
    tokens = slide.mask.sum((1, 2)).astype(np.float64)
    held = slide.assignment >= 0
    sums = np.bincount(slide.assignment[held], tokens[held], minlength=slide.n_prototypes)
    return sums / max(float(tokens.sum()), 1.0)
