"""Attention over the regions, or the patch tokens, of a patient puts patients into the order of their events."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .cox import check_informative
from .mil_training import Loss, MILTraining


class SurvivalMIL(MILTraining):
    """Gated attention whose output is a log hazard, but for a constant, under Cox's partial likelihood of a step.

    Hazards of periods of time (Zadeh and Schmid, TPAMI 2020), which need no patients to compare with, were tried, too.
    On planted cohorts of 110 training patients, of whom .3 or .6 had the event, their concordance is .46 to .73 with
    four periods, that of the partial likelihood .75 to .79, and that of the planted hazard .80 to .84.

    Args:
        batch_size: patients in a step, who are compared with one another.
        options: further ones of :class:`MILTraining`.

    Raises:
        BundleError: when called: no event among the training patients, after which nobody else was still watched.
    """

    name: ClassVar[str] = "mil_survival"
    tasks: ClassVar[tuple[str, ...]] = ("survival",)

    def __init__(self, batch_size: int = 32, **options: Any) -> None:
        super().__init__(batch_size=batch_size, **options)

    def _loss(self, targets: NDArray[Any]) -> Loss:
        targets = np.asarray(targets, np.float64)
        check_informative(targets, "MIL for survival")
        # ranks say who was watched when, and are exact on devices without float64
        time = torch.from_numpy(np.unique(targets[:, 0], return_inverse=True)[1]).to(self.device)
        event = torch.from_numpy(targets[:, 1] > 0).to(self.device)

        def loss(risk: Tensor, rows: Tensor) -> Tensor:
            return partial_likelihood_loss(risk[:, 0], time[rows], event[rows])

        return loss


def partial_likelihood_loss(risk: Tensor, time: Tensor, event: Tensor) -> Tensor:
    """Minus Cox's log partial likelihood, a mean over the events; 0 without one. Equal times as Breslow has them.

    Args:
        risk: log hazards [n].
        time: to the event or to the end of observation, [n].
        event: whether it was seen, bool [n].
    """
    is_watched = time >= time[:, None]  # the one of a column at the time of the one of a row
    at_risk = risk.expand(len(risk), -1).masked_fill(~is_watched, -torch.inf).logsumexp(1)
    return ((at_risk - risk) * event).sum() / event.sum().clamp(min=1)
