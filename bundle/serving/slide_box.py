"""The part of a slide that a request is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..core import BundleError, as_number

Corners = tuple[float, float, float, float]


class SlideBox(NamedTuple):
    """A rectangle in level-0 px: x of ``left`` to ``right``, y of ``top`` to ``bottom``."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def of_request(cls, request: Mapping[str, Any], width: int, height: int) -> SlideBox:
        """The box that a MONAI Label request names, cut off at the slide's border.

        Args:
            request: ``location`` (x, y) and ``size`` (width, height), both in level-0 px; a size of [0, 0], or none,
                is the whole slide. Other keys, ``level`` and ``tile_size`` among them, do not matter here.
            width, height: of the slide, level-0 px.

        Raises:
            BundleError: the box has no area, lies beside the slide, or is not made of two times two numbers.
        """
        x, y = _pair(request.get("location"), "location")
        box_width, box_height = _pair(request.get("size"), "size")
        if box_width == 0 and box_height == 0 and x == 0 and y == 0:
            return cls(0, 0, width, height)
        asked = f"location [{x:g}, {y:g}] and size [{box_width:g}, {box_height:g}]"
        if box_width <= 0 or box_height <= 0:
            raise BundleError(
                f"the request's box has no area: {asked}. Give a width and a height above 0 in level-0 px, or location "
                "[0, 0] and size [0, 0] for the whole slide."
            )
        box = cls(max(x, 0), max(y, 0), min(x + box_width, width), min(y + box_height, height))
        if box.left >= box.right or box.top >= box.bottom:
            raise BundleError(
                f"the request's box lies beside the slide: {asked}, and the slide has {width} x {height} px. Give both "
                "in level-0 px."
            )
        return box

    def clip(self, left: float, top: float, right: float, bottom: float) -> Corners | None:
        """What of a rectangle lies inside, or None where nothing does."""
        inside = (max(left, self.left), max(top, self.top), min(right, self.right), min(bottom, self.bottom))
        return inside if inside[0] < inside[2] and inside[1] < inside[3] else None


def _pair(value: Any, name: str) -> tuple[float, float]:
    if value is None:
        return 0.0, 0.0
    try:
        first, second = (as_number(number, name) for number in value)
    except (TypeError, ValueError) as error:
        raise BundleError(f"the request's {name} is {value!r}; give two numbers in level-0 px.") from error
    return first, second
