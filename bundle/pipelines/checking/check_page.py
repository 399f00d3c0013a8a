"""What was found in a folder of slides, as one page: problems first."""

from __future__ import annotations

import math
from pathlib import Path

from ...core import as_whole
from ...pages import render, write_page
from .checker import Checks
from .look import Look

_HERE = Path(__file__).parent


class CheckPage:
    """Call with :class:`~bundle.pipelines.checking.checker.Checks`: writes ``check.html``, which needs no other file.

    Args:
        output_dir: folder of the page; made where it is missing.
        title: heading of the page.
        max_slides: slides that are shown with their pictures, about 15 kB each, problems first; all are in the table.
    """

    def __init__(self, output_dir: str | Path, title: str = "Slides, checked", max_slides: int = 500) -> None:
        self.path, self.title = Path(output_dir) / "check.html", str(title)
        self.max_slides = as_whole(max_slides, "max_slides")

    def __call__(self, checks: Checks) -> Path:
        """Write the page, and return where it is.

        Raises:
            BundleError: it cannot be written.
        """
        return write_page(self.path, self.page(checks))

    def page(self, checks: Checks) -> str:
        """The page as text."""
        n_bad, n_odd = len(checks.bad), len(checks.odd)
        shown = checks.looks[: self.max_slides]
        return render(
            _HERE,
            "check.html",
            title=self.title,
            checks=checks,
            tables=checks.tables,
            n_bad=n_bad,
            n_odd=n_odd,
            regions=sum(look.regions or 0 for look in checks.looks if not look.problem),
            tissue_mm2=sum(_tissue_mm2(look) for look in checks.looks if not look.problem),
            groups=[
                ("bad", "With a problem", shown[:n_bad]),
                ("odd", "Odd", shown[n_bad : n_bad + n_odd]),
                ("good", "Good", shown[n_bad + n_odd :]),
            ],
            n_shown=len(shown),
            tissue_of=_tissue_mm2,
            is_known=math.isfinite,
        )


def _tissue_mm2(look: Look) -> float:
    return look.area_mm2 * look.tissue_share if math.isfinite(look.tissue_share) else 0.0
