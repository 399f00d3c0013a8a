"""What a run over slides is asked to read, made sure of before the first slide is opened."""

from typing import NamedTuple

from ..core import SettingError, as_number, as_whole
from .backend import MAX_MPP, MIN_MPP
from .opening import READERS


class ReadSettings(NamedTuple):
    """How slides are read; see :func:`~bundle.slides.open_slide` and :func:`~bundle.slides.plan_slide`."""

    wsi_reader: str
    mpp: float
    default_mpp: float | None
    region_patches: int
    patch_size: int
    min_tissue: float
    min_tissue_patches: int

    def checked(self) -> "ReadSettings":
        """The same as numbers, each within its range.

        A mistake here would otherwise be found once a slide, and look like a fault of all slides.

        Raises:
            SettingError: a setting is out of its range; the message names it.
        """
        if self.wsi_reader not in READERS:
            raise SettingError(f"wsi_reader is {self.wsi_reader!r}; choose one of {', '.join(READERS)}.")
        default = self.default_mpp
        return ReadSettings(
            self.wsi_reader,
            as_number(self.mpp, "mpp", MIN_MPP, MAX_MPP, "um/px"),
            None if default is None else as_number(default, "default_mpp", MIN_MPP, MAX_MPP, "um/px"),
            as_whole(self.region_patches, "region_patches", 1),
            as_whole(self.patch_size, "patch_size", 1),
            as_number(self.min_tissue, "min_tissue", 0, 1),
            as_whole(self.min_tissue_patches, "min_tissue_patches"),
        )
