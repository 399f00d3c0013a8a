"""Is a slide's class the class of its neighbors? The quickest look at what an encoder has learned."""

from collections.abc import Sequence
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from torch import Tensor

from ...core import as_whole
from .classification import ClassificationMetrics
from .knn import knn_predict


class SlideKNN(Metric):
    """Leave-one-patient-out kNN over slide embeddings, each the mean over the slide's regions.

    ``compute`` gives the accuracy in [0, 1]; attached as ``name``, it also writes the area under the ROC curve
    (one against the rest for several classes) to ``name`` with ``accuracy`` replaced by ``auc``. Slides without a label
    neither vote nor count. Processes may hold different regions of a slide.

    Args:
        key: entry of the engine's output that is averaged, [B, d]; ``slide`` [B] says whose region it is.
        labels: class of each slide, or None.
        patients: slides of the same patient never vote for each other.
        k: slides that vote, weighted by cosine similarity.
        device: where sums are kept.

    Source: the kNN protocol of HIPT (Chen et al., CVPR 2022), here by leaving out instead of by folds.
    """

    def __init__(
        self,
        key: str,
        labels: Sequence[str | None],
        patients: Sequence[str],
        k: int = 5,
        device: torch.device | str = "cpu",
    ) -> None:
        self.classes = sorted({label for label in labels if label is not None})
        place = {label: i for i, label in enumerate(self.classes)}
        self.targets = torch.tensor([place[label] if label is not None else -1 for label in labels])
        owner = {patient: i for i, patient in enumerate(dict.fromkeys(patients))}
        self.owners = torch.tensor([owner[patient] for patient in patients])
        self.k = as_whole(k, "k_neighbors", 1)
        super().__init__(output_transform=lambda output: (output[key], output["slide"]), device=device)

    def reset(self) -> None:
        """Forget all slides."""
        self._sums: Tensor | None = None
        self._counts = torch.zeros(len(self.targets), device=self._device)

    def update(self, output: tuple[Tensor, Tensor]) -> None:
        """Add the embeddings [B, d] of a batch to their slides' sums."""
        values, slides = (tensor.to(self._device) for tensor in output)
        if self._sums is None:
            self._sums = torch.zeros(len(self.targets), values.shape[1], device=self._device)
        self._sums.index_add_(0, slides, values)
        self._counts.index_add_(0, slides, torch.ones_like(slides, dtype=self._counts.dtype))

    def scores(self) -> tuple[Tensor, Tensor]:
        """Votes [n, classes] that sum to 1, and classes [n], of the labelled slides that have regions.

        A single slide has nobody to vote: NaN.
        """
        assert self._sums is not None, "no batch was seen"
        sums, counts = idist.all_reduce(self._sums.clone()), idist.all_reduce(self._counts.clone())
        used = (counts.cpu() > 0) & (self.targets >= 0)
        embeddings = (sums / counts.clamp(min=1).unsqueeze(1)).cpu()[used]
        owners, targets = self.owners[used], self.targets[used]
        if len(targets) < 2:
            return torch.full((len(targets), len(self.classes)), torch.nan), targets
        same_patient = owners[:, None] == owners[None, :]
        votes = knn_predict(embeddings, targets, embeddings, self.k, n_classes=len(self.classes), exclude=same_patient)
        return votes, targets

    def metrics(self) -> dict[str, float]:
        """Accuracy, AUC and the other metrics of the votes; NaN without two labelled slides, AUC also of one class."""
        votes, targets = self.scores()
        return {name: float(value[0]) for name, value in ClassificationMetrics()(targets, votes).items()}

    def compute(self) -> float:
        """Accuracy in [0, 1]; NaN without labelled slides."""
        return self.metrics()["accuracy"]

    def completed(self, engine: Engine, name: Any) -> None:
        """Write accuracy and area under the curve to the engine's metrics; slides vote once for both."""
        found = self.metrics()
        engine.state.metrics[name] = found["accuracy"]
        if "accuracy" in str(name):
            engine.state.metrics[str(name).replace("accuracy", "auc")] = found["auc"]
