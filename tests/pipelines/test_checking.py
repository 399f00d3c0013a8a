"""Checking a folder: what is planted is found, and nothing else; a killed run goes on; the list is taken by others."""

import csv
import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from browser import probes
from monai.bundle import ConfigParser
from PIL import Image
from region_models import read_table
from tiny_slides import PATCH, damage_tiles, draw_tissue, write_slide
from workflows import ROOT, workflow

from bundle.cohort import SlideRef, SlideRow, SlideTable, find_slides, read_quarantine, write_quarantine
from bundle.core import BundleError
from bundle.pipelines import InferenceInputs
from bundle.pipelines.checking import checker, deep_look
from bundle.pipelines.checking.check_page import CheckPage
from bundle.pipelines.checking.checker import SlideChecker
from bundle.pipelines.checking.cohort_look import compare_slides
from bundle.pipelines.checking.look import Look, look_at
from bundle.pipelines.checking.look_files import LookFile
from bundle.slides import ReadSettings, open_slide
from bundle.slides import find_slides as find_all

READ = {"mpp": 4.0, "patch_size": 32}
PROBLEMS = {
    "truncated": "cut short",
    "damaged": "cannot decode",
    "glass": "no tissue",
    "second": "shows the same as slide demo_0",
    "absurd": "beyond 20 um/px",
    "no_mpp": "does not say its resolution",
    "gray": "gray",
    "empty": "0 bytes",
    "text": "no format that is known",
    "coarse": "enlarged 2 times",
    "gone": "a link that leads nowhere",
}
ODD = {"tiny": "a crop or a thumbnail"}


