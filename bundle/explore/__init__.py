"""A cohort to look at: maps, search, atlas."""

from .atlas.atlas_page import AtlasReport
from .atlas.atlas_sheets import AtlasSheets
from .atlas.cohort_atlas import CohortAtlas
from .atlas.record import Atlas, AtlasKind, AtlasSlide, letters
from .maps.attention_pictures import AttentionPictures
from .maps.geojson import QuPathGeoJson, QuPathTokens
from .maps.heat_map import HeatMapTiff
from .maps.layers import LAYERS, Layer, slide_layers
from .maps.map_request import MapRequest
from .maps.overlay import OverlayPng
from .maps.projector import RegionProjector
from .maps.prototype_map import PrototypePictures, draw_prototypes
from .maps.slide_maps import SlideMaps
from .maps.token_raster import TokenRaster
from .maps.volumes import NiftiMaps
from .search.answer import PrototypePair, RegionPlace, SearchAnswer, SimilarRegions, SimilarSlide
from .search.index import SearchIndex
from .search.indexer import Indexer, IndexUpdate
from .search.nearest import NearestSlides
from .search.neighbors_files import NeighborsFiles
from .search.neighbors_page import NeighborsReport
from .search.query import Query, read_queries
from .search.searcher import Searcher
from .search.where import Where

__all__ = [
    "Atlas",
    "AtlasKind",
    "AtlasReport",
    "AtlasSheets",
    "AtlasSlide",
    "AttentionPictures",
    "CohortAtlas",
    "HeatMapTiff",
    "IndexUpdate",
    "Indexer",
    "LAYERS",
    "Layer",
    "MapRequest",
    "NearestSlides",
    "NeighborsFiles",
    "NeighborsReport",
    "NiftiMaps",
    "OverlayPng",
    "PrototypePair",
    "PrototypePictures",
    "QuPathGeoJson",
    "QuPathTokens",
    "Query",
    "RegionPlace",
    "RegionProjector",
    "SearchAnswer",
    "SearchIndex",
    "Searcher",
    "SimilarRegions",
    "SimilarSlide",
    "SlideMaps",
    "TokenRaster",
    "Where",
    "draw_prototypes",
    "letters",
    "read_queries",
    "slide_layers",
]
