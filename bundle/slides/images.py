"""What a slide file holds, whoever reads it: its images, what each is for, and which one is the slide."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

SLIDE, LABEL, MACRO, THUMBNAIL = "slide", "label", "macro", "thumbnail"
_WORDS = {
    LABEL: ("label", "barcode"),
    MACRO: ("macro", "overview", "slide photo"),
    THUMBNAIL: ("thumbnail", "thumb", "preview"),
}
_MOST_SCAN_MPP = 4.0  # um/px; cameras of whole slides have 8 and more
_AS_FINE = 1.5  # a scan of the same slide has at most this many times the um/px of the main one
_SECTION_AREA = 0.25


class RefusedFileError(Exception):
    """What the file holds is not to be read as a slide, by whichever reader."""


@dataclass(frozen=True)
class SlideImage:
    """One image of a file.

    Attributes:
        index: its place in the file, as its own standard counts: 0 is the first.
        width, height: px.
        levels: (width, height) of each level that the file declares, finest first.
        role: slide, label, macro or thumbnail; several of role slide are sections of one slide.
        name: what the file calls it; may be empty.
        mpp: um/px in x and y, None where the file does not say.
        channels, bits: samples a px, and bits of each.
        photometric: of its samples, as TIFF calls it, in lower case.
        z: focal planes, or other planes of one size.
        codec: of its tiles, as TIFF calls it, in lower case; empty where it is not known.
    """

    index: int
    width: int
    height: int
    levels: tuple[tuple[int, int], ...]
    role: str = SLIDE
    name: str = ""
    mpp: tuple[float, float] | None = None
    channels: int = 3
    bits: int = 8
    photometric: str = "rgb"
    z: int = 1
    codec: str = ""

    def __str__(self) -> str:
        scale = "" if self.mpp is None else f" at {self.mpp[0]:.4g} um/px"
        name = f" ({self.name})" if self.name else ""
        return f"image {self.index}{name}: {self.role}, {self.width} x {self.height} px{scale}"


def choose(images: Sequence[SlideImage], section: int | None = None) -> SlideImage:
    """The image that is read: the one of role slide, or of several the ``section``-th.

    Raises:
        RefusedFileError: there is none, there are several and no section is given, or not so many.
    """
    slides = [image for image in images if image.role == SLIDE]
    if not slides:
        raise RefusedFileError(f"it holds no image of a slide ({_listed(images)})")
    if section is None and len(slides) > 1:
        raise RefusedFileError(
            f"it holds {len(slides)} sections ({_listed(slides)}): name one, section=0 to {len(slides) - 1}; in a "
            "folder of slides each is a slide of its own"
        )
    if section is not None and not 0 <= section < len(slides):
        raise RefusedFileError(f"it has no section {section}, but {len(slides)}, counted from 0 ({_listed(slides)})")
    return slides[section or 0]


def with_roles(images: Sequence[SlideImage], *, has_sections: bool) -> list[SlideImage]:
    """The same images with their roles, found by name, um/px and size; never by being first.

    Args:
        images: of one file, in its order.
        has_sections: the format tells planes and levels from images of their own, as OME does, so that two of one
            um/px, or two large ones where neither says any, are sections. Elsewhere a slide is one image.
    """
    named = {image.index: role for image in images if (role := _role_of_name(image.name))}
    if len(named) == len(images):  # a name that all share, such as the file's, tells nothing apart
        named = {}
    rest = [image for image in images if image.index not in named]
    main = max(rest, key=lambda image: (_is_scan(image), image.width * image.height), default=None)
    if main is None:
        return list(images)
    return [replace(image, role=named.get(image.index) or _role_beside(main, image, has_sections)) for image in images]


def is_large_beside(main: SlideImage, image: SlideImage) -> bool:
    """Whether an image has at least a quarter of another one's px."""
    return image.width * image.height >= _SECTION_AREA * main.width * main.height


def is_reduced(main: SlideImage, image: SlideImage) -> bool:
    """Whether an image has the shape of another one that is more than 1.5 times as large."""
    ratio = main.width / image.width
    return ratio > 1.5 and abs(main.height / image.height / ratio - 1) < 0.01


def _role_beside(main: SlideImage, image: SlideImage, has_sections: bool) -> str:
    """What an image without a telling name is, beside the slide's main one."""
    if image is main:
        return SLIDE
    other = THUMBNAIL if is_reduced(main, image) else MACRO
    if main.mpp is not None and image.mpp is not None:
        is_section = max(image.mpp) <= _AS_FINE * max(main.mpp)
    else:
        is_section = main.mpp == image.mpp and is_large_beside(main, image) and other is not THUMBNAIL
    return SLIDE if has_sections and is_section else other


def _role_of_name(name: str) -> str:
    for role, words in _WORDS.items():
        if any(re.search(rf"(?<![a-z]){word}(?![a-z])", name.lower()) for word in words):
            return role
    return ""


def _is_scan(image: SlideImage) -> bool:
    return image.mpp is not None and max(image.mpp) <= _MOST_SCAN_MPP


def _listed(images: Sequence[SlideImage]) -> str:
    return "; ".join(map(str, images[:6])) + ("; ..." if len(images) > 6 else "")
