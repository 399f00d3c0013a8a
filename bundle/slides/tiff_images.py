"""The images of a TIFF, of any vendor: what tifffile finds, with the role and the um/px of each."""

import math
import re
from dataclasses import replace
from typing import Any, NamedTuple

import tifffile

from .backend import Scale
from .images import SLIDE, THUMBNAIL, SlideImage, with_roles
from .tiff_chain import insist_on_end
from .vendor_mpp import scales_of_page

_OME_IMAGE = re.compile(r"<(?:\w+:)?Image\s.*?</(?:\w+:)?Image>", re.DOTALL)
_OME_NAME = re.compile(r'<(?:\w+:)?Image\s[^>]*?\bName="([^"]*)"')
_SAME_SCALE = 0.02


class TiffImage(NamedTuple):
    """An image, tifffile's pages of its levels, finest first, and all that is said of its um/px."""

    image: SlideImage
    pages: list[Any]
    scales: list[Scale]


def tiff_images(file: tifffile.TiffFile) -> list[TiffImage]:
    """List what a file holds, in its order.

    Pages that are smaller copies of the slide's image, in tiles, are its levels and no images, though the file may not
    declare them so. In OME, where two sections may have one shape, only if their um/px say it.

    Raises:
        RefusedFileError: its pages lead in a circle.
    """
    insist_on_end(file)
    try:
        series = list(file.series)
        pages = [[level.keyframe for level in each.levels] for each in series]
    except (KeyError, AttributeError):  # an OME-XML that lacks what the standard asks for
        series, pages = [], [[file.pages.first]]
    is_ome = bool(series) and series[0].kind == "ome"
    texts = _ome_texts(file, [each.name for each in series]) if is_ome else None
    images, scales = [], []
    for index, levels in enumerate(pages):
        text = file.ome_metadata if file.is_ome else None
        scales.append(scales_of_page(levels[0], texts[index] if texts else text))
        images.append(_image(index, series[index] if series else None, levels, scales[index]))
    roles = with_roles(images, has_sections=is_ome)
    if not is_ome:  # where pages of a scanner's other images say any um/px, it is that of the scan
        roles = [image if image.role == SLIDE else replace(image, mpp=None) for image in roles]
    return _with_loose_levels([TiffImage(*each) for each in zip(roles, pages, scales, strict=True)], file, is_ome)


def _image(index: int, series: Any, pages: list[Any], scales: list[Scale]) -> SlideImage:
    first = pages[0]
    n_by_axis = {} if series is None else dict(zip(series.axes, series.shape, strict=True))
    return SlideImage(
        index=index,
        width=first.imagewidth,
        height=first.imagelength,
        levels=tuple((page.imagewidth, page.imagelength) for page in pages),
        name="" if series is None else str(series.name or ""),
        mpp=next(((scale.x, scale.y) for scale in scales if math.isfinite(scale.x + scale.y)), None),
        channels=first.samplesperpixel * n_by_axis.get("C", 1),
        bits=first.bitspersample,
        photometric=getattr(first.photometric, "name", str(first.photometric)).lower(),
        z=math.prod(n for axis, n in n_by_axis.items() if axis not in "CYXS"),
        codec=getattr(first.compression, "name", str(first.compression)).lower(),
    )


def _ome_texts(file: tifffile.TiffFile, names: list[str]) -> list[str]:
    """The part of the OME-XML that is about each image; tifffile leaves out images that it cannot lay out."""
    parts = _OME_IMAGE.findall(file.ome_metadata or "")
    if len(parts) == len(names):
        return parts
    by_name = {found[1]: part for part in parts if (found := _OME_NAME.match(part))}
    return [by_name.get(name, "<none/>") for name in names]


def _with_loose_levels(found: list[TiffImage], file: tifffile.TiffFile, is_ome: bool) -> list[TiffImage]:
    """The slide's image with the levels that are not declared, and without them as images."""
    slides = [i for i, (image, *_) in enumerate(found) if image.role == SLIDE]
    if len(slides) != 1 or len(found[slides[0]].pages) > 1:
        return found
    place = slides[0]
    main, (first,), scales = found[place]
    if is_ome:
        pages = [levels[0] for image, levels, _ in found if _is_scaled_by_um(main, image)]
    else:
        named = [levels[0] for image, levels, _ in found if image.role not in (SLIDE, THUMBNAIL)]
        pages = [page.aspage() if hasattr(page, "aspage") else page for page in file.pages if page is not first]
        pages = [page for page in pages if all(page.offset != other.offset for other in named)]
    loose = sorted((page for page in pages if _is_smaller_copy(first, page)), key=lambda page: -page.imagewidth)
    offsets = {page.offset for page in loose}
    levels = (*main.levels, *((page.imagewidth, page.imagelength) for page in loose))
    found[place] = TiffImage(replace(main, levels=levels), [first, *loose], scales)
    return [each for i, each in enumerate(found) if i == place or each.pages[0].offset not in offsets]


def _is_scaled_by_um(main: SlideImage, image: SlideImage) -> bool:
    """Whether an image has as many times the um/px of another as that has px."""
    if main.mpp is None or image.mpp is None or image is main:
        return False
    return abs(image.mpp[0] / main.mpp[0] / (main.width / image.width) - 1) < _SAME_SCALE


def _is_smaller_copy(first: Any, page: Any) -> bool:
    ratio = first.imagewidth / page.imagewidth
    is_scaled = page.is_tiled and ratio > 1.5 and abs(first.imagelength / page.imagelength / ratio - 1) < 0.01
    return bool(is_scaled and page.samplesperpixel == first.samplesperpixel)