def plant(good, folder):
    """A copy of the demo slides with a slide of each defect, a slide table, and splits."""
    shutil.copytree(good, folder)
    first = next(path for path in sorted(folder.glob("*.tif")) if min(tifffile.imread(path).shape[:2]) > 400)
    data = first.read_bytes()
    (folder / "truncated.tif").write_bytes(data[: len(data) // 2])
    damage_tiles(Path(shutil.copy(first, folder / "damaged.tif")))
    shutil.copy(first, folder / "second.tif")
    scale = {"resolution": (2500.0, 2500.0), "resolutionunit": "CENTIMETER", "tile": (64, 64)}
    tifffile.imwrite(folder / "glass.tif", np.full((512, 512, 3), 242, np.uint8), photometric="rgb", **scale)
    tifffile.imwrite(folder / "gray.tif", tifffile.imread(first)[..., 1], photometric="minisblack", **scale)
    for name, size, mpp in (("absurd", 320, 300.0), ("no_mpp", 320, None), ("coarse", 320, 8.0), ("tiny", 100, 4.0)):
        write_slide(folder / f"{name}.tif", size, mpp=mpp, seed=len(name))
    (folder / "empty.tif").touch()
    (folder / "text.svs").write_text("not a slide")
    (folder / "gone.tif").symlink_to(folder / "nowhere.tif")
    rows = [list(row.values()) for row in read_table(folder / "slide_table.csv")]
    rows[1][2] = rows[0][2]  # a patient with two slides
    labels = [row[1] for row in rows]
    rows += [[name, labels[i % 2], f"p{i}", "site_a"] for i, name in enumerate([*PROBLEMS, *ODD, "not_there"])]
    write_csv(folder / "slide_table.csv", ["slide", "label", "patient", "site"], rows)
    sides = [[Path(row[0]).stem, "train" if i else "test"] for i, row in enumerate(rows[:-1])]
    write_csv(folder / "splits.csv", ["slide", "split"], sides)
    return folder


def write_csv(path, columns, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


@pytest.fixture(scope="module")
def planted(demo_slides, tmp_path_factory):
    """The folder, and what checking finds there by its config."""
    folder = plant(demo_slides, tmp_path_factory.mktemp("planted") / "slides")
    out = folder.parent / "out"
    ids = {"dataset_dir": folder, "output_dir": out, "slide_table": folder / "slide_table.csv"}
    made = workflow("check.yaml", **ids, splits=folder / "splits.csv", label="label", **READ)
    return folder, out, made.parser.get_parsed_content("checker").run()


def test_what_is_planted_is_found_and_nothing_else(planted):
    """Eleven slides with a problem, one that is odd, a row without a slide, a patient on both sides of a split."""
    _, out, checks = planted
    problems = {look.ref.slide_id: look.problem for look in checks.bad}
    assert set(problems) == set(PROBLEMS)
    for name, said in PROBLEMS.items():
        assert said in problems[name], problems[name]
    assert {look.ref.slide_id for look in checks.odd} == set(ODD) and "a crop" in checks.odd[0].oddities[0]
    (fault,) = checks.tables.faults
    assert "stand on different sides" in fault
    (remark,) = checks.tables.remarks
    assert remark == "1 rows match no slide: not_there"
    assert set(read_quarantine(out / "quarantine.txt")) == set(PROBLEMS)
    good = [look for look in checks.looks if look.ref.slide_id.startswith("demo_")]
    assert len(good) == 4
    assert all(look.n_read == 8 and look.compared_with == "openslide" and look.codec == "jpeg" for look in good)
    lines = {row["slide"]: row for row in read_table(out / "checks.csv")}
    assert (
        len(lines) == 16 and lines["empty"]["problem"] and lines["tiny"]["warnings"] and not lines["demo_00"]["problem"]
    )


def test_the_page_shows_it(planted, tmp_path):
    """Problems first, every slide that opens with a picture, nothing wider than a phone, names escaped."""
    _, out, checks = planted
    page = (out / "check.html").read_text(encoding="utf-8")
    places = [page.index(f"<h3>{name}</h3>") for name in ("truncated", "tiny", "demo_00")]
    assert places == sorted(places) and "stand on different sides" in page
    hostile = "</script><img src=x onerror=alert(1)>"
    looks = [replace(look, ref=look.ref._replace(slide_id=hostile), problem=hostile) for look in checks.looks[:1]]
    page = CheckPage(tmp_path, hostile).page(checks._replace(looks=[*looks, *checks.looks[1:]]))
    assert page.count("&lt;img src=x onerror") >= 4 and "<img src=x" not in page
    for probe in probes(page, tmp_path):
        assert probe.refused == ""
        assert probe.n_pictures == sum(bool(look.thumbnail) for look in checks.looks) >= 8
        assert probe.broken == 0 and probe.scrolled <= probe.width and probe.wide == ""


def test_a_killed_run_goes_on(planted, tmp_path, monkeypatch):
    """Slides whose line is complete are not looked at again, unless they had a problem or have changed."""
    folder, out, _ = planted
    lines = (out / "checks.jsonl").read_text().splitlines(keepends=True)
    demo = [line for line in lines if '"slide": "demo_' in line]
    looked = []
    real = checker.look_at

    def counted(ref, *rest):
        looked.append(ref.slide_id)
        return real(ref, *rest)

    monkeypatch.setattr(checker, "look_at", counted)
    check = SlideChecker(folder, tmp_path, slide_table=folder / "slide_table.csv", **READ)
    (tmp_path / "checks.jsonl").write_text(demo[0] + demo[1] + demo[2][:200])
    assert check.run().n_kept == 2 and len(looked) == 14
    looked.clear()
    assert check.run().n_kept == 6 and set(looked) == set(PROBLEMS) - {"second"}  # by itself a copy is a good slide
    looked.clear()
    other = SlideChecker(folder, tmp_path, slide_table=folder / "slide_table.csv", **READ, sampled_patches=3)
    assert other.run().n_kept == 0 and len(looked) == 16


def test_a_slide_that_ends_the_process_is_not_opened_for_ever(demo_slides, tmp_path, monkeypatch):
    """Two runs died while a slide was in work: the third names it and looks at all others. An interrupt is no death."""
    out, ref = tmp_path / "out", find_slides(demo_slides)[1]
    check = SlideChecker(demo_slides, out, num_workers=1, **READ)
    out.mkdir()
    for _ in range(2):  # what a process writes before it dies
        LookFile(out / "checks.jsonl", check.settings).begin(ref, SlideRow())
    (bad,) = check.run().bad
    assert bad.ref.slide_id == "demo_01" and "two runs died" in bad.problem and not bad.reader
    assert [each.ref.slide_id for each in check.run().bad] == ["demo_01"]
    afresh = SlideChecker(demo_slides, out, overwrite=True, **READ)
    assert afresh.run().bad == []

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checker, "look_at", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            afresh.run()
    monkeypatch.undo()
    assert check.run().bad == []


def test_tables_are_looked_at_as_a_whole(tmp_path):
    """A slide twice, a class with one slide, a patient of two classes, a column that is not there: all are said."""
    for name in "abcd":
        write_slide(tmp_path / f"{name}.tif", 160, seed=ord(name))
    rows = [["a", "x", "p"], ["b", "y", "p"], ["c", "x", "q"], ["d", "", "r"]]
    read = {"mpp": 2.0, "patch_size": PATCH, "region_patches": 4, "min_tissue_patches": 2, "sampled_patches": 1}
    write_csv(tmp_path / "t.csv", ["slide", "label", "patient"], rows)
    check = SlideChecker(tmp_path, tmp_path / "out", slide_table=tmp_path / "t.csv", label="label, stage", **read)
    found = check.run().tables
    assert found.faults == [f"{tmp_path / 't.csv'} has no column 'stage' (label)"]
    assert found.remarks == [
        "column label: y has one slide",
        "column label: 1 slides have no value: d",
        "column label: slides of patients p differ",
    ]
    assert [(column.name, column.n_missing, column.n_values) for column in found.columns][1] == ("label", 1, 2)
    write_csv(tmp_path / "t.csv", ["slide", "label", "patient"], [*rows, ["a", "y", "p"]])
    checks = SlideChecker(tmp_path, tmp_path / "out", slide_table=tmp_path / "t.csv", **read).run()
    assert (
        "'a' stands in lines 2, 6" in checks.tables.faults[0] and "without the slide table" in checks.tables.remarks[0]
    )


def test_copies_are_known_by_what_they_show(tmp_path):
    """Saved again, at half the px and with losses, a slide is a copy; moved by a twentieth it is another slide."""
    random = np.random.default_rng(0)
    picture = np.kron(random.integers(60, 240, (12, 12, 3)), np.ones((40, 40, 1))).astype(np.uint8)
    again = io.BytesIO()
    Image.fromarray(picture).resize((240, 240), Image.Resampling.BOX).save(again, "JPEG", quality=50)
    looks = []
    for name, shown in (("a", picture), ("b", Image.open(again)), ("c", np.roll(picture, 24, 0))):
        shown = np.asarray(shown)
        height, width = shown.shape[:2]
        ref = SlideRef(name, tmp_path / name, name)
        looks.append(Look(ref, width=width, height=height, small=deep_look.small_gray(shown)))
    compare_slides(looks, lambda look: look.ref.slide_id != "a")
    assert [bool(look.problem) for look in looks] == [True, False, False] and "slide b" in looks[0].problem


def test_um_far_from_the_cohorts_are_odd():
    """Four slides of 0.25 and 0.5 and one of 5 um/px: that one."""
    mpps = (0.25, 0.25, 0.5, 0.5, 5.0)
    looks = [Look(SlideRef(str(mpp), Path("x"), "x"), mpp=mpp, mpp_source="file") for mpp in mpps]
    compare_slides(looks)
    assert [len(look.warnings) for look in looks] == [0, 0, 0, 0, 1]


def test_readers_that_do_not_agree_are_a_problem(tmp_path, monkeypatch):
    """A second reader with other colors: the slide is not to be trusted."""
    path = write_slide(tmp_path / "a.tif")
    real = deep_look.open_slide

    def swapped(*arguments, **options):
        slide = real(*arguments, **options)
        thumbnail = slide.thumbnail
        slide.thumbnail = lambda **sizes: (thumbnail(**sizes)[0][..., ::-1] // 2, 2.0)
        return slide

    monkeypatch.setattr(deep_look, "open_slide", swapped)
    look = Look(SlideRef("a", path, "a"))
    with open_slide(path) as slide:
        deep_look._ask_another(slide, look)
    assert "cucim and openslide show other pictures" in look.problem


def test_levels_that_show_other_things_are_odd(tmp_path):
    """Tissue on the thumbnail, nothing where patches are read: levels of two slides, or a scan that lost its px."""
    picture = draw_tissue(512)
    scale = {"resolution": (5000.0, 5000.0), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for level, image in enumerate((np.full_like(picture, 242), picture[::2, ::2], picture[::4, ::4])):
            options = {"tile": (64, 64), "photometric": "rgb", "subfiletype": int(level > 0)}
            file.write(image, **options, **(scale if level == 0 else {}))
    ref = SlideRef("a", tmp_path / "a.tif", "a")
    how = ReadSettings(mpp=2.0, patch_size=PATCH, region_patches=4, min_tissue_patches=2)
    look = look_at(ref, SlideRow(), how, deep_look.DeepLook(how, 4, 0))
    assert look.problem == "" and look.oddities == ["4 of 4 sampled patches of tissue are of one color"]


def test_shares_of_tissue_that_no_slide_has_are_odd():
    """Half a per cent, unless a region of interest is as small; 99 %; and missing tiles."""
    ref, found = SlideRef("a", Path("a"), "a"), []
    for share, missing, is_limited in ((0.005, 0, False), (0.005, 0, True), (0.3, 0, False), (0.99, 7, False)):
        look = Look(ref, tissue_share=share, missing_tiles=missing)
        deep_look._judge_tissue(look, is_limited=is_limited)
        found.append([text.split(":")[0] for text in look.warnings])
    tiles = "its file leaves out 7 tiles, which are background"
    assert found == [["0.5 % of it is tissue"], [], [], ["99 % of it is tissue", tiles]]


@pytest.fixture
def quarantined(tmp_path):
    """Three slides, one of them bad, and the list that leaves it out."""
    for name in "ab":
        write_slide(tmp_path / "slides" / f"{name}.tif", 160, seed=ord(name))
    (tmp_path / "slides" / "bad.svs").write_text("not a slide")
    write_quarantine(tmp_path / "quarantine.txt", {"bad": "no\nslide"})
    return tmp_path


def test_the_list_is_taken(quarantined, caplog):
    """By id, file name or path; how many are left out is said, a name that is no slide's is named, none left stops."""
    folder, path = quarantined / "slides", quarantined / "quarantine.txt"
    assert read_quarantine(path) == {"bad": "no slide"}
    caplog.set_level("INFO")
    assert [ref.slide_id for ref in find_all(folder, exclude=path)] == ["a", "b"]
    assert "1 of 3 slides are left out" in caplog.text
    path.write_text("# by hand\n\nbad.svs\nslides/a.tif\nc\n")
    assert [ref.slide_id for ref in find_all(folder, exclude=path)] == ["b"]
    assert "1 names are no slide here, such as c" in caplog.text
    assert [ref.slide_id for ref in InferenceInputs.find(folder, exclude=path).refs] == ["b"]
    path.write_text("a\nb\nbad\n")
    with pytest.raises(BundleError, match="leaves out all 3 slides"):
        find_all(folder, exclude=path)
    with pytest.raises(BundleError, match="cannot be read"):
        find_all(folder, exclude=folder / "nowhere.txt")
    assert len(find_slides(folder, SlideTable({}))) == 3


@pytest.mark.parametrize(
    ("config", "part"), [("tokenize", "dataset#slides"), ("inference", "inputs"), ("train_patch_encoder", "slides")]
)
def test_each_command_leaves_them_out(quarantined, config, part):
    """`exclude` reaches the search for slides of every config that has one."""
    parser = ConfigParser(ConfigParser.load_config_file(ROOT / "configs" / f"{config}.yaml"))
    folders = {"dataset_dir": quarantined / "slides", "output_dir": quarantined / "out"}
    folders |= {"tokens_dir": quarantined / "tokens"} if config != "train_patch_encoder" else {}
    parser.update(
        {name: str(path) for name, path in folders.items()} | {"exclude": str(quarantined / "quarantine.txt")}
    )
    parser.parse(True)
    found = parser.get_parsed_content(part)
    assert [ref.slide_id for ref in getattr(found, "refs", found)] == ["a", "b"]
