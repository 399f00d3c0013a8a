"""Which regions training draws."""

from __future__ import annotations

from torch import Tensor

from ..core import BundleError, as_number
from ..storage import TokenDataset


def trained_regions(dataset: TokenDataset, min_region_tissue: float = 0.0) -> Tensor | None:
    """Regions with tissue in at least a share of their patches, ascending int64 [n]; None: all are.

    The others are no part of a training step, nor of a slide's clusters. They are embedded, evaluated and shown as
    before.

    Args:
        dataset: its masks say where tissue is.
        min_region_tissue: the share, in [0, 1]; 0 leaves out none.

    Raises:
        SettingError: no share.
        BundleError: no region has so much.
    """
    least = as_number(min_region_tissue, "min_region_tissue", 0.0, 1.0)
    if least == 0:
        return None
    shares = dataset.masks.flatten(1).double().mean(1)
    chosen = (shares >= least).nonzero()[:, 0]
    if len(chosen) == 0:
        raise BundleError(
            f"min_region_tissue is {least:g}, and no region has so much: the fullest has {float(shares.max()):.3f}. "
            "Lower it."
        )
    return chosen
