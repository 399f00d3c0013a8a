"""The engine that evaluates encoders at slide level."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from .. import __version__
from ..cohort import Split, SplitFile, duplicates_across, find_duplicates, fraction_of
from ..core import BundleError, Progress, as_number, as_whole, check_folder, meeting, sole_run
from .evaluation_statistics import comparisons, results
from .features.pooled_features import FEATURES, KIND_OF, POOLED, SLIDE_VECTOR, USUAL_FEATURES, PooledFeatures
from .features.split_features import SplitFeatures, vectors_of
from .findings import MAIN_METRIC, Evaluation, Method, Predictions
from .patient_rows import EvaluationRows
from .pooling.pooling import Pooling, pooled
from .prediction_store import PredictionStore
from .protocols.inputs import Inputs, SlideProtocol
from .robustness import robustness

_log = logging.getLogger(__name__)
_FEW_TESTED = 10  # patients; a metric of fewer takes few values


class _Way(NamedTuple):
    """A method for any share of the training patients."""

    encoder: str
    features: str
    protocol: SlideProtocol


class SlideEvaluation:
    """Every encoder, kind of features, protocol and share of the training patients, on the same splits by patient.

    A method is left out where its protocol does not take the task or the features. Finished predictions are kept under
    ``output_dir/predictions`` by a hash of what they depend on.

    Args:
        features: of the cohort's slides.
        rows: patients and targets.
        splits: of the patients, and the sentences that they are worth.
        protocols: objects of :mod:`bundle.evaluation.protocols`.
        output_dir: where everything goes.
        use_features: which of "mean_token", "region_embedding", "regions", "prototypes" and "patch_tokens", and of what
            ``pooling`` gives; "slide_vector" is used wherever it is brought.
        use_protocols: names of protocols, of which those of another task are passed over; None: all.
        train_fractions: shares of the training patients to learn from, in (0, 1].
        n_bootstrap: resamples of a fixed test set.
        pooling: objects of :mod:`bundle.evaluation.pooling`, by the names of the features that they make.
        harmonize: "center_slide", "center_site" or "combat", learned from the training patients of each split, see
            :class:`~bundle.evaluation.features.split_features.SplitFeatures`; None: features as they are.
        robustness_k: neighbors of the robustness index in tables.
        seed: of shares, protocols and resamples.
        n_seeds: trainings of a protocol that is random, with ``seed``, ``seed + 1``, ...; its metrics are means.
        reports: called with the finished :class:`~bundle.evaluation.Evaluation`, one after the other.
        settings: what the run was asked for, for the reports.

    Raises:
        BundleError: an unknown name, a share outside its range, no method left, a folder that cannot be written to, a
            split without the sites that ``harmonize`` learns from.
    """

    def __init__(
        self,
        features: PooledFeatures,
        rows: EvaluationRows,
        splits: SplitFile,
        protocols: Sequence[SlideProtocol],
        output_dir: str | Path,
        use_features: Sequence[str] = USUAL_FEATURES,
        use_protocols: Sequence[str] | None = None,
        *,
        train_fractions: Sequence[float] = (0.25, 1.0),
        n_bootstrap: int = 2000,
        pooling: Sequence[Pooling] = (),
        harmonize: str | None = None,
        robustness_k: int = 5,
        seed: int = 0,
        n_seeds: int = 1,
        reports: Sequence[Callable[[Evaluation], Any]] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.features, self.rows, self.splits, self.reports = features, rows, splits, reports
        self.train_fractions = _fractions(train_fractions)
        self.n_bootstrap, self.seed = as_whole(n_bootstrap, "n_bootstrap", 100), as_whole(seed, "seed")
        self.n_seeds = as_whole(n_seeds, "n_seeds", 1)
        self.settings = dict(settings or {})
        self._pooling = {pool.name: pool for pool in pooling}
        self._robustness_k = as_whole(robustness_k, "robustness_k", 1)
        self._for_splits = SplitFeatures(features, rows.patients, splits.splits, harmonize)
        known = [kind for kind in FEATURES if kind not in POOLED or kind in self._pooling]
        use_features = _known(use_features, known, "features")
        names = [p.name for p in protocols]
        use_protocols = _known(names if use_protocols is None else use_protocols, names, "protocols")
        self._ways = [
            _Way(encoder, kind, protocol)
            for protocol in (p for p in protocols if p.name in use_protocols and rows.task in p.tasks)
            for encoder in features.names
            for kind in self._for_splits.kinds(encoder)
            if kind in (*use_features, SLIDE_VECTOR) and KIND_OF[kind] in protocol.takes
        ]
        asked, left = (
            {kind for name in features.names for kind in kinds_of(name)} & set(use_features)
            for kinds_of in (features.kinds, self._for_splits.kinds)
        )
        self._gone = [f"harmonize is {harmonize}: there are no {kind}." for kind in sorted(asked - left)]
        if not self._ways:
            able = ", ".join(f"{p.name} ({', '.join(p.takes)})" for p in protocols if rows.task in p.tasks)
            raise BundleError(
                f"nothing to evaluate: for {rows.task} there are the protocols {able}; got features "
                f"{', '.join(use_features)} and protocols {', '.join(use_protocols)}. {' '.join(self._gone)}".rstrip()
            )
        self._store = PredictionStore(check_folder(output_dir, "results", "output_dir") / "predictions")

    def run(self) -> Evaluation | None:
        """Evaluate, and hand the findings to the reports.

        Of several processes of torchrun all embed, and the first one does the rest; None for the others.

        Raises:
            BundleError: copies of a slide on both sides of a split; embeddings or results that cannot be made; another
                run writes to the folder.
        """
        together = meeting()
        which = (0, 1) if together is None else (together.rank, together.size)
        with sole_run(self._store.folder.parent, "evaluation", "output_dir", *which):
            if which[0] == 0:
                return self._evaluate()
            self.features.embed()
            return None

    def _evaluate(self) -> Evaluation:
        found = self._start()
        self.features.embed()
        found.predictions = self._predict()
        found.results = results(found, self.n_bootstrap, self.seed)
        found.comparisons = comparisons(found, self.n_bootstrap, self.seed)
        self._look_at_all(found)
        for report in self.reports:
            report(found)
        _log.info("\n%s", _summary(found))
        return found

    def _look_at_all(self, found: Evaluation) -> None:
        """Vectors of all patients for pictures, harmonized as of the first split, and how robust they are."""
        members, rounds = self.rows.patients.members, self._for_splits.rounds()
        for name in self.features.names:
            vectors = vectors_of(rounds[0].features, name, members)
            if vectors is not None:
                found.slide_vectors[name] = vectors[1]
        found.robustness = robustness(rounds, members, found, self._robustness_k, self.n_bootstrap, self.seed)

    def _start(self) -> Evaluation:
        """The evaluation before anything is predicted, with all that a reader should be warned of."""
        rows, splits = self.rows, self.splits.splits
        patients = rows.patients
        notes = [*rows.notes, *self._gone, *self.splits.notes, *self._for_splits.notes, *self._duplicates()]
        n_tested = [len(split.test) for split in splits]
        if min(n_tested) < _FEW_TESTED:
            notes.append(
                f"The smallest test set has {min(n_tested)} patients: its metrics take few values, and intervals over "
                "such sets are rough."
            )
        overlap = self._overlap(notes)
        for note in notes:
            _log.warning("%s", note)
        return Evaluation(
            task=rows.task,
            label=rows.label,
            classes=rows.classes,
            units=patients.units,
            slides=patients.slides,
            targets=rows.targets,
            sites=patients.sites,
            splits=list(splits),
            split_kind=self.splits.kind,
            warnings=notes,
            pretraining_overlap=overlap,
            patient_of=rows.patient_of,
            unit=rows.unit,
            patient_overlap=self.splits.overlap,
            settings=self.settings,
        )

    def _duplicates(self) -> list[str]:
        copies = find_duplicates(self.features.fingerprints())
        slides = self.rows.patients.slides
        crossing = duplicates_across(copies, self.splits.splits, slides)
        if crossing:
            raise BundleError(
                f"{len(crossing)} groups of slides have the same tokens and stand on both sides of a split, such as "
                f"{' and '.join(crossing[0])}: what is learned from one would be tested on its copy. Give them the "
                "same patient in the slide table, or remove the copies."
            )
        used = {slide for group in slides for slide in group}
        copies = [group for group in copies if len(used & set(group)) > 1]
        return [f"slides have the same tokens: {', '.join(group)}." for group in copies]

    def _overlap(self, notes: list[str]) -> dict[str, list[str]]:
        """Slides of each encoder's pre-training that are tested on."""
        tested = {row for split in self.splits.splits for row in split.test.tolist()}
        slides = sorted({slide for row in tested for slide in self.rows.patients.slides[row]})
        found = {}
        for name, seen in self.features.pretraining.items():
            if seen is None:
                has_weights = self.features.kinds(name) != [SLIDE_VECTOR]
                why = " (its weights have no .json beside them)" if has_weights else ""
                notes.append(
                    f"Which slides {name} was pre-trained on is not known{why}: whether it was trained on test slides "
                    "cannot be told."
                )
            elif shared := sorted(set(seen) & set(slides)):
                found[name] = shared
                _log.warning("%s was pre-trained on %d of the %d slides tested on", name, len(shared), len(slides))
        return found

    def _predict(self) -> list[Predictions]:
        found = []
        total = len(self._ways) * len(self.train_fractions) * len(self.splits.splits)
        # thousands of small fits, in which threads wait for one another: several times the time on two busy cores
        with threadpool_limits(1), Progress(total=total, desc="protocols", unit="fit") as bar:
            for way in self._ways:
                of_way = []
                for inputs, splits in self._for_splits.inputs(way.encoder, way.features):
                    key = self._store.key(*inputs.arrays())
                    for split, fraction in product(splits, self.train_fractions):
                        of_way.append(self._predict_split(way, inputs, key, fraction, split))
                        bar.update()
                found += sorted(of_way, key=lambda predicted: predicted.method.train_fraction)
        return found

    def _predict_split(self, way: _Way, inputs: Inputs, key: str, fraction: float, split: Split) -> Predictions:
        method = Method(way.encoder, way.features, way.protocol.name, fraction)
        train = fraction_of(split.train, self.rows.targets, fraction, self.seed)
        n_seeds = self.n_seeds if getattr(way.protocol, "is_random", False) else 1
        try:
            scores = [self._scores(way, inputs, key, train, split, self.seed + i) for i in range(n_seeds)]
        except BundleError as error:
            raise BundleError(f"{split.name}, {100 * fraction:g} % of the training patients: {error}") from error
        return Predictions(method, split.name, split.test, scores[0], len(train), scores[1:])

    def _scores(
        self, way: _Way, inputs: Inputs, key: str, train: NDArray[np.int64], split: Split, seed: int
    ) -> NDArray[np.float64]:
        targets, n_classes, protocol = self.rows.targets[train], len(self.rows.classes), way.protocol
        pooling = self._pooling.get(way.features)
        how = () if pooling is None else pooling.settings
        how += (type(protocol).__qualname__, sorted(vars(protocol).items()), n_classes, seed, __version__)
        name = self._store.key(key, train, targets, split.test, *how)
        scores = self._store.get(name)
        if scores is None:
            learned, tested = pooled(inputs.take(train), inputs.take(split.test), pooling)
            scores = protocol(learned, targets, tested, n_classes, seed)
            self._store.put(name, scores)
        return scores


