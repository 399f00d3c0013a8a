"""um/px in every vendor's words, in each axis; what is doubtful is said, what is impossible refused."""

import numpy as np
import pytest
from pyramids import READERS, write_pyramid
from tiny_slides import draw_tissue

from bundle.core import SettingError, SlideError
from bundle.slides import ReadSettings, SlideRegions, open_slide
from bundle.slides.vendor_mpp import scales_of_openslide

PHILIPS = (
    '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport"><Attribute '
    'Name="PIM_DP_SCANNED_IMAGES" PMSVR="IDataObjectArray"><Array>{}</Array></Attribute></DataObject>'
)
IMAGE = (
    '<DataObject ObjectType="DPScannedImage"><Attribute Name="PIM_DP_IMAGE_TYPE" PMSVR="IString">{}</Attribute>'
    '<Attribute Name="DICOM_PIXEL_SPACING" PMSVR="IDoubleArray">{}</Attribute></DataObject>'
)
LABEL, WSI = IMAGE.format("LABELIMAGE", '"0.01" "0.01"'), IMAGE.format("WSI", '"0.00025" "0.000252"')
OME = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image><Pixels {}/></Image></OME>'


def physical(x, unit=None, y=None):
    """An OME-XML."""
    words = [f'PhysicalSizeX="{x}"', f'PhysicalSizeY="{x if y is None else y}"']
    return OME.format(" ".join([*words, *[f'PhysicalSizeXUnit="{unit}" PhysicalSizeYUnit="{unit}"'] * bool(unit)]))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Aperio Image Library v1\n320x320 (64x64)|AppMag = 40|MPP = 0,2510", 0.251),
        ("Aperio Image Library v1\n320x320 (64x64)|AppMag = 40|MPP = 0.2510", 0.251),
        (PHILIPS.format(LABEL + WSI), 0.251),
        ('<iScan Magnification="40" ScanRes="0.251"></iScan>', 0.251),
        (physical(0.251), 0.251),
        (physical(0.251, "&#181;m"), 0.251),
        (physical(251, "nm"), 0.251),
        (physical(2510, "\u00c5").encode(), 0.251),
        (physical(0.251, "\u00b5m").encode(), 0.251),
        (physical(0.000251, "mm"), 0.251),
        (physical(2.51e-5, "cm"), 0.251),
        (physical(2.51e-7, "m"), 0.251),
        (OME.format('PhysicalSizeX="251" PhysicalSizeY="0.251" PhysicalSizeXUnit="nm" PhysicalSizeYUnit="um"'), 0.251),
        (OME.format('PhysicalSizeY="0.251"'), 0.251),
    ],
)
def test_what_vendors_write(tmp_path, reader, said, expected):
    """Philips' mm, Ventana's ScanRes, OME's units from m to Angstrom were unknown, or taken for none."""
    path = write_pyramid(tmp_path / "a.tif", draw_tissue(), None, factors=(1,), tile=(64, 64), description=said)
    with open_slide(path, reader=reader) as slide:
        assert slide.mpp == pytest.approx(expected) and slide.mpp_source == "file" and slide.aspect == (1, 1)


@pytest.mark.parametrize("reader", READERS)
def test_philips_says_rows_first(tmp_path, reader):
    """Each axis its own, as OpenSlide has it: the second number is x."""
    said = PHILIPS.format(IMAGE.format("WSI", '"0.0005" "0.00052"'))
    path = write_pyramid(tmp_path / "a.tif", draw_tissue(), None, factors=(1,), tile=(64, 64), description=said)
    with open_slide(path, reader=reader) as slide:
        assert slide.mpp == pytest.approx(0.5) and slide.aspect == pytest.approx((1.04, 1))


@pytest.mark.parametrize("unit", ["reference frame", "pixel"])
def test_a_unit_that_is_no_length_says_nothing(tmp_path, unit):
    """OME has two of these; where TIFF's tags say more they are believed."""
    how = {"factors": (1,), "tile": (64, 64), "description": physical(0.25, unit)}
    with pytest.raises(SlideError, match=f"resolution .PhysicalSizeX in '{unit}' is no length.*--default_mpp"):
        open_slide(write_pyramid(tmp_path / "a.tif", draw_tissue(), None, **how))
    with open_slide(write_pyramid(tmp_path / "b.tif", draw_tissue(), 0.4, **how)) as slide:
        assert slide.mpp == pytest.approx(0.4)


def test_openslides_properties_stand_for_the_formats_that_it_alone_reads():
    """Hamamatsu, Leica, 3DHISTECH, DICOM; a generic TIFF at 72 dpi says a screen's."""
    said = {"openslide.mpp-x": "0.2267", "openslide.mpp-y": "0.2285", "openslide.vendor": "hamamatsu"}
    assert [scale[1:] for scale in scales_of_openslide(said)] == [(0.2267, 0.2285)]
    assert scales_of_openslide({"openslide.mpp-x": "0.2", "openslide.vendor": "dicom"}) == []
    screen = {"openslide.mpp-x": "352.8", "openslide.mpp-y": "352.8", "openslide.vendor": "generic-tiff"}
    assert scales_of_openslide(screen) == []


@pytest.mark.parametrize("reader", READERS)
def test_fields_that_disagree_are_named(tmp_path, caplog, reader):
    """The vendor's is believed, both numbers are said; within 1 % nothing is."""
    for tags, is_said in ((0.5, True), (0.2515, False)):
        path = write_pyramid(tmp_path / "a.tif", draw_tissue(), tags, factors=(1,), description=physical(0.25))
        caplog.clear()
        with open_slide(path, reader=reader) as slide:
            assert slide.mpp == pytest.approx(0.25)
        said = "slide a: its file says 0.25 x 0.25 um/px in PhysicalSizeX and 0.5 x 0.5 in "
        assert (said in caplog.text) == is_said and bool(caplog.text) == is_said


def test_slides_are_enlarged_a_little_and_no_further(tmp_path, caplog):
    """0.6 um/px are read at 0.5 with a warning; 1 um/px used to be, too, at a quarter of the detail."""
    how = ReadSettings(mpp=0.5, patch_size=32, region_patches=4)
    SlideRegions(open_slide(write_pyramid(tmp_path / "a.tif", draw_tissue(), 0.6, factors=(1,))), how).close()
    assert "slide a is enlarged" in caplog.text
    path = write_pyramid(tmp_path / "b.tif", draw_tissue(), 1.0, factors=(1,))
    with pytest.raises(SlideError, match=r"b.tif.: .*enlarged 2 times.*max_enlarge allows 1.25.*pass --max_enlarge 2"):
        SlideRegions(open_slide(path), how)
    SlideRegions(open_slide(path), how._replace(max_enlarge=2.0)).close()
    with pytest.raises(SettingError, match="max_enlarge is 0.5"):
        how._replace(max_enlarge=0.5).checked()


def test_what_no_slide_has_is_refused(tmp_path):
    """Below 0.05 um/px a unit is wrong: nm were taken for um, or mm written where um were meant."""
    for mpp, is_read in ((0.049, False), (0.051, True), (19.0, True)):
        path = write_pyramid(tmp_path / "a.tif", draw_tissue(), None, factors=(1,), description=physical(mpp))
        if is_read:
            open_slide(path).close()
        else:
            with pytest.raises(SlideError, match=r"its file says 0.049 um/px, which no slide has .*column mpp"):
                open_slide(path)
    assert np.isclose(ReadSettings(mpp=0.05).checked().mpp, 0.05)
