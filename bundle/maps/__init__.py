"""A slide's regions as pictures, and as files for the viewers that people have open."""

from .attention import relative_attention
from .attention_pictures import AttentionPictures
from .geojson import QuPathGeoJson, QuPathTokens
from .heat_map import HeatMapTiff
from .layers import LAYERS, Layer, slide_layers
from .map_request import MapRequest
from .overlay import OverlayPng
from .projector import RegionProjector
from .slide_maps import SlideMaps
from .token_raster import TokenRaster
from .volumes import NiftiMaps

__all__ = [
    "AttentionPictures",
    "HeatMapTiff",
    "LAYERS",
    "Layer",
    "MapRequest",
    "NiftiMaps",
    "OverlayPng",
    "QuPathGeoJson",
    "QuPathTokens",
    "RegionProjector",
    "SlideMaps",
    "TokenRaster",
    "relative_attention",
    "slide_layers",
]
