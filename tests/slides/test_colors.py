"""Colors: what samples mean is found out and turned into RGB, or refused in words that help."""

import numpy as np
import pytest
import tifffile
from PIL import ImageCms
from pyramids import write_pyramid
from tiny_slides import draw_tissue

from bundle.core import SlideError
from bundle.slides import ReadSettings, SlideRegions, open_slide
from bundle.slides.colors import over_white, profile_name, rgb_of_ycbcr
from scripts.pins.painted import KINDS, READERS, REFUSED, Recipe, draw, faults_of

PLAIN = Recipe(7, "rgb", "none", (231, 187), (1, 2), (64, 48), False, False, False, 0.5, ())
TAGS = {"tile": (64, 64), "resolution": (2e4, 2e4), "resolutionunit": "CENTIMETER", "metadata": None}
APERIO = "Aperio Image Library v1\n320x320 (64x64) J2K|AppMag = 20|MPP = 0.5"


@pytest.mark.parametrize(("kind", "codec"), [(kind, codecs[0]) for kind, codecs in KINDS.items()])
def test_every_kind_of_samples_that_is_read_is_read_right(tmp_path, kind, codec):
    """16 bits, YCbCr, transparency, planes and palettes used to be refused, or shown as if they were RGB."""
    faults, found = faults_of(PLAIN._replace(kind=kind, codec=codec), tmp_path)
    assert faults == [] and {"tifffile", "auto"} <= set(found)


@pytest.mark.parametrize("tile", [(48, 112), (16, 16)])
def test_tiles_that_openslide_opens_and_does_not_decode_go_to_the_next_reader(tmp_path, tile):
    """Without compression, and of no multiple of 1,024 bytes: ``auto`` used to fail, although tifffile reads them."""
    faults, found = faults_of(PLAIN._replace(tile=tile), tmp_path)
    assert faults == [] and found == ["tifffile", "auto"]


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_rgb_is_refused_by_name(tmp_path, kind):
    """By every reader: OpenSlide showed gray, single channels and signed numbers as colors; CMYK and CIELAB, too."""
    assert faults_of(PLAIN._replace(kind=kind), tmp_path) == ([], [])


@pytest.mark.parametrize("seed", range(30))
def test_painted_slides_are_read_as_painted(tmp_path, seed):
    """Colors, codecs, pyramids, tiles and holes at random: right or refused by each reader, right by ``auto``.

    ``scripts/painted`` draws 500.
    """
    assert faults_of(draw(seed), tmp_path)[0] == []


def test_jpeg_2000_in_ycbcr_is_no_rgb(tmp_path):
    """Aperio's 33003: tifffile showed Y, Cb and Cr as red, green and blue; now all readers agree to rounding."""
    stored = np.random.default_rng(0).integers(60, 200, (5, 5, 3)).astype(np.uint8).repeat(64, 0).repeat(64, 1)
    tifffile.imwrite(
        tmp_path / "a.svs",
        stored,
        tile=(64, 64),
        photometric="rgb",
        compression=33003,
        description=APERIO,
        metadata=None,
    )
    for reader in READERS:
        with open_slide(tmp_path / "a.svs", reader=reader) as slide:
            picture = slide.read(0, 0, 320, 320, 0.5)[0]
        assert abs(picture.astype(int) - rgb_of_ycbcr(stored)).max() <= 1


def test_ycbcr_is_that_of_jpeg():
    """Full range, Rec. 601: primary colors come back, gray stays gray, what lies outside is cut off."""
    ycbcr = np.array([[[76, 85, 255], [150, 44, 21], [29, 255, 107], [128, 128, 128], [255, 0, 255]]], np.uint8)
    expected = [[254, 0, 0], [0, 255, 1], [0, 0, 254], [128, 128, 128], [255, 208, 28]]
    assert abs(rgb_of_ycbcr(ycbcr)[0].astype(int) - expected).max() <= 1


def test_transparent_is_white():
    """By share, whether colors were multiplied by it before or not."""
    rgb, alpha = np.array([[[200, 100, 0]] * 3], np.uint8), np.array([[255, 51, 0]], np.uint8)
    assert over_white(rgb, alpha)[0].tolist() == [[200, 100, 0], [244, 224, 204], [255, 255, 255]]
    lit = np.rint(rgb * (alpha[..., None] / 255)).astype(np.uint8)
    assert over_white(lit, alpha, is_premultiplied=True)[0].tolist() == over_white(rgb, alpha)[0].tolist()


@pytest.mark.parametrize("reader", [*READERS, "auto"])
@pytest.mark.parametrize(
    ("samples", "ome", "words"),
    [
        (1, False, "grayscale image .MINISBLACK.: tissue is found by .*Scan or export it in color, or import features"),
        (4, True, "4 channels that are no red, green and blue .fluorescence.*: choose channels, give them colors"),
    ],
)
def test_refusals_say_what_to_do(tmp_path, reader, samples, ome, words):
    """A grayscale slide had "no tissue", and a ROI was advised, which cannot help; of channels the first was shown."""
    picture = draw_tissue()[..., 1]
    picture = np.stack([picture] * samples) if samples > 1 else picture
    how = {**TAGS, "metadata": {"axes": "CYX"}} if ome else TAGS
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=ome) as file:
        file.write(picture, photometric="minisblack", **how)
    with pytest.raises(SlideError, match=f"slide a: a.tif is not read: it (is|has) (a )?{words}"):
        open_slide(tmp_path / "a.tif", reader=reader)


def test_wide_samples_that_are_not_used_whole_are_refused(tmp_path):
    """12 bits of 16 would be nearly black: OME's SignificantBits says so."""
    how = {"photometric": "rgb", "tile": (64, 64)}
    for bits, is_read in ((16, True), (12, False)):
        with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
            file.write(draw_tissue().astype(np.uint16) * 257, **how, metadata={"axes": "YXS", "SignificantBits": bits})
        if is_read:
            with open_slide(tmp_path / "a.ome.tif", default_mpp=0.5) as slide:
                assert (slide.read(0, 0, 320, 320, 0.5)[0] == draw_tissue()).all()
        else:
            with pytest.raises(SlideError, match="samples of 16 bits use 12 bits of them"):
                open_slide(tmp_path / "a.ome.tif", default_mpp=0.5)


@pytest.mark.parametrize("reader", READERS)
def test_a_color_profile_is_recorded_and_left_alone(tmp_path, reader):
    """Its name and contents stand in the token file; pixels are the file's. Without a profile nothing stands there."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    how = ReadSettings(mpp=2.0, patch_size=16, region_patches=4, wsi_reader=reader)
    found = []
    for name, given in (("with", {"iccprofile": profile}), ("without", {})):
        path = write_pyramid(tmp_path / f"{name}.tif", draw_tissue(), 2.0, factors=(1,), tile=(64, 64), **given)
        regions = SlideRegions(how.open(path), how)
        found.append((regions.attributes.get("icc_profile"), regions.slide.read(0, 0, 320, 320, 2.0)[0]))
        regions.close()
    assert found[0][0] == profile_name(profile) and found[0][0].startswith("sRGB built-in sha256:")
    assert found[1][0] is None
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_a_profile_that_is_none_is_named_so():
    """Bytes that no library reads are told apart all the same."""
    assert profile_name(b"abc").startswith("unreadable profile sha256:ba7816bf") and profile_name(b"") == ""
