"""Whether, when and for whom prototypes join a training run, as it can be known before the first epoch."""

from typing import NamedTuple

import torch
from torch import Tensor

from .bank import PrototypeBank

PLAIN_DINO = 1_000_000  # epochs of warm-up, and more, by which plain DINO is asked for


class Outlook(NamedTuple):
    """What a run will do with prototypes.

    Attributes:
        slides: that have enough regions.
        regions: of these slides.
        prototypes: of all of them, at most.
        all_slides, all_regions: that the run has.
        most_regions: of a slide.
    """

    slides: int
    regions: int
    prototypes: int
    all_slides: int
    all_regions: int
    most_regions: int

    @classmethod
    def of(cls, bank: PrototypeBank, slide_index: Tensor, n_slides: int) -> "Outlook":
        """Count the regions that will be clustered, by the bank's own rule.

        Args:
            bank: has ``min_regions``, ``n_prototypes`` and, where not all are, the regions that are clustered.
            slide_index: slide of each region, int64 [N].
            n_slides: S.
        """
        clustered = slide_index if bank.chosen is None else slide_index[bank.chosen.to(slide_index.device)]
        counts = torch.bincount(clustered, minlength=n_slides)
        enough = counts[counts >= bank.min_regions]
        n_prototypes = int(enough.clamp(max=bank.n_prototypes).sum())
        return cls(len(enough), int(enough.sum()), n_prototypes, n_slides, len(slide_index), int(counts.max()))


def never_begins(max_epochs: float, warmup_epochs: float) -> str:
    """Why SLPD does not begin in so many epochs; empty: it does, or plain DINO was asked for (:data:`PLAIN_DINO`)."""
    if max_epochs > int(warmup_epochs) or warmup_epochs >= PLAIN_DINO:
        return ""
    return (
        f"SLPD never begins in this run: max_epochs is {max_epochs:g}, and the first {int(warmup_epochs)} epochs "
        "(prototype_warmup_epochs) are plain DINO. Raise max_epochs or lower prototype_warmup_epochs; where plain DINO "
        f"is wanted, prototype_warmup_epochs {PLAIN_DINO} says so."
    )
