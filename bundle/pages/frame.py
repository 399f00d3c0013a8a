"""What all pages share: one file that needs nothing else, no script, no font, no file beside it."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..cohort import shown_values
from ..core import BundleError, write_text
from .style import STYLE

_log = logging.getLogger(__name__)

# slide id -> RGB uint8 [h, w, 3], alone or with its um/px, or None where there is no such slide
SlidePicture = Callable[[str], Any]
# slide id, x, y, side (level-0 px) -> RGB uint8 [h, w, 3], or None where there is no such slide
RegionPicture = Callable[[str, float, float, float], NDArray[np.uint8] | None]


def html_page(title: str, body: str, style: str = "") -> str:
    """A page as text.

    Args:
        title: of the window; escaped here.
        body: HTML.
        style: CSS beside the common one.
    """
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{escape(title)}</title><style>{STYLE}{style}</style>"
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def write_page(path: Path, page: str) -> Path:
    """Write it; a reader sees the old page or the new one, nothing between. Returns ``path``.

    Raises:
        BundleError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, page)
    except OSError as error:
        raise BundleError(f"the page {path} cannot be written: {error.strerror}. Choose another output_dir.") from error
    _log.info("written: %s", path)
    return path


def percent(share: float) -> str:
    """A share in [0, 1] in words; one that is not 0 is never shown as 0."""
    return "below 1 %" if 0 < share <= 0.005 else f"{100 * share:.0f} %"


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


def described(values: Mapping[str, str]) -> str:
    """A slide's row of the slide table as HTML, ``column value``, see :func:`bundle.cohort.shown_values`."""
    return ", ".join(f"{escape(name)} <b>{escape(value)}</b>" for name, value in shown_values(values).items())
