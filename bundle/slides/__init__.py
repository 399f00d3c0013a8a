"""Whole-slide images: readers, regions, patches, tissue."""

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
    "SlideReading",
    "SlideRegions",
    "Thumbnails",
    "open_slide",
    "read_patches",
    "tissue_mask",
]
