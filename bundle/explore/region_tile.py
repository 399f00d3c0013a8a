"""Regions as tiles of a page; ``region_tile.html`` beside it shows them."""

from __future__ import annotations

from typing import NamedTuple

from ..pages import RegionPicture, jpeg_uri
from .search.answer import RegionPlace


class Tile(NamedTuple):
    """A region and its picture, as a data URI; empty where there is none."""

    place: RegionPlace
    picture: str = ""


def region_tile(place: RegionPlace, pictures: RegionPicture | None, px: int, quality: int = 80) -> Tile:
    """A region with its picture where it has one, at most ``px`` on a side; ``quality``: of the JPEG."""
    picture = None if pictures is None else pictures(place.slide_id, place.x, place.y, place.size)
    return Tile(place, "" if picture is None else jpeg_uri(picture, px, quality))
