"""The head that goes along: a protocol that was evaluated, learned once more from all patients, and saved."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..core import CONTRACT_ATTRIBUTES, BundleError, as_whole, check_folder
from ..heads import Head, HeadRecord, Tensors, check_head_path, name_key, save_head
from ..networks import weights_name
from ..storage import TokenDataset
from .features.harmonized_features import BY_SITE, HarmonizedFeatures
from .features.pooled_features import PooledFeatures
from .features.stored_features import EmbeddingFiles
from .findings import MAIN_METRIC, Evaluation, Method, Predictions, Result
from .metrics.calibration import temperature_of, threshold_of
from .patient_rows import EvaluationRows
from .protocols.inputs import Bags, Inputs, SlideProtocol, Vectors

_log = logging.getLogger(__name__)
_OfAMethod = TypeVar("_OfAMethod", Predictions, Result)
_FEATURES = {Vectors.kind: "region_embedding", Bags.kind: "regions"}
_OF_THE_ENCODER = ("region_encoder", "encoder", "mpp", "region_size_px", "patch_size_px", *CONTRACT_ATTRIBUTES)


class HeadRefit:
    """Learns the protocol from all patients and saves it, after the evaluation; one of the evaluation's reports.

    Threshold and temperature come from the predictions of held-out patients of the same method, with the largest share
    of training patients: the head itself has seen everybody.

    Args:
        protocol: name of the one to save; None: nothing is saved.
        path: ``.safetensors``; a ``.json`` lies beside it.
        features: of the cohort's slides.
        rows: patients and targets.
        dataset: what the features were made from.
        protocols: all there are; those that can be kept have a method ``learn``.
        encoder: name of the region encoder; None: the first one.
        encoders: files of weights by name.
        use_features, use_protocols: what is evaluated, which the head has to be among.
        harmonize: of the evaluation.
        seed: of the training.

    Raises:
        BundleError: there is no such protocol, encoder or feature, or it is not evaluated; sites of new slides would
            have to be known; the folder cannot be written to.
    """

    def __init__(
        self,
        protocol: str | None,
        path: str | Path,
        features: PooledFeatures,
        rows: EvaluationRows,
        dataset: TokenDataset | EmbeddingFiles,
        protocols: Sequence[SlideProtocol],
        *,
        encoder: str | None = None,
        encoders: Mapping[str, str | Path] | None = None,
        use_features: Sequence[str] = tuple(_FEATURES.values()),
        use_protocols: Sequence[str] | None = None,
        harmonize: str | None = None,
        seed: int = 0,
    ) -> None:
        self.protocol: SlideProtocol | None = None
        if protocol is None:
            return
        self.path, self.features, self.rows, self.dataset = check_head_path(path), features, rows, dataset
        self.harmonize, self.seed = harmonize, as_whole(seed, "seed")
        self.protocol = _chosen(protocol, protocols, rows.task)
        self.kind = next(_FEATURES[kind] for kind in self.protocol.takes if kind in _FEATURES)
        for name, given, what in ((protocol, use_protocols, "protocols"), (self.kind, use_features, "features")):
            asked = [given] if isinstance(given, str) else given
            if asked is not None and name not in asked:
                raise BundleError(
                    f"save_head is {protocol}, which takes {self.kind}, but {what} are {', '.join(asked)}: a head is "
                    f"saved of what is evaluated; add {name} to --{what}."
                )
        if harmonize in BY_SITE or (harmonize and self.kind == _FEATURES[Vectors.kind]):
            raise BundleError(
                f"save_head is {protocol} and harmonize {harmonize}: a head meets slides of sites that it does not "
                "know, and the mean of a centered slide is 0. Leave --harmonize out, or give center_slide with mil."
            )
        self.encoder = _encoder_name(encoder, features)
        self.fingerprint = _fingerprint(self.encoder, dataset, dict(encoders or {}))
        check_folder(self.path.parent, "the head", "head_path")

    def __call__(self, found: Evaluation) -> Head | None:
        """Refit and save; None where nothing is to be saved."""
        if self.protocol is None:
            return None
        inputs, n_classes = self._inputs(), len(self.rows.classes)
        tensors = self.protocol.learn(inputs, self.rows.targets, n_classes, self.seed)  # type: ignore[attr-defined]
        record = self._record(found, inputs, tensors)
        head = save_head(record, tensors, self.path)
        _log.info(
            "the head %s (%s, %d patients) is saved; apply it with configs/inference.yaml --head %s",
            self.path, record.protocol, len(record.patients), self.path,
        )  # fmt: skip
        return head

    def _inputs(self) -> Inputs:
        patients, features = self.rows.patients, self.features
        if self.harmonize is not None:
            everybody = np.arange(len(patients.units))
            features = HarmonizedFeatures(features, self.harmonize, patients.members, patients.sites, everybody)
        return features.of_patients(self.encoder, self.kind, patients.members)

    def _held_out(self, found: Evaluation) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Patients (rows) and scores when they were not learned from, of this method at its largest share.

        A patient comes as often as splits test it.
        """
        ours = self._at_its_largest_share(found.predictions)
        return np.concatenate([p.rows for p in ours]), np.concatenate([p.scores for p in ours])

    def _at_its_largest_share(self, found: Sequence[_OfAMethod]) -> list[_OfAMethod]:
        """Of results or predictions those of this method, with the most training patients."""
        ours = [each for each in found if each.method[:3] == self._method(1.0)[:3]]
        share = max(each.method.train_fraction for each in ours)
        return [each for each in ours if each.method.train_fraction == share]

    def _method(self, share: float) -> Method:
        assert self.protocol is not None
        return Method(self.encoder, self.kind, self.protocol.name, share)

    def _record(self, found: Evaluation, inputs: Inputs, tensors: Tensors) -> HeadRecord:
        rows, is_survival = self.rows, self.rows.task == "survival"
        tested, scores = self._held_out(found)
        targets = rows.targets[tested]
        threshold, temperature = None, None if is_survival else temperature_of(targets, scores)
        if len(rows.classes) == 2:
            threshold = threshold_of(targets == 1, scores[:, 1])
        record = HeadRecord(
            protocol=self._method(1.0).protocol,
            task=rows.task,
            label=rows.label,
            classes=rows.classes,
            features=self.kind,
            dim=inputs.values.shape[-1],  # type: ignore[union-attr]
            harmonize=self.harmonize,
            encoder=self.fingerprint,
            threshold=threshold,
            temperature=temperature,
            held_out=len(np.unique(tested)),
            patients=sorted(map(name_key, dict.fromkeys(rows.patient_of or rows.patients.units))),
            slides=sorted(name_key(slide) for group in rows.patients.slides for slide in group),
            figures=self._metrics(found),
            seed=self.seed,
            bundle_version=__version__,
        )
        if not is_survival:
            return record
        bags = [self._bag(inputs, row) for row in range(len(inputs))]
        return record.at(float(np.median(Head(record, tensors).of_bags(bags))))

    def _bag(self, inputs: Inputs, row: int) -> NDArray[np.float32]:
        return inputs.take(np.array([row])).values  # type: ignore[union-attr]

    def _metrics(self, found: Evaluation) -> dict[str, list[float | None]]:
        """The main metric of the method, at the largest share, with its interval."""
        result, metric = self._at_its_largest_share(found.results)[0], MAIN_METRIC[self.rows.task]
        return {metric: [None if math.isnan(value) else value for value in result.summary[metric][:3]]}


