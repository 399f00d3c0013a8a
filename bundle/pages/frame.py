"""What all pages share: one file that needs nothing else, no script, no font, no file beside it.

Browsers are told so by the frame's content security policy: whatever came into a page, nothing in it runs or is asked
for from elsewhere.
"""

from __future__ import annotations

import base64
import io
import logging
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from .result_texts import write_results

_log = logging.getLogger(__name__)
_HERE = Path(__file__).parent

# slide id -> RGB uint8 [h, w, 3], alone or with its um/px, or None where there is no such slide
SlidePicture = Callable[[str], Any]
# slide id, x, y, side (level-0 px) -> RGB uint8 [h, w, 3], or None where there is no such slide
RegionPicture = Callable[[str, float, float, float], NDArray[np.uint8] | None]


def render(folder: Path, template: str, **values: Any) -> str:
    """A template, filled in; every value is escaped.

    Templates may extend ``frame.html``, the frame of all pages with the common style sheet: it wants a ``title`` and
    has the blocks ``style`` (CSS beside the common one) and ``body``.

    Args:
        folder: of the template, beside the code that fills it in.
        template: file name.
        values: records, lists, numbers and words by the names that the template calls them; one that it misses is an
            error.
    """
    return _templates(folder).get_template(template).render(values)


@cache
def _templates(folder: Path) -> Environment:
    loader = FileSystemLoader([folder, _HERE])
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["percent"], made.filters["cosine"] = percent, cosine
    return made


def write_page(path: Path, page: str) -> Path:
    """Write it; a reader sees the old page or the new one, nothing between. Returns ``path``.

    Raises:
        BundleError: it cannot be written.
    """
    write_results(path.parent, {path.name: page})
    _log.info("written: %s", path)
    return path


def percent(share: float) -> str:
    """A share in [0, 1] in words; one that is not 0 is never shown as 0."""
    return "below 1 %" if 0 < share <= 0.005 else f"{100 * share:.0f} %"


def cosine(value: float) -> str:
    """A cosine with the digits that tell it from 1: two of what it lacks, three to six in all."""
    lacking = max(1 - value, 1e-6)
    return f"{value:.{min(max(3, 1 - math.floor(math.log10(lacking))), 6)}f}"


def slide_uri(pictures: SlidePicture | None, slide_id: str, max_px: int) -> str:
    """A slide's picture within a page, see :func:`jpeg_uri`; empty where there is none."""
    found = None if pictures is None else pictures(slide_id)
    return "" if found is None else jpeg_uri(found[0] if isinstance(found, tuple) else found, max_px)


def jpeg_uri(rgb: NDArray[np.uint8], max_px: int, quality: int = 80) -> str:
    """A picture within a page: JPEG as a data URI, at most ``max_px`` on a side.

    Args:
        rgb: uint8 [h, w, 3].
        max_px: longest side; larger pictures are reduced.
        quality: of the JPEG, 1 to 95.
    """
    image = Image.fromarray(np.asarray(rgb, np.uint8))
    image.thumbnail((max_px, max_px))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
