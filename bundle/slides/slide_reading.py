"""How a slide was read for what is stored of it, and whether a run would read it in another way by now."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..cohort import SlideRow
from ..core import encoder_key
from .finding import scans_of_ome
from .opening import MPP_FROM_DEFAULT, MPP_FROM_TABLE

_SAMPLE_BYTES = 1 << 16


class SlideReading(NamedTuple):
    """What decides, for one slide, what is read of it, beside the settings that all slides share.

    Attributes:
        path: its file.
        row: what the slide table says: ``mpp``, ``roi``.
        default_mpp: um/px where neither file nor table names any.
    """

    path: Path
    row: SlideRow
    default_mpp: float | None = None

    def record(self) -> dict[str, Any]:
        """What a token file keeps of it, beside the scale (``level0_mpp``, ``mpp_source``)."""
        roi = {} if self.row.roi is None else {"roi": _named(self.row.roi)}
        return {"slide_bytes": self.path.stat().st_size, "slide_sample": _sampled(self.path), **roi}

    def change(self, found: Mapping[str, Any]) -> str:
        """Why what is stored is not what this run would make, in words; empty where nothing speaks against it.

        What this run does not say is no change: tokens made with a slide table are good without it.

        Args:
            found: attributes of a token file, or of embeddings, whose tokens were made by this bundle.
        """
        return self._other_file(found) or self._other_image(found) or self._other_scale(found) or self._other_roi(found)

    def unsaid(self, found: Mapping[str, Any]) -> str:
        """What limits that which is stored although this run does not say so, in words; empty: nothing."""
        is_unsaid = self.row.roi is None and "roi" in found
        return f"a region of interest, {_short(str(found['roi']))}, which this run does not name" if is_unsaid else ""

    def _other_file(self, found: Mapping[str, Any]) -> str:
        try:
            now = self.path.stat().st_size
        except OSError as error:
            return f"its file cannot be read ({error.strerror})"
        then = found.get("slide_bytes", now)
        if then != now:
            return f"its file had {then:,} bytes and has {now:,}"
        sample = found.get("slide_sample", "")
        return "its file has other contents" if sample and sample != _sampled(self.path) else ""

    def _other_image(self, found: Mapping[str, Any]) -> str:
        """Versions that record no image took the first one of an OME-TIFF, whatever it was."""
        size = found.get("level0_width"), found.get("level0_height")
        if "image_index" in found or None in size:
            return ""
        scans = scans_of_ome(self.path)
        if not scans or size in [(image.width, image.height) for image in scans]:
            return ""
        return f"it was read from an image of {size[0]} x {size[1]} px, which is not the slide's ({scans[0]})"

    def _other_scale(self, found: Mapping[str, Any]) -> str:
        then, source = found.get("level0_mpp"), found.get("mpp_source")
        if then is None:
            return ""
        if self.row.mpp is not None:
            now, who = self.row.mpp, "the slide table says"
        elif source == MPP_FROM_DEFAULT and self.default_mpp is not None:
            now, who = self.default_mpp, "default_mpp is"
        else:
            is_withdrawn = source == MPP_FROM_TABLE and "mpp" in self.row.values
            return f"it was read at {then:g} um/px, which the slide table says no more" if is_withdrawn else ""
        return "" if math.isclose(then, now, rel_tol=1e-6) else f"it was read at {then:g} um/px, {who} {now:g}"

    def _other_roi(self, found: Mapping[str, Any]) -> str:
        then = str(found.get("roi", ""))
        if self.row.roi is None:
            is_withdrawn = bool(then) and "roi" in self.row.values
            return f"it was read within {_short(then)}, which the slide table names no more" if is_withdrawn else ""
        now = _named(self.row.roi)
        if encoder_key(then) == encoder_key(now):
            return ""
        before = f"within {_short(then)}" if then else "without"
        return f"its region of interest is {_short(now)}, it was read {before}"


def _sampled(path: Path) -> str:
    """Hash of the first, the middle and the last 64 kB of a file; empty where it is none, or cannot be read."""
    digest = hashlib.sha256()
    try:
        n_bytes = path.stat().st_size
        with path.open("rb") as file:
            for start in (0, n_bytes // 2, max(0, n_bytes - _SAMPLE_BYTES)):
                file.seek(start)
                digest.update(file.read(_SAMPLE_BYTES))
    except OSError:
        return ""
    return digest.hexdigest()


def _named(roi: Path) -> str:
    """A region of interest by its name and its contents, which decide; one that is gone is like no other."""
    try:
        return f"{roi.name} sha256:{hashlib.sha256(roi.read_bytes()).hexdigest()}"
    except OSError as error:
        return f"{roi.name} ({error.strerror})"


def _short(roi: str) -> str:
    """The name, and enough of the hash to tell two files of one name apart."""
    name, mark, digits = roi.partition(" sha256:")
    return f"{name} (sha256 {digits[:8]})" if mark else name
