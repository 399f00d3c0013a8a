"""What a run over slides is asked to read, made sure of before the first slide is opened."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from ..core import SettingError, SlideError, as_bool, as_number, as_whole
from .backend import MAX_MPP, MIN_MPP
from .opening import READERS, open_slide
from .slide import Slide
from .tissue import TISSUE_RULE

_MAX_ENLARGE = 1.25
_EQUAL = 1 + 1e-6


class ReadSettings(NamedTuple):
    """How slides are read; see :func:`~bundle.slides.open_slide` and :func:`~bundle.slides.plan_slide`.

    Attributes:
        wsi_reader: auto, cucim, openslide or tifffile.
        mpp: um/px at which patches are read.
        default_mpp: um/px of slides whose file and table name none.
        max_enlarge: how many times finer than a slide's finest level ``mpp`` may be.
        region_patches: patches P on a region's side.
        patch_size: pixels p on a patch's side.
        min_tissue: least share of tissue in a tissue patch, in [0, 1].
        min_tissue_patches: tissue patches that a region needs.
        keep_fat: fat is tissue; see :func:`~bundle.slides.tissue_mask`.
    """

    wsi_reader: str = "auto"
    mpp: float = 0.5
    default_mpp: float | None = None
    region_patches: int = 16
    patch_size: int = 256
    min_tissue: float = 0.1
    min_tissue_patches: int = 8
    max_enlarge: float = _MAX_ENLARGE
    keep_fat: bool = True

    @property
    def sizes(self) -> dict[str, Any]:
        """What a region is, as :func:`~bundle.slides.read_patches` takes it."""
        return {"mpp": self.mpp, "patch_size": self.patch_size, "region_patches": self.region_patches}

    @property
    def kept(self) -> dict[str, Any]:
        """Which regions are kept, as :func:`~bundle.slides.plan_slide` takes it."""
        names = ("min_tissue", "min_tissue_patches", "keep_fat")
        return {name: getattr(self, name) for name in names}

    @property
    def tissue(self) -> dict[str, Any]:
        """Which regions are kept, as token files record it: with the number of the rule that found the tissue."""
        return {**self.kept, "tissue_rule": TISSUE_RULE}

    def open(
        self, path: str | Path, mpp: float | None = None, slide_id: str | None = None, section: int | None = None
    ) -> Slide:
        """Open a slide; ``mpp`` is what the slide table says, see :func:`~bundle.slides.open_slide`."""
        return open_slide(
            path, reader=self.wsi_reader, mpp=mpp, default_mpp=self.default_mpp, slide_id=slide_id, section=section
        )

    def check_enlarging(self, slide: Slide) -> None:
        """Refuse a slide that is much coarser than what is asked for: enlarging adds px, and no detail.

        Raises:
            SlideError: it would be enlarged by more than ``max_enlarge``.
        """
        times = slide.mpp / self.mpp
        if times > self.max_enlarge * _EQUAL:
            raise SlideError(
                f"slide {slide.slide_id} ({slide.path.name}): its finest level has {slide.mpp:g} um/px, asked for are "
                f"{self.mpp:g}: it would be enlarged {times:.3g} times, which adds no detail, and max_enlarge allows "
                f"{self.max_enlarge:g}. Leave it out, read all slides at a coarser --mpp, or pass --max_enlarge "
                f"{math.ceil(times * 100) / 100:g}."
            )

    def checked(self) -> "ReadSettings":
        """The same as numbers, each within its range.

        A mistake here would otherwise be found once a slide, and look like a fault of all slides. What is None is not
        given, and as it is by default.

        Raises:
            SettingError: a setting is out of its range; the message names it.
        """
        if self.wsi_reader not in READERS:
            raise SettingError(f"wsi_reader is {self.wsi_reader!r}; choose one of {', '.join(READERS)}.")
        default = self.default_mpp
        open_sizes = ("mpp", "patch_size", "region_patches")
        own = self._replace(**{n: self._field_defaults[n] for n in open_sizes if getattr(self, n) is None})
        return ReadSettings(
            self.wsi_reader,
            as_number(own.mpp, "mpp", MIN_MPP, MAX_MPP, "um/px"),
            None if default is None else as_number(default, "default_mpp", MIN_MPP, MAX_MPP, "um/px"),
            as_whole(own.region_patches, "region_patches", 1),
            as_whole(own.patch_size, "patch_size", 1),
            as_number(self.min_tissue, "min_tissue", 0, 1),
            as_whole(self.min_tissue_patches, "min_tissue_patches"),
            as_number(self.max_enlarge, "max_enlarge", 1, MAX_MPP / MIN_MPP, "times"),
            as_bool(self.keep_fat),
        )
