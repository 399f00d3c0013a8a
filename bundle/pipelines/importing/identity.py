"""What makes features comparable: the encoder, what it was shown, and at which scale. Others never mix with them."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ...core import BundleError, SlideError, encoder_key
from ...storage import TokenHeader, read_token_header


class FeatureKind(NamedTuple):
    """Identity of a slide's features. ``encoder`` has the tool's name beside its own: names are not shared by tools."""

    encoder: str
    dim: int
    patch_px: int


class Kinds:
    """The kind and the scale that all files of one run have.

    Most slides decide, or the files that ``tokens_dir`` has already: a file that differs is refused by name, and it
    does not matter which file comes first.

    Args:
        kinds: of each slide that could be looked at.
        mpps: um/px of each slide's patches.
        tokens_dir: where files of an earlier run may be.
        mpp: um/px by which the folder goes; None: the middle one of all slides.
        tolerance: share by which a slide's um/px may differ from it.

    Raises:
        BundleError: no kind has the majority; the folder has files of several kinds.
    """

    def __init__(
        self,
        kinds: Mapping[str, FeatureKind],
        mpps: Mapping[str, float],
        tokens_dir: Path,
        mpp: float | None,
        tolerance: float,
    ) -> None:
        self.tokens_dir, self.tolerance = tokens_dir, tolerance
        self.before = _first_header(tokens_dir)
        self.kind = _most(list(kinds.values())) if kinds else None
        known = [value for name, value in mpps.items() if kinds.get(name) == self.kind]
        middle = mpp or (float(f"{statistics.median_low(known):.6g}") if known else math.nan)
        self.mpp = middle if self.before is None or mpp else self.before.mpp
        if self.before is not None and self.kind is not None:
            self._compare_with(self.before, self.kind)

    def check(self, name: str, path: Path, kind: FeatureKind, mpp: float) -> None:
        """Refuse a slide of another kind or scale.

        Raises:
            SlideError: it is one.
        """
        if kind != self.kind:
            assert self.kind is not None
            raise SlideError(
                f"slide {name}: {path} holds features of {_words(kind)}, most others here are of {_words(self.kind)}; "
                "they never mix. Import it into a tokens_dir of its own."
            )
        if abs(mpp - self.mpp) > self.tolerance * self.mpp:
            raise SlideError(
                f"slide {name}: its patches were encoded at {mpp:.4g} um/px, the folder goes by {self.mpp:.4g}, and "
                f"mpp_tolerance allows {self.tolerance:.0%}. Encode it again at that scale, or raise --mpp_tolerance."
            )

    def _compare_with(self, before: TokenHeader, kind: FeatureKind) -> None:
        pairs = (
            ("encoder", encoder_key(before.encoder), encoder_key(kind.encoder)),
            ("token length", before.dim, kind.dim),
            ("patch_size_px", int(before.attributes.get("patch_size_px", kind.patch_px)), kind.patch_px),
            ("mpp", before.mpp, self.mpp),
        )
        for what, old, new in pairs:
            if old != new:
                raise BundleError(
                    f"{self.tokens_dir} holds tokens of another kind: {what} is {old} in {before.path.name}, these "
                    f"features have {new}. Choose another tokens_dir."
                )


def _most(kinds: Sequence[FeatureKind]) -> FeatureKind:
    (first, n_first), *others = Counter(kinds).most_common(2)
    if others and others[0][1] == n_first:
        raise BundleError(
            f"as many slides have features of {_words(first)} as of {_words(others[0][0])}; they never mix. Choose one "
            "with --encoder, or give the folder of one kind as dataset_dir."
        )
    return first


def _words(kind: FeatureKind) -> str:
    return f"{kind.encoder} (D = {kind.dim}, patches of {kind.patch_px} px)"


def _first_header(tokens_dir: Path) -> TokenHeader | None:
    for path in sorted(tokens_dir.glob("*.h5")):
        try:
            return read_token_header(path)
        except BundleError:
            continue
    return None
