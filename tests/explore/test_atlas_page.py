"""An atlas as page and contact sheets: complete, escaped, self-contained, bounded, in colors that belong together."""

import re
from dataclasses import replace

import numpy as np
import pytest
from browser import NASTY, assert_fits, screenshot
from PIL import Image

from bundle.core import BundleError
from bundle.explore import Atlas, AtlasReport, AtlasSheets
from bundle.explore.atlas.atlas_pictures import SheetCell, SheetRow, contact_sheet, draw_kinds, kind_color
from bundle.explore.atlas.record import ApartRegions, AtlasKind, AtlasSlide
from bundle.explore.search.answer import RegionPlace


def rgb(number):
    return np.array([int(kind_color(number)[i : i + 2], 16) for i in (1, 3, 5)])


def make_slide(name="s0", kinds=(0, 1, 2, -1), neighbors=(), values=None):
    """Four regions in a square of 2 x 2, the left half of each tissue."""
    mask = np.zeros((4, 16, 16), bool)
    mask[:, :, :8] = True
    coords = np.array([[0, 0], [1000, 0], [0, 1000], [1000, 1000]])
    used = [kind for kind in kinds if kind >= 0]
    places = [RegionPlace(name, *coords[i].tolist(), 1000.0, 0.9) for i in range(4)]
    return AtlasSlide(
        name,
        values or {"slide": name, "label": "ab"[len(name) % 2]},
        (2000, 2000),
        1000.0,
        coords,
        mask,
        np.array(kinds),
        12.3,
        {kind: 0.5 / (n + 1) for n, kind in enumerate(used)},
        {kind: [places[n], places[3]] for n, kind in enumerate(used)},
        list(neighbors),
    )


def make_atlas(n_slides=3, name="s{}"):
    names = [name.format(i) for i in range(n_slides)]
    slides = [make_slide(n, neighbors=[(names[i - 1], 0.9), (names[0], 0.5)]) for i, n in enumerate(names)]
    kinds = [
        AtlasKind(
            letter, 0.5 / (i + 1), names[i:], [RegionPlace(n, 0, 1000, 1000.0, 0.8) for n in names[:4]], {"a": 0.004}
        )
        for i, letter in enumerate("ABC")
    ]
    return Atlas(kinds, slides, "label", 0.91, {"broken": "it is damaged"})


def picture(slide_id, x, y, size):
    return None if slide_id == "s1" else np.full((80, 80, 3), (200, 120, 170), np.uint8)


def thumbnail(slide_id):
    return None if slide_id == "s1" else (np.full((300, 300, 3), 230, np.uint8), 8.0)


def write(folder, atlas, **options):
    return AtlasReport(folder, **({"thumbnails": thumbnail, "pictures": picture} | options))(atlas).read_text("utf-8")


def test_tissue_is_tinted_by_kind():
    """Each patch with tissue takes its region's color, over a slide's picture lightly and where it is of a kind; glass
    stays as it was."""
    slide = make_slide()
    for background, tints in ((None, (0.75, 0.75)), (np.full((50, 50, 3), 230, np.uint8), (0.25, 0.0))):
        drawn = draw_kinds(slide, background, 200).astype(int)
        assert drawn.shape == (200, 200, 3)
        paper = 245 if background is None else 230
        for region, kind in enumerate(slide.kind):
            left, top = slide.coords[region] // 10
            tint = tints[int(kind < 0)]
            expected = (1 - tint) * paper + tint * rgb(kind)
            assert np.abs(drawn[top + 10, left + 10] - expected).max() <= 1
            assert (drawn[top + 10, left + 90] == paper).all()


def test_regions_beyond_the_slide_are_cut():
    """A slide smaller than a region, which is centered on it with negative corners, is drawn in its own size."""
    slide = make_slide()
    small = AtlasSlide("s", {}, (500, 400), 1000.0, np.array([[-250, -300]]), slide.mask[:1], np.array([0]), 1.0)
    drawn = draw_kinds(small, None, 100).astype(int)
    assert drawn.shape == (80, 100, 3)
    assert np.abs(drawn[40, 5] - (0.25 * 245 + 0.75 * rgb(0))).max() <= 1 and (drawn[75, 95] == 245).all()


