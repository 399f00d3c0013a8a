"""Whole-slide images: readers, regions, patches, tissue."""

from .finding import find_slides, section_named
from .grid import RegionGrid
from .images import SlideImage
from .local_copies import LocalCopies
from .opening import MPP_FROM_DEFAULT, MPP_FROM_TABLE, open_slide
from .patches import PatchDataset
from .pictures import RegionPictures, Thumbnails
from .recognizing import recognized
from .regions import SlideRegions, SlideTissue, find_tissue, grid_over, read_patches
from .settings import ReadSettings
from .slide import Slide
from .slide_reading import SlideReading
from .tissue import tissue_mask

__all__ = [
    "LocalCopies",
    "MPP_FROM_DEFAULT",
    "MPP_FROM_TABLE",
    "PatchDataset",
    "ReadSettings",
    "RegionGrid",
    "RegionPictures",
    "Slide",
    "SlideImage",
    "SlideReading",
    "SlideRegions",
    "SlideTissue",
    "Thumbnails",
    "find_slides",
    "find_tissue",
    "grid_over",
    "open_slide",
    "read_patches",
    "recognized",
    "section_named",
    "tissue_mask",
]
