"""Whole-slide images: readers, regions, patches, tissue."""

from .finding import find_slides, section_named
from .images import SlideImage
from .opening import MPP_FROM_DEFAULT, MPP_FROM_TABLE, open_slide
from .patches import PatchDataset
from .pictures import RegionPictures, Thumbnails
from .regions import SlideRegions, read_patches
from .settings import ReadSettings
from .slide import Slide
from .slide_reading import SlideReading
from .tissue import tissue_mask

__all__ = [
    "MPP_FROM_DEFAULT",
    "MPP_FROM_TABLE",
    "PatchDataset",
    "ReadSettings",
    "RegionPictures",
    "Slide",
    "SlideImage",
    "SlideReading",
    "SlideRegions",
    "Thumbnails",
    "find_slides",
    "open_slide",
    "read_patches",
    "section_named",
    "tissue_mask",
]