def _fractions(values: Sequence[float]) -> list[float]:
    if isinstance(values, str | float | int) or len(values) == 0:
        raise BundleError(f"train_fractions is {values!r}; give a list of shares, such as [0.25, 1.0].")
    found = sorted({as_number(value, "train_fractions", 0, 1) for value in values})
    if found[0] == 0:
        raise BundleError(f"train_fractions is {values!r}; a share of 0 learns from nobody.")
    return found


def _known(chosen: Sequence[str], known: Sequence[str], what: str) -> list[str]:
    names = [chosen] if isinstance(chosen, str) else list(chosen)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise BundleError(f"{what} is {chosen!r}; choose from {', '.join(known)}.")
    return names


def _summary(found: Evaluation) -> str:
    """The main metric of every method, a line each."""
    metric = MAIN_METRIC[found.task]
    both = f", {len(found.on_both_sides)} patients on both sides of a split" if found.patient_overlap else ""
    lines = [f"{metric} of {found.label}, {len(found.units)} {found.unit}s{both}:"]
    for result in found.results:
        value, low, high, *_ = result.summary[metric]
        name = ", ".join([*result.method[:3], f"{100 * result.method.train_fraction:g} %"])
        lines.append(f"  {name:<50} {value:.3f} [{low:.3f}, {high:.3f}]")
    return "\n".join(lines)