def _chosen(name: str, protocols: Sequence[SlideProtocol], task: str) -> SlideProtocol:
    able = {p.name: p for p in protocols if task in p.tasks and hasattr(p, "learn")}
    if name not in able:
        raise BundleError(f"save_head is {name!r}; for {task} give one of {', '.join(able)}.")
    return able[name]


def _encoder_name(asked: str | None, features: PooledFeatures) -> str:
    able = [name for name in features.names if "region_embedding" in features.kinds(name)]
    if not able or (asked is not None and asked not in able):
        raise BundleError(
            f"a head is saved of a region encoder's embeddings: head_encoder is {asked!r}, there are "
            f"{', '.join(able) or 'none'} (tokens and slide vectors of others are none that inferring makes)."
        )
    return able[0] if asked is None else asked


def _fingerprint(
    name: str, dataset: TokenDataset | EmbeddingFiles, encoders: Mapping[str, str | Path]
) -> dict[str, Any]:
    """What embedding files of this encoder record of where they come from."""
    if isinstance(dataset, EmbeddingFiles):
        recorded = dict(dataset.attributes)
    else:
        if name not in encoders:
            raise BundleError(f"the encoder {name} has no file of weights, by which a head would know it.")
        header = dataset.headers[0]
        recorded = {**header.attributes, "encoder": header.encoder, "mpp": header.mpp}
        recorded["region_encoder"] = weights_name(encoders[name])
    return {key: recorded[key] for key in _OF_THE_ENCODER if key in recorded}
