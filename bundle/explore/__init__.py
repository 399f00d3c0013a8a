"""A cohort to look at: maps, search, atlas."""

from .atlas.atlas_page import AtlasReport
from .atlas.atlas_sheets import AtlasSheets
from .atlas.cohort_atlas import CohortAtlas
from .atlas.record import Atlas, letters
from .maps.attention_pictures import AttentionPictures
from .maps.geojson import QuPathGeoJson, QuPathTokens
from .maps.head_map import HeadGeoJson
from .maps.heat_map import HeatMapTiff
from .maps.layers import slide_layers
from .maps.map_request import MapRequest
from .maps.overlay import OverlayPng
from .maps.projector import RegionProjector
from .maps.prototype_map import PrototypePictures
from .maps.slide_maps import SlideMaps
from .maps.token_raster import TokenRaster
from .maps.volumes import NiftiMaps
from .search.index import SearchIndex
from .search.indexer import Indexer
from .search.nearest import NearestSlides
from .search.neighbors_files import NeighborsFiles
from .search.neighbors_page import NeighborsReport
from .search.query import Query
from .search.searcher import Searcher
from .search.where import Where

__all__ = [
    "Atlas",
    "AtlasReport",
    "AtlasSheets",
    "AttentionPictures",
    "CohortAtlas",
    "HeadGeoJson",
    "HeatMapTiff",
    "Indexer",
    "MapRequest",
    "NearestSlides",
    "NeighborsFiles",
    "NeighborsReport",
    "NiftiMaps",
    "OverlayPng",
    "PrototypePictures",
    "QuPathGeoJson",
    "QuPathTokens",
    "Query",
    "RegionProjector",
    "SearchIndex",
    "Searcher",
    "SlideMaps",
    "TokenRaster",
    "Where",
    "letters",
    "slide_layers",
]
