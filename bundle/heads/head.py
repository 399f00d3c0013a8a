"""A fitted head at work: scores of bags of regions, what regions say, and whether slides are such as it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from ..cohort import center_groups
from ..core import BundleError
from ..storage import Provenance, SlideEmbeddings
from .record import CENTER_SLIDE, HeadRecord, name_key
from .scorers import AttentionScorer, Floats, RowScorer, Tensors

SCORERS: dict[str, type[RowScorer] | type[AttentionScorer]] = {
    **dict.fromkeys(("linear", "mlp", "cox"), RowScorer),
    **dict.fromkeys(("mil", "mil_survival"), AttentionScorer),
}
HIGH, LOW = "high", "low"


class RegionScores(NamedTuple):
    """What the regions of a slide say: ``scores`` [R, C], as of a slide, and ``weights`` [R], 1 in sum.

    But for a network with a hidden layer, the outputs of a slide are the mean of those of its regions under these
    weights: all alike for vectors, attention for bags.
    """

    scores: Floats
    weights: Floats


class Head:
    """A head as it was saved.

    Args:
        record: where it comes from.
        tensors: its numbers, see :class:`RowScorer` and :class:`AttentionScorer`.
        path: of its file, for messages.

    Raises:
        ValueError, KeyError: the numbers are none of this protocol, or do not fit the record.
    """

    def __init__(self, record: HeadRecord, tensors: Tensors, path: str | Path = "head") -> None:
        self.record, self.path = record, Path(path)
        self._scorer = SCORERS[record.protocol](tensors)
        n_outputs = 1 if record.is_survival else len(record.classes)
        if (self._scorer.dim, self._scorer.n_outputs) != (record.dim, n_outputs):
            raise ValueError(
                f"its numbers take {self._scorer.dim} values and give {self._scorer.n_outputs}, its record says "
                f"{record.dim} and {n_outputs}"
            )
        self._patients, self._slides = set(record.patients), set(record.slides)

    @property
    def tensors(self) -> Tensors:
        """Its numbers, by name."""
        return self._scorer.tensors

    @property
    def groups(self) -> list[str]:
        """What a slide may be called: classes, or low and high risk."""
        return [LOW, HIGH] if self.record.is_survival else self.record.classes

    @property
    def labels(self) -> list[str]:
        """The same as viewers show it: classes, or "Risk low" and "Risk high"."""
        return [f"Risk {name}" for name in self.groups] if self.record.is_survival else self.groups

    def scores(self, slides: Sequence[SlideEmbeddings]) -> Floats:
        """Probabilities [C], or the risk [1], of one patient with all these slides."""
        return self.of_bags([np.concatenate([self._features(slide) for slide in slides])])[0]

    def of_bags(self, bags: Sequence[NDArray[np.float32]]) -> Floats:
        """Probabilities [n, C], or risks [n, 1], of n bags of regions [m, dim], m at least 1.

        Regions are taken as they come: what ``harmonize`` says was done before.
        """
        sizes = np.array([len(bag) for bag in bags], np.int64)
        return self._scores(self._scorer.of_bags(np.concatenate(bags), sizes))

    def of_regions(self, slide: SlideEmbeddings) -> RegionScores:
        """What each region of a slide says by itself, and how much it counts."""
        outputs, weights = self._scorer.of_regions(self._features(slide))
        return RegionScores(self._scores(outputs), weights)

    def called(self, scores: Floats) -> NDArray[np.int64]:
        """Places in ``groups`` of what rows of scores [n, C] are called, [n]."""
        threshold = self.record.threshold
        if threshold is None:
            return scores.argmax(1)
        return (scores[:, -1] >= threshold).astype(np.int64)

    def calibrated(self, scores: Floats) -> Floats | None:
        """Probabilities [n, C] at the temperature under which held-out patients were most likely; None without one."""
        if self.record.temperature is None:
            return None
        with np.errstate(divide="ignore"):  # a probability of 0 stays 0
            return softmax(np.log(scores) / self.record.temperature, axis=1)

    def has_seen(self, patient: str, slide_id: str) -> bool:
        """Whether it was trained on this patient, or on a slide of this id."""
        return name_key(patient) in self._patients or name_key(slide_id) in self._slides

    def misfit(self, attributes: Mapping[str, Any], dim: int) -> str:
        """Why embeddings are none that it may be applied to, in words; empty where they are.

        Args:
            attributes: what their file records.
            dim: length of a region's embedding.
        """
        if dim != self.record.dim:
            return f"it takes embeddings of length {self.record.dim}, these have {dim}"
        learned = self.record.encoder
        difference = Provenance.of(learned).difference(Provenance.of(attributes))
        if not difference and learned.get("region_size_px") != attributes.get("region_size_px"):
            difference = f"regions of {learned.get('region_size_px')} and {attributes.get('region_size_px')} px"
        return f"its embeddings and these are of {difference}" if difference else ""

    def insist(self, slide: SlideEmbeddings) -> None:
        """Make sure that it may be applied to a slide.

        Raises:
            BundleError: its embeddings are of another encoder, resolution or length, or it has no region.
        """
        why = self.misfit(slide.attributes, slide.features.shape[1]) if len(slide) else "the slide has no region"
        if why:
            raise BundleError(f"the head {self.path} cannot be applied to slide {slide.slide_id}: {why}.")

    def insist_on_classes(self, classes: Sequence[str] | None) -> None:
        """Make sure that it tells the classes apart that somebody asks for; None asks for none.

        Raises:
            BundleError: it tells others apart, or none.
        """
        wanted = None if classes is None else [str(name) for name in classes]
        if wanted is not None and sorted(wanted) != sorted(self.record.classes):
            has = ", ".join(self.record.classes) or "no classes but risks"
            raise BundleError(
                f"the head {self.path} tells {has} apart, asked for are {', '.join(wanted)}: give another --head, or "
                "other --classes."
            )

    def _features(self, slide: SlideEmbeddings) -> NDArray[np.float32]:
        values = slide.features
        if self.record.harmonize == CENTER_SLIDE:
            return center_groups(values, np.zeros(len(values), np.int64)).astype(np.float32)
        return values

    def _scores(self, outputs: Floats) -> Floats:
        return outputs if self.record.is_survival else softmax(outputs, axis=1)