def test_a_sheet_has_every_picture_in_its_row():
    """Pictures stand in the row of their kind, beside its color; a missing one is a gray square."""
    tiles = [np.full((50, 50, 3), (shade, 200, 0), np.uint8) for shade in (10, 60, 110)]
    rows = [SheetRow(0, ["1 %"], [SheetCell(tiles[0], "a"), SheetCell(tiles[1], "b" * 90)])]
    rows.append(SheetRow(1, ["2 %"], [SheetCell(None, "c"), SheetCell(tiles[2], "d")]))
    sheet = contact_sheet("title", rows, cell_px=100).astype(int)
    for shade, row in ((10, 0), (60, 0), (110, 1)):
        where = np.argwhere((sheet == (shade, 200, 0)).all(2))
        assert len(where) >= 98 * 98 and where[:, 1].min() > 150
        color = np.argwhere(np.abs(sheet - rgb(row)).max(2) == 0)
        assert where[:, 0].min() <= color[:, 0].min() + 1
    assert ((sheet == 245).all(2)).sum() > 90 * 90


def test_the_page_says_what_the_atlas_holds(tmp_path):
    """Kinds with shares, slides and regions; slides with composition, neighbors and links; what was left out."""
    page = write(tmp_path, make_atlas())
    assert "3 slides, 12 regions, 37 mm² of tissue, 3 kinds" in page
    assert "50 % of the tissue" in page and "in 3 of 3 slides" in page and "in 1 of 3 slides" in page
    assert "broken: it is damaged" in page and "cosine of 0.910" in page and "<td>below 1 %</td>" in page
    assert page.count('<a href="#slide-0">s0</a>') >= 4 and 'id="slide-0"' in page
    assert "s0 tinted by kind of tissue: A 50 %, B 25 %, C 17 %" in page
    assert 'aria-label="A 50 %, B 25 %, C 17 % of the slide' in page
    targets = set(re.findall(r'id="([\w-]+)"', page))
    assert {link for link in re.findall(r'href="#([\w-]+)"', page)} <= targets
    assert all('alt="' in tag for tag in re.findall(r"<img[^>]*>", page))
    assert page.count("<img") == 3 + 2 * 3 + 2 * 3  # overlays; regions of kinds, and of slides: s1 is not at hand


def apart_atlas():
    """The atlas with one region of each of its slides kept apart."""
    atlas = make_atlas()
    slides = [replace(slide, apart=slide.kind < 0) for slide in atlas.slides]
    shown = [
        (RegionPlace("s0", 0, 0, 1000.0, float("nan")), 0.249),
        (RegionPlace("s2", 1, 1, 1000.0, float("nan")), 0.03),
    ]
    return replace(atlas, slides=slides, apart=ApartRegions(0.25, 1234, 0.07, ["s0", "s2"], shown, ["s2"]))


def test_what_is_kept_apart_stands_by_itself(tmp_path):
    """A group of its own says how many regions, of how much tissue, by which line, with pictures; each slide how many,
    the bars how much, and which slides had to stand in; nothing of it where all regions make kinds."""
    page = write(tmp_path, apart_atlas())
    assert (
        "1,234 of 12 regions, in 2 of\n  3 slides, with 7 % of the tissue" in page
        and "less than\n  25 % of each" in page
    )
    assert "24 % tissue" in page and "3 % tissue" in page and "No region of 1 slide is so full" in page
    assert page.count("4 regions, 1 kept apart,") == 3 and page.count("<td>25 %</td>") >= 3
    assert "C 17 %, kept apart 25 % of the slide" in page and 'href="#apart"' in page
    assert page.count("<img") == write(tmp_path, make_atlas()).count("<img") + 2
    assert "apart" not in re.sub(r"<style>.*?</style>", "", write(tmp_path, make_atlas()), flags=re.DOTALL)
    for atlas, n_rows in ((apart_atlas(), 4), (make_atlas(), 3)):
        assert Image.open(AtlasSheets(tmp_path, picture)(atlas)[0]).height == 44 + n_rows * (160 + 20 + 8) + 8


