"""Names a partial collapse: prototypes have made all targets soft and alike."""

import logging
import math
from collections.abc import Mapping

import ignite.distributed as idist

_log = logging.getLogger(__name__)
# Share of a uniform teacher's entropy. On planted cohorts runs that learn well reach .93 with prototypes, and rise
# towards it as much without them, so that neither a rise nor .9 is a fault.
_NEAR_UNIFORM = 0.94
_RISE = 0.1  # nats above the entropy before prototypes: DINO may be that soft by itself
_ALIKE = 0.1  # the three terms differ by at most this share of their mean
_PATIENCE = 2  # epochs in a row
_TRY = (
    "Regions are pulled to nearly one soft target; the run may come back from it or not. Try --prototype_center_start "
    "views, --prototype_temperature match, --prototype_ramp_epochs, --koleo_weight, lower --intra_weight and "
    "--inter_weight, a smaller --out_dim, or --centering sinkhorn with a --sinkhorn_queue (docs/equations.md)."
)


class SofteningWatch:
    """Warns once where prototypes have made targets nearly uniform, and the three terms one.

    With prototypes that are alike, and alike to the views, ``L_self``, ``L_intra`` and ``L_inter`` are one number: it
    is the entropy of the one target that is left, and a little more. A teacher that has collapsed to a point or to
    uniform shows in its spread or its entropy; here both may look healthy.

    Args:
        out_dim: width of the last layer; ``log(out_dim)`` is the entropy of a uniform teacher.

    Attributes:
        entropy_before: teacher's entropy in the last epoch without prototypes, nats, clearly above which it has to
            lie; None where this run has seen none (a resumed one).
        soft_epochs: how many of them in a row until now.
        is_named: whether it has warned.
    """

    def __init__(self, out_dim: int) -> None:
        self.uniform = math.log(out_dim)
        self.entropy_before: float | None = None
        self.soft_epochs = 0
        self.is_named = False

    def __call__(self, record: Mapping[str, float]) -> None:
        """Look at the record of an epoch."""
        if "intra_entropy" not in record:
            self.entropy_before = record["teacher_entropy"]
            return
        self.soft_epochs = self.soft_epochs + 1 if self._is_soft(record) else 0
        if self.soft_epochs < _PATIENCE or self.is_named:
            return
        self.is_named = True
        if idist.get_rank() == 0:
            _log.warning("%s", self._words(record))

    def _is_soft(self, record: Mapping[str, float]) -> bool:
        terms = [record[name] for name in ("self", "intra", "inter") if record[name] > 0]  # 0: no such targets
        are_alike = len(terms) > 1 and max(terms) - min(terms) <= _ALIKE * sum(terms) / len(terms)
        entropy = record["teacher_entropy"]
        return are_alike and entropy >= max(_NEAR_UNIFORM * self.uniform, (self.entropy_before or 0.0) + _RISE)

    def _words(self, record: Mapping[str, float]) -> str:
        entropy = record["teacher_entropy"]
        before = "" if self.entropy_before is None else f" ({math.exp(self.entropy_before):.0f} before prototypes)"
        return (
            f"the targets have softened: for {self.soft_epochs} epochs each spreads over about {math.exp(entropy):.0f} "
            f"of {math.exp(self.uniform):.0f} outputs{before}, and the terms are one: self {record['self']:.2f}, intra "
            f"{record['intra']:.2f}, inter {record['inter']:.2f}. {_TRY}"
        )
