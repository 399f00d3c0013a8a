"""What a file holds, and which of its images is the slide: by role and size, never by being the first."""

import numpy as np
import pytest
import tifffile
from pyramids import READERS, reduced, write_pyramid

from bundle.cohort import SlideRow, SlideTable
from bundle.core import SlideError
from bundle.slides import ReadSettings, SlideReading, SlideRegions, find_slides, open_slide, section_named
from bundle.slides.images import LABEL, MACRO, SLIDE, THUMBNAIL, SlideImage, with_roles


def painted(width, height, seed):
    """RGB [height, width, 3]: stained blocks of 20 px within a white border."""
    blocks = np.array([190, 110, 170]) + np.random.default_rng(seed).integers(-40, 40, (height // 20, width // 20, 3))
    picture = np.full((height, width, 3), 242, np.uint8)
    inner = np.kron(blocks, np.ones((20, 20, 1)))[20:-20, 20:-20]
    picture[20 : 20 + inner.shape[0], 20 : 20 + inner.shape[1]] = inner
    return picture


def write_ome(path, images, tile=(128, 128)):
    """An OME-TIFF; images: (picture, um/px or None, number of SubIFD levels of half the size each, name)."""
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
        for picture, mpp, n_levels, name in images:
            scale = {"PhysicalSizeX": mpp, "PhysicalSizeY": mpp} if mpp else {}
            options = {"tile": tile, "photometric": "rgb", "compression": "zlib"}
            file.write(picture, subifds=n_levels, metadata={"axes": "YXS", "Name": name, **scale}, **options)
            for level in range(1, n_levels + 1):
                file.write(reduced(picture, 2**level), subfiletype=1, **options)
    return path


@pytest.mark.parametrize(
    ("first", "role"),
    [
        ((painted(400, 320, 5), None, 0, "Image0"), THUMBNAIL),
        ((painted(200, 90, 5), None, 0, "Image0"), MACRO),
        ((painted(200, 160, 5), 8.0, 0, "Image0"), THUMBNAIL),
        ((painted(700, 500, 5), 8.0, 0, "Image0"), MACRO),
        ((painted(200, 220, 5), 0.5, 0, "label image"), LABEL),
        ((painted(900, 400, 5), None, 0, "macro image"), MACRO),
    ],
)
def test_the_first_image_need_not_be_the_slide(tmp_path, first, role):
    """A thumbnail, macro or label that came first was tokenized, with the um/px of whichever image named one."""
    picture = painted(800, 640, 1)
    path = write_ome(tmp_path / "a.ome.tif", [first, (picture, 0.5, 2, "Image1")])
    with open_slide(path) as slide:
        assert [image.role for image in slide.images] == [role, SLIDE]
        assert (slide.image.index, slide.width, slide.height, slide.mpp, slide.section) == (1, 800, 640, 0.5, None)
        assert slide.level_downsamples == [1, 2, 4]
        np.testing.assert_array_equal(slide.read(0, 0, 800, 640, 0.5)[0], picture)
        np.testing.assert_array_equal(slide.read(0, 0, 400, 320, 1.0)[0], reduced(picture, 2))
        regions = SlideRegions(slide, ReadSettings(region_patches=2, patch_size=64, min_tissue_patches=1))
        assert (regions.attributes["image_index"], regions.attributes["image_role"]) == (1, SLIDE)
        assert "section" not in regions.attributes
    for reader in ("cucim", "openslide"):
        with pytest.raises(SlideError, match=f"slide a.ome: .*{reader}: .*reader auto"):
            open_slide(path, reader=reader)


@pytest.mark.parametrize(
    ("sizes", "mpp"),
    [
        (((600, 480), (560, 400)), (0.5, 0.5)),
        (((600, 480), (600, 480)), (0.5, 0.25)),
        (((600, 480), (300, 240)), (0.5, 0.5)),
        (((600, 480), (560, 400)), (None, None)),
        (((600, 480), (600, 480)), (None, None)),
    ],
)
def test_sections_are_slides(tmp_path, sizes, mpp):
    """The second of two sections was lost; where it had the first one's shape, it was taken for a level of it."""
    pictures = [painted(*size, seed) for seed, size in enumerate(sizes)]
    write_ome(tmp_path / "two.ome.tif", [(p, m, 0, "") for p, m in zip(pictures, mpp, strict=True)])
    write_pyramid(tmp_path / "one.tif", painted(300, 300, 3))
    found = find_slides(tmp_path)
    assert [ref.slide_id for ref in found] == ["one", "two.ome__section0", "two.ome__section1"]
    assert [ref.section for ref in found] == [None, 0, 1] and found[1].path == found[2].path
    how = ReadSettings(mpp=0.5, default_mpp=0.5, region_patches=2, patch_size=64, min_tissue_patches=1)
    for ref, picture, scale in zip(found[1:], pictures, mpp, strict=True):
        slide = how.open(ref.path, None, ref.slide_id, ref.section)
        assert (slide.mpp, slide.section, slide.level_downsamples) == (scale or 0.5, ref.section, [1])
        np.testing.assert_array_equal(slide.read(0, 0, *picture.shape[1::-1], slide.mpp)[0], picture)
        attributes = SlideRegions(slide, how).attributes
        assert (attributes["section"], attributes["image_index"]) == (ref.section, ref.section)
    path = found[1].path
    assert [section_named(ref.slide_id, ref.path) for ref in found] == [None, 0, 1]
    with pytest.raises(SlideError, match=r"slide two.ome: .* holds 2 sections \(image 0.*600 x 480 px.*name one"):
        open_slide(path, default_mpp=0.5)
    with pytest.raises(SlideError, match="it has no section 2, but 2"):
        open_slide(path, default_mpp=0.5, section=2)


def test_a_row_of_the_file_is_that_of_its_sections(tmp_path):
    """A table that names the file, or one section, is heeded."""
    write_ome(tmp_path / "two.ome.tif", [(painted(300, 240, seed), None, 0, "") for seed in range(2)])
    (tmp_path / "t.csv").write_text("slide,mpp\ntwo.ome.tif,0.25\n")
    table = SlideTable.read(tmp_path / "t.csv")
    assert [table.row(ref.slide_id, ref.path).mpp for ref in find_slides(tmp_path, table)] == [0.25, 0.25]
    table.match([f"two.ome__section{i}" for i in range(2)], ["two.ome.tif"] * 2)  # as token files know it
    assert [table.row(f"two.ome__section{i}", "two.ome.tif").mpp for i in range(2)] == [0.25, 0.25]
    (tmp_path / "t.csv").write_text("slide,mpp\ntwo.ome__section1,0.25\n")
    table = SlideTable.read(tmp_path / "t.csv")
    assert [table.row(ref.slide_id, ref.path).mpp for ref in find_slides(tmp_path, table)] == [None, 0.25]


def test_a_file_that_was_one_slide_is_named(tmp_path, caplog):
    """What an earlier version stored of a file with two sections was one of them; the log says so."""
    write_ome(tmp_path / "two.ome.tif", [(painted(300, 240, seed), 0.5, 0, "") for seed in range(2)])
    find_slides(tmp_path, known={"two.ome": ("two.ome.tif", 1)}.get)
    assert "slide two.ome was read as one before; its 2 sections are slides now" in caplog.text


def test_sections_keep_their_ids(tmp_path):
    """A namesake of a file with sections comes: they are known by the first of them."""
    images = [(painted(300, 240, seed), 0.5, 0, "") for seed in range(2)]
    (tmp_path / "x").mkdir()
    path = write_ome(tmp_path / "x" / "a.tif", images)
    before = {f"a__section{i}": ("a.tif", path.stat().st_size) for i in range(2)}
    (tmp_path / "y").mkdir()
    write_pyramid(tmp_path / "y" / "a.tif", painted(300, 300, 3))
    ids = [ref.slide_id for ref in find_slides(tmp_path, known=before.get)]
    assert ids == ["a__section0", "a__section1", "y__a"]


def test_tokens_of_another_image_are_made_anew(tmp_path):
    """What versions before stored of such files is of the thumbnail: it is not kept for the slide's."""
    images = [(painted(400, 320, 5), None, 0, ""), (painted(800, 640, 1), 0.5, 0, "")]
    reading = SlideReading(write_ome(tmp_path / "a.ome.tif", images), SlideRow())
    thumbnail, slide = ({"level0_width": width, "level0_height": width * 4 // 5} for width in (400, 800))
    assert reading.change(slide) == reading.change({**thumbnail, "image_index": 1}) == reading.change({}) == ""
    assert reading.change(thumbnail).startswith("it was read from an image of 400 x 320 px, which is not the slide's")
    plain = SlideReading(write_pyramid(tmp_path / "b.tif", painted(800, 640, 1)), SlideRow())
    assert plain.change(thumbnail) == ""


def test_levels_that_ome_lists_as_images(tmp_path):
    """Old writers make each level an image; their um/px say that they are levels, and none is a section."""
    picture = painted(640, 480, 1)
    images = [(reduced(picture, k), 0.5 * k, 0, "") for k in (1, 2, 4)]
    with open_slide(write_ome(tmp_path / "a.ome.tif", images)) as slide:
        assert slide.level_downsamples == [1, 2, 4] and len(slide.images) == 1
        np.testing.assert_array_equal(slide.read(0, 0, 320, 240, 1.0)[0], reduced(picture, 2))
    assert [ref.slide_id for ref in find_slides(tmp_path)] == ["a.ome"]


def test_images_of_a_scanner(real_slide):
    """Each has its role, size and um/px, whichever reader opens the file."""
    expected = [(SLIDE, (2220, 2967)), (THUMBNAIL, (574, 768)), (LABEL, (387, 463)), (MACRO, (1280, 431))]
    for reader in READERS:
        with open_slide(real_slide, reader=reader) as slide:
            assert [(image.role, (image.width, image.height)) for image in slide.images] == expected
            assert slide.image.mpp == (0.499, 0.499) and slide.image.photometric == "rgb" and slide.image.z == 1
            assert {image.mpp for image in slide.images[1:]} == {None}


def test_planes_and_large_images_that_are_not_read_are_named(tmp_path, caplog):
    """Five focal planes: the first is read; a second large picture in a plain TIFF: it is said that it is left out."""
    planes = np.stack([painted(300, 240, seed) for seed in range(5)])
    options = {"tile": (128, 128), "photometric": "rgb"}
    tifffile.imwrite(tmp_path / "z.ome.tif", planes, ome=True, metadata={"axes": "ZYXS"}, **options)
    with open_slide(tmp_path / "z.ome.tif", default_mpp=0.5) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 300, 240, 0.5)[0], planes[0])
    assert "slide z.ome has 5 planes of one size: the first is read" in caplog.text
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        for picture in (painted(300, 200, 0), painted(400, 350, 1)):
            file.write(picture, metadata=None, **options)
    with open_slide(tmp_path / "b.tif", default_mpp=0.5) as slide:
        assert (slide.width, slide.height, slide.image.index) == (400, 350, 1)
    assert "slide b: its file also holds image 0: macro, 300 x 200 px; it is not read" in caplog.text


def test_names_that_all_images_share_tell_nothing():
    """A file called `label_free.svs` gives its name to all of its images."""
    images = [SlideImage(i, size, size, ((size, size),), name="label_free.svs") for i, size in enumerate((100, 900))]
    assert [image.role for image in with_roles(images, has_sections=True)] == [THUMBNAIL, SLIDE]
    whole = [SlideImage(0, 90, 90, ((90, 90),), name="macrophages"), SlideImage(1, 50, 20, ((50, 20),), name="Macro")]
    assert [image.role for image in with_roles(whole, has_sections=True)] == [SLIDE, MACRO]
