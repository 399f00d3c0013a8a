"""What the samples of a TIFF's page mean, and how they become RGB of 8 bits; what is neither is refused by name."""

import hashlib
import io
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ImageCms

from .backend import WrongReaderError
from .tile_decoder import JPEG, JPEG2000

_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6  # TIFF's PhotometricInterpretation
_JPEG2000_YCBCR = JPEG2000[0]
_SEPARATE = 2
_ASSOCIATED, _UNASSOCIATED = 1, 2
_WHITE = 255
# of bytes, so that YCbCr comes back as it is: none, LZW, deflate (two numbers), PackBits, LZMA, Zstandard
_BYTES_AS_THEY_ARE = (1, 5, 8, 32946, 32773, 34925, 50000)
_REC_601 = (0.299, 0.587, 0.114)
_FULL_RANGE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)
_WAY_OUT = "export it as RGB of 8 bits, or leave it out"


class RefusedColorsError(WrongReaderError):
    """The file is understood, and its colors are none that a slide is read from.

    Args:
        reason: which, and what to do.
        size: (width, height) of the image in px.
    """

    def __init__(self, reason: str, size: tuple[int, int]) -> None:
        super().__init__(reason)
        self.size = size


class PageColors(NamedTuple):
    """How decoded samples of a page become RGB.

    Attributes:
        n_planes: tiles that lie at one place of it, one a sample; 1 where a tile holds all samples.
        is_ycbcr: decoded samples are Y, Cb and Cr.
        palette: RGB of each value, uint8 [n, 3], where samples are places in it.
        n_samples: of a px.
        alpha: TIFF's ExtraSamples of the fourth sample: 1, 2, or 0 where it says nothing and is left out.
        bits: of a sample, 8 or 16.
        is_subsampled: Cb and Cr are fewer than Y, or of an unusual range, in bytes that no image codec made.
    """

    n_planes: int = 1
    is_ycbcr: bool = False
    palette: NDArray[np.uint8] | None = None
    n_samples: int = 3
    alpha: int = 0
    bits: int = 8
    is_subsampled: bool = False

    @property
    def is_plain(self) -> bool:
        """Three samples of 8 bits side by side, which any codec for images gives as RGB."""
        return self.n_samples == 3 and self.bits == 8 and self.n_planes == 1 and self.palette is None

    def to_rgb(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        """Decoded samples [h, w, n] to RGB uint8 [h, w, 3]; what is transparent becomes white.

        Samples of 16 bits are taken for shares of 65,535, as TIFF has it.
        """
        if self.palette is not None:
            return self.palette[samples[..., 0]]
        colors = _in_8_bits(samples)
        rgb = rgb_of_ycbcr(colors) if self.is_ycbcr else colors[..., :3]
        return over_white(rgb, colors[..., 3], self.alpha == _ASSOCIATED) if self.alpha else rgb


def colors_of(page: Any, significant_bits: int | None = None) -> PageColors:
    """What a page's samples mean.

    Args:
        page: ``tifffile.TiffPage``.
        significant_bits: how many of a sample are used, where the file says so beside its tags.

    Raises:
        RefusedColorsError: they are no RGB, or not in a way that is known to be read right.
    """
    refused = _strange_samples(page, significant_bits) or _strange_meaning(page)
    if refused:
        raise RefusedColorsError(refused, (page.imagewidth, page.imagelength))
    extra = [int(value) for value in page.extrasamples]
    is_raw_ycbcr = page.photometric == _YCBCR and page.compression in _BYTES_AS_THEY_ARE
    return PageColors(
        page.samplesperpixel if page.planarconfig == _SEPARATE and page.samplesperpixel > 1 else 1,
        is_raw_ycbcr or page.compression == _JPEG2000_YCBCR,
        _palette(page) if page.photometric == _PALETTE else None,
        page.samplesperpixel,
        extra[0] if extra and extra[0] in (_ASSOCIATED, _UNASSOCIATED) else 0,
        page.bitspersample,
        is_raw_ycbcr and not _is_usual_ycbcr(page),
    )


def _strange_samples(page: Any, significant_bits: int | None) -> str:
    """Why samples of this number, width or kind are not read; empty: they are."""
    n, bits, meaning = page.samplesperpixel, page.bitspersample, _name(page.photometric)
    if page.dtype is None or page.dtype.kind != "u" or bits not in (8, 16):
        kind = {"f": "floating point", "i": "signed"}.get(getattr(page.dtype, "kind", ""), "")
        return f"its samples are {' '.join(f'{kind} numbers of {bits} bits'.split())}: {_WAY_OUT}"
    most = page.tags.get("MaxSampleValue")
    most = [] if most is None else list(np.ravel(most.value))
    if bits == 16 and ((most and max(most) < 65535) or (significant_bits or 16) < 16):
        used = f"{significant_bits} bits" if significant_bits else f"values up to {max(most)}"
        return f"its samples of 16 bits use {used} of them, and how bright white is nobody says: {_WAY_OUT}"
    if page.photometric in (_MINISBLACK, _MINISWHITE) and n > 1:
        return _no_rgb(n)
    if page.photometric in (_RGB, _YCBCR) and (n < 3 or n > 4):
        return f"it has {n} samples a px ({meaning}), and which of them are red, green and blue is unclear: {_WAY_OUT}"
    return ""


def _strange_meaning(page: Any) -> str:
    """Why samples of this meaning are not read; empty: they are."""
    meaning, n = _name(page.photometric), page.samplesperpixel
    if page.photometric in (_MINISBLACK, _MINISWHITE):
        return (
            f"it is a grayscale image ({meaning}): tissue is found by the colors of its stains, and encoders have "
            "learned from them. Scan or export it in color, or import features of another tool (docs/importing.md)"
        )
    if page.photometric == _PALETTE:
        return "" if n == 1 and page.bitspersample == 8 else f"it has a palette for {n} samples a px: {_WAY_OUT}"
    if page.photometric not in (_RGB, _YCBCR):
        return f"its colors are {meaning}, and what they look like depends on a profile: {_WAY_OUT}"
    is_ycbcr = page.photometric == _YCBCR or page.compression == _JPEG2000_YCBCR
    if is_ycbcr and (page.planarconfig == _SEPARATE or n != 3):
        return f"its Y, Cb and Cr lie apart or beside a fourth sample: {_WAY_OUT}"
    if page.photometric == _YCBCR and page.compression not in (*_BYTES_AS_THEY_ARE, JPEG, *JPEG2000):
        how = _name(page.compression)
        return f"it holds {meaning} in {how}, where programs differ in who turns that into RGB: {_WAY_OUT}"
    if page.compression == JPEG and n == 4 and page.planarconfig != _SEPARATE:
        return f"its JPEG tiles have four samples, which programs read in different ways: {_WAY_OUT}"
    return ""


def _no_rgb(n: int) -> str:
    return (
        f"it has {n} channels that are no red, green and blue (fluorescence?): choose channels, give them colors and "
        "export that as RGB of 8 bits, for instance in QuPath, or import features of another tool (docs/importing.md)"
    )


def refuse_channels(n: int, page: Any) -> None:
    """Refuse an image whose channels are ``n`` pages of one sample each.

    Raises:
        RefusedColorsError: there are several.
    """
    if n > 1 and page.samplesperpixel == 1:
        raise RefusedColorsError(_no_rgb(n), (page.imagewidth, page.imagelength))


def _name(photometric: Any) -> str:
    return str(getattr(photometric, "name", photometric))


def _palette(page: Any) -> NDArray[np.uint8]:
    return _in_8_bits(np.asarray(page.colormap, np.uint16)).T.copy()


def _is_usual_ycbcr(page: Any) -> bool:
    """A Cb and a Cr for each px, by Rec. 601, over the whole range."""
    found = {name: page.tags.get(name) for name in ("YCbCrSubSampling", "YCbCrCoefficients", "ReferenceBlackWhite")}
    subsampling, coefficients, reach = (None if tag is None else tag.value for tag in found.values())
    is_whole = subsampling is not None and tuple(subsampling) == (1, 1)  # TIFF's own choice is (2, 2)
    return is_whole and _are(coefficients, _REC_601) and _are(reach, _FULL_RANGE)


def _are(value: Any, expected: tuple[float, ...]) -> bool:
    if value is None:
        return True
    pairs = np.asarray(value, float)
    if len(pairs) == 2 * len(expected):  # TIFF's fractions
        pairs = pairs[::2] / np.maximum(pairs[1::2], 1)
    return len(pairs) == len(expected) and bool(np.allclose(pairs, expected, atol=1e-3))


def _in_8_bits(samples: NDArray[Any]) -> NDArray[np.uint8]:
    return samples if samples.dtype == np.uint8 else ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def rgb_of_ycbcr(ycbcr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Y, Cb, Cr of Rec. 601 over the whole range, uint8 [h, w, 3], to RGB, as JPEG and Aperio's JPEG 2000 have it."""
    y, cb, cr = (ycbcr[..., i].astype(np.float32) - (128 if i else 0) for i in range(3))
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1)
    return np.rint(rgb).clip(0, 255).astype(np.uint8)


def over_white(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], is_premultiplied: bool = False) -> NDArray[np.uint8]:
    """Colors as they look on white paper, rounded.

    Args:
        rgb: uint8 [h, w, 3].
        alpha: 255 where it is opaque, uint8 [h, w].
        is_premultiplied: colors have been multiplied by alpha already.
    """
    share = alpha[..., None].astype(np.uint16)
    if is_premultiplied:
        return np.minimum(rgb + (_WHITE - share), _WHITE).astype(np.uint8)
    return ((rgb * share + _WHITE * (_WHITE - share) + 127) // 255).astype(np.uint8)


def profile_name(profile: bytes | None) -> str:
    """A color profile (ICC) by its name and its contents, for the record; colors are left as they are.

    Returns:
        ``name sha256:...``; empty where there is none.
    """
    if not profile:
        return ""
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        name = "unreadable profile"
    return f"{name or 'profile without a name'} sha256:{hashlib.sha256(profile).hexdigest()}"