def test_pages_of_many_slides_are_bounded(tmp_path):
    """Beyond the limit slides stand in the table only, without a link that leads nowhere, and the page says so."""
    page = write(tmp_path, make_atlas(7), max_slides=2)
    assert page.count('class="slide"') == 2 and "The first 2 of 7 slides are drawn" in page
    assert "<th>s6</th>" in page and "#slide-2" not in page


def test_hundreds_of_slides_make_a_page_of_bounded_size(tmp_path):
    """With textured pictures a drawn slide costs less than 60 kB."""
    rng = np.random.default_rng(0)
    texture = rng.integers(120, 240, (420, 420, 3), np.uint8)
    soft = np.asarray(Image.fromarray(texture).resize((60, 60), Image.Resampling.BOX).resize((420, 420)))
    sizes = [
        len(write(tmp_path, make_atlas(n), thumbnails=lambda _: soft, pictures=lambda *_: soft[:160, :160]))
        for n in (4, 14)
    ]
    assert (sizes[1] - sizes[0]) / 10 < 60_000


def test_nothing_of_the_users_is_taken_for_html(tmp_path):
    """Slide ids and table values are escaped, and the page asks for no file and no address."""
    atlas = make_atlas(2, NASTY + "{}")
    atlas.failed[NASTY] = NASTY
    page = write(tmp_path, atlas, title=NASTY)
    assert "<script" not in page and "<img src=x" not in page and "alert('x" not in page and "&amp;lt;" not in page
    assert not re.search(r'(?:src|href)="(?!data:image/jpeg;base64,|#)', page) and "url(" not in page


def test_without_slides_there_is_still_a_page(tmp_path):
    """Plain drawings and places instead of pictures; no contact sheet, and a word about it."""
    page = write(tmp_path, make_atlas(), thumbnails=None, pictures=None)
    assert page.count("<img") == 3 and "at 0, 1000" in page
    assert AtlasSheets(tmp_path)(make_atlas()) == [] and not (tmp_path / "atlas.png").exists()


def test_sheets_are_written_for_the_cohort_and_each_slide(tmp_path):
    """One file each for those at hand, under names that are files' names."""
    written = AtlasSheets(tmp_path / "new", picture)(make_atlas())
    assert [path.name for path in written] == ["atlas.png", "s0.png", "s2.png"]
    assert Image.open(written[0]).size[0] > 480
    odd = AtlasSheets(tmp_path, picture)(make_atlas(1, "a/../b{}"))
    assert odd[1].parent == tmp_path / "atlas_slides"
    (tmp_path / "file").touch()
    for report in (AtlasSheets(tmp_path / "file", picture), AtlasReport(tmp_path / "file")):
        with pytest.raises(BundleError, match="cannot be written"):
            report(make_atlas())


def test_the_page_fits_the_screen(tmp_path):
    """In Chromium, on a phone and on a desk: nothing wider than the window, every picture shown and large enough."""
    page = write(tmp_path, make_atlas(5, NASTY + "{}" + "x" * 80))
    assert_fits(page, tmp_path, 70)


def test_the_colors_of_kinds_are_seen(tmp_path):
    """In a screenshot each kind's color stands in the legend and, tinted, in the slides."""
    shot = screenshot(write(tmp_path, make_atlas()), tmp_path).astype(int)
    for kind in range(3):
        assert (np.abs(shot - rgb(kind)).max(2) <= 2).sum() > 100
        tinted = 0.75 * 230 + 0.25 * rgb(kind)
        assert (np.abs(shot - tinted).max(2) <= 8).sum() > 1000
