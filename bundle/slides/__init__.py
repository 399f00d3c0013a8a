"""Whole-slide images: readers, regions, patches, tissue."""

from .grid import RegionGrid, region_grid
from .opening import MPP_FROM_DEFAULT, MPP_FROM_FILE, MPP_FROM_TABLE, open_slide
from .patches import PatchDataset
from .pictures import RegionPictures, Thumbnails
from .regions import SlideRegions, plan_slide, read_patches
from .roi import roi_mask
from .settings import ReadSettings
from .slide import Slide
from .slide_reading import SlideReading
from .tissue import tissue_mask

__all__ = [
    "MPP_FROM_DEFAULT",
    "MPP_FROM_FILE",
    "MPP_FROM_TABLE",
    "PatchDataset",
    "ReadSettings",
    "RegionGrid",
    "RegionPictures",
    "Slide",
    "SlideReading",
    "SlideRegions",
    "Thumbnails",
    "open_slide",
    "plan_slide",
    "read_patches",
    "region_grid",
    "roi_mask",
    "tissue_mask",
]
