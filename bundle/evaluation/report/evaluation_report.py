"""``report.html``: what a slide-level evaluation found, for readers."""

from __future__ import annotations

from pathlib import Path

from ...pages import SlidePicture, write_page
from ..findings import Evaluation
from .evaluation_page import evaluation_page


class EvaluationReport:
    """Call with an :class:`Evaluation`: writes ``report.html``, one file that needs nothing beside it.

    Args:
        output_dir: folder of the file; made where it is missing.
        thumbnails: slide id -> RGB uint8 [h, w, 3], alone or with its um/px (``bundle.slides.Thumbnails``), or None
            where the slide is not at hand. Without it errors are listed without pictures.
        title: heading of the page.
    """

    def __init__(
        self, output_dir: str | Path, thumbnails: SlidePicture | None = None, title: str = "Slide-level evaluation"
    ) -> None:
        self.path = Path(output_dir) / "report.html"
        self.thumbnails = thumbnails
        self.title = title

    def __call__(self, evaluation: Evaluation) -> Path:
        """Write the page; a reader sees the old one or the new one, nothing between.

        Returns:
            Where it is.

        Raises:
            BundleError: it cannot be written.
        """
        return write_page(self.path, evaluation_page(evaluation, self.title, self.thumbnails))
