"""Views of a batch, made on the batch's device, every random number keyed by (seed, epoch, id, view)."""

from .image_crops import RandImageCrops, RandImageCropsd
from .token_crops import CenterTokenCrop, CenterTokenCropd, RandTokenCrops, RandTokenCropsd
from .token_image import TokenImage, TokenImaged
from .token_shift import RandTokenShift, RandTokenShiftd, slide_statistics

__all__ = [
    "CenterTokenCrop",
    "CenterTokenCropd",
    "RandImageCrops",
    "RandImageCropsd",
    "RandTokenCrops",
    "RandTokenCropsd",
    "RandTokenShift",
    "RandTokenShiftd",
    "TokenImage",
    "TokenImaged",
    "slide_statistics",
]
