"""What a head's file says of it, beside its numbers."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

FORMAT = 1
CENTER_SLIDE = "center_slide"
_KIND = "slide_head"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number_or_none(value: Any) -> bool:
    return value is None or isinstance(value, int | float) and not isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_figures(value: Any) -> bool:
    lists = value.values() if isinstance(value, dict) else [None]
    return all(isinstance(each, list) and all(map(_is_number_or_none, each)) for each in lists)


_KINDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("protocol", "task", "label", "features", "bundle_version", "tensors_sha256"), _is_text),
    **dict.fromkeys(("classes", "patients", "slides"), _are_texts),
    **dict.fromkeys(("dim", "held_out", "seed"), _is_whole),
    **dict.fromkeys(("threshold", "temperature"), _is_number_or_none),
    "harmonize": lambda value: value is None or _is_text(value),
    "encoder": lambda value: isinstance(value, dict),
    "figures": _are_figures,
}


@dataclass(frozen=True)
class HeadRecord:
    """Where a head comes from, and what it takes in.

    Attributes:
        protocol: "linear", "mlp", "mil", "cox" or "mil_survival".
        task: "classification", "ordinal" or "survival".
        label: the column that was learned, or "time / event".
        classes: names, in the order of the outputs; empty for survival.
        features: "region_embedding", the mean of a patient's regions, or "regions", the bag of them.
        dim: length of a region's embedding.
        harmonize: "center_slide", regions less the mean of their slide, or None.
        encoder: what embedding files record of the encoders, as far as it says whether embeddings may be compared.
        threshold: of two classes the probability from which on the second one is called; for survival the risk from
            which on it is called high; None: the most probable class is called.
        temperature: by which log probabilities are divided to be calibrated; None where that is not known.
        held_out: patients whose held-out predictions threshold and temperature were taken from.
        patients, slides: hashes of the names of what was trained on, see :func:`name_key`.
        figures: of the evaluation on held-out patients, by name: value, and bounds of its 95 % interval.
        seed: of the training.
        bundle_version: that wrote it.
        tensors_sha256: of the file of numbers.
    """

    protocol: str
    task: str
    label: str
    classes: list[str]
    features: str
    dim: int
    harmonize: str | None
    encoder: dict[str, Any]
    threshold: float | None
    temperature: float | None
    held_out: int
    patients: list[str]
    slides: list[str]
    figures: dict[str, list[float | None]] = field(default_factory=dict)
    seed: int = 0
    bundle_version: str = ""
    tensors_sha256: str = ""

    @property
    def patients_sha256(self) -> str:
        """Of all training patients together: the same for the same patients, in whatever order."""
        return hashlib.sha256("\n".join(sorted(self.patients)).encode()).hexdigest()

    @property
    def is_survival(self) -> bool:
        """Outputs are risks."""
        return self.task == "survival"

    def at(self, threshold: float) -> HeadRecord:
        """The same with another threshold."""
        return replace(self, threshold=threshold)

    def as_json(self) -> dict[str, Any]:
        """For the file."""
        return {"kind": _KIND, "head_version": FORMAT, "patients_sha256": self.patients_sha256, **asdict(self)}

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> HeadRecord:
        """What :meth:`as_json` gave.

        Raises:
            ValueError: it is none of this kind, or of a later version; something is of another type.
            KeyError, TypeError: something is missing.
        """
        if not is_of_a_head(found):
            raise ValueError("it is no head that evaluating has saved")
        if not _is_whole(found["head_version"]) or found["head_version"] > FORMAT:
            raise ValueError(f"it has version {found['head_version']}, this bundle reads up to {FORMAT}: update it")
        values = {each.name: found[each.name] for each in fields(cls)}
        if wrong := [name for name, value in values.items() if not _KINDS[name](value)]:
            raise ValueError(f"its {wrong[0]} is {str(values[wrong[0]])[:60]!r}, which is of another type")
        return cls(**values)


def is_of_a_head(found: Any) -> bool:
    """Whether the contents of a JSON file are what :meth:`HeadRecord.as_json` gave, of whatever version."""
    return isinstance(found, Mapping) and found.get("kind") == _KIND


def name_key(name: str) -> str:
    """A patient's, or a slide's, name as a head keeps it: whether a name is among them can be asked, not read.

    Who guesses names can ask as well; a head is no place to hide them. An accent counts the same in one character or
    two, which file systems and tables write differently.
    """
    return hashlib.sha256(f"slide_head {unicodedata.normalize('NFC', name)}".encode()).hexdigest()[:32]
