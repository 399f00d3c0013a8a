"""An estimate before a long run: right where it can be checked, honest where it is extrapolated."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from cohorts import write_cohort
from encoder_files import own_file
from slide_embeddings import made_up_slide
from tiny_slides import PATCH, write_slide

from bundle.cohort import SlideRef, SlideTable, find_slides
from bundle.pipelines.estimate.__main__ import main
from bundle.pipelines.estimate.budget import Count, Plan, Rates, budget, count_regions
from bundle.pipelines.estimate.preflight import Look, look_at_slides
from bundle.pipelines.estimate.stage_one import StageOne
from bundle.slides import ReadSettings, open_slide
from bundle.slides.regions import plan_slide
from bundle.storage import write_embeddings

HOW = ReadSettings("auto", 2.0, None, 4, PATCH, 0.1, 2, max_enlarge=2.0)
PLAN = Plan(
    token_dim=12,
    region_patches=16,
    embedding_values=448,
    n_heads=6,
    checkpoint_bytes=1e9,
    n_checkpoints=3,
    max_epochs=100,
    warmup_epochs=20,
    overlaps=True,
)


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Three good slides, and one each: without mpp, no slide, without tissue, too coarse."""
    folder = tmp_path_factory.mktemp("slides")
    for name, size in (("a", 320), ("b", 200), ("c", 160)):
        write_slide(folder / f"{name}.tif", size, seed=ord(name))
    write_slide(folder / "no_mpp.tif", mpp=None)
    (folder / "text.svs").write_text("not a slide")
    write_slide(folder / "coarse.tif", 160, mpp=4.0)
    import tifffile

    resolution = {"resolution": (5000.0, 5000.0), "resolutionunit": "CENTIMETER"}
    glass = np.full((256, 256, 3), 242, np.uint8)
    tifffile.imwrite(folder / "glass.tif", glass, tile=(64, 64), photometric="rgb", compression="jpeg", **resolution)
    return folder


def look(name, area, regions=None, problem=""):
    found = Look(SlideRef(name, Path(name), name), area_mm2=area, regions=regions, problem=problem)
    found.patches = None if regions is None else 100 * regions
    return found


def test_every_slide_is_looked_at(slides):
    """Regions are those that tokenizing would find; each bad slide has its reason, an odd one its remark."""
    looks = {look.ref.slide_id: look for look in look_at_slides(find_slides(slides), SlideTable({}), HOW, None)}
    for name in "abc":
        with open_slide(slides / f"{name}.tif") as slide:
            grid = plan_slide(slide, mpp=2.0, patch_size=PATCH, region_patches=4, min_tissue_patches=2)
        assert (looks[name].regions, looks[name].patches) == (len(grid.coords), grid.mask.sum())
    problems = {name for name, look in looks.items() if look.problem}
    assert problems == {"no_mpp", "text", "glass"}
    assert "default_mpp" in looks["no_mpp"].problem and "no tissue" in looks["glass"].problem
    assert "enlarged to 2" in looks["coarse"].remark
    (coarse,) = look_at_slides([looks["coarse"].ref], SlideTable({}), HOW._replace(max_enlarge=1.25))
    assert "--max_enlarge 2" in coarse.problem


def test_a_sample_is_drawn_from_slides_that_open(slides):
    """The tissue of so many slides is looked for, the same ones for the same seed."""
    first, again = (look_at_slides(find_slides(slides), SlideTable({}), HOW, 2, seed=3) for _ in range(2))
    assert [look.regions for look in first] == [look.regions for look in again]
    assert sum(look.regions is not None or "tissue" in look.problem for look in first) == 2


def test_all_looked_at_is_a_count():
    """Nothing is extrapolated; a slide that does not open has no regions."""
    regions, patches = count_regions([look("a", 4.0, 7), look("b", 9.0, 5), look("bad", 0.0, problem="cut short")])
    assert regions == Count(12, 12, 12) and patches.value == 1200


def test_others_have_as_many_regions_a_mm2():
    """Two of four slides were looked at, one of them without tissue: 10 regions on 10 mm2, 30 mm2 unseen."""
    looks = [look("a", 5.0, 10), look("none", 5.0, problem="no tissue"), look("b", 20.0), look("c", 10.0)]
    regions, _ = count_regions(looks)
    assert regions.value == 40 and regions.low <= 40 <= regions.high and regions.high > 60


def test_the_interval_holds_what_it_says():
    """Of 200 planted cohorts about 95 % lie in their intervals: a bootstrap of the ratio alone has 81 % of them."""
    rng, inside = np.random.default_rng(0), 0
    for draw in range(200):
        areas = rng.uniform(50, 400, 80)
        truth = rng.poisson(areas * rng.gamma(8, 0.02, 80))
        looks = [look(str(i), a, int(n) if i < 30 else None) for i, (a, n) in enumerate(zip(areas, truth, strict=True))]
        regions, _ = count_regions(looks, seed=draw)
        inside += regions.low <= truth.sum() <= regions.high
    assert 180 <= inside <= 199


def test_hours_are_the_rates_arithmetic():
    """36,000 regions and 3.6 million patches, by hand; on one processor reading and encoding add up."""
    rates = Rates(read=2000, encode=1000, train=100, recluster=1000, embed=500)
    found = budget(36_000, 3_600_000, 100, rates, PLAN)
    assert found.tokenizing == pytest.approx(1.0) and found.epoch == pytest.approx(0.11)
    assert found.training == pytest.approx(100 * 0.1 + 80 * 0.01) and found.embedding == pytest.approx(0.02)
    assert found.checkpoints == 3e9
    alone = budget(36_000, 3_600_000, 100, rates, PLAN._replace(overlaps=False))
    assert alone.tokenizing == pytest.approx(1.5)


def test_hours_of_stage_one():
    """36,000 patches a slide are too many: 100 of each of 36 slides are drawn, in ten epochs, by hand."""
    rates = Rates(read=2000, encode=1, train=1, recluster=1, embed=1)
    stage = StageOne(train=1000, max_epochs=10, patches_per_slide=100, caches=False)
    hours = {overlaps: stage.hours(1e6, 36, rates, overlaps=overlaps) for overlaps in (True, False)}
    assert hours[True] == pytest.approx(0.01) and hours[False] == pytest.approx(0.015)
    assert stage._replace(caches=True).hours(1e6, 36, rates, overlaps=True) == pytest.approx(0.0105)
    assert stage._replace(patches_per_slide=None).hours(3600, 36, rates, overlaps=True) == pytest.approx(0.01)


def test_bytes_are_those_of_real_files(tmp_path):
    """Token files within 5 %; embeddings below what is promised as their most, and not far below."""
    rates = Rates(1, 1, 1, 1, 1)
    tokens = write_cohort(tmp_path / "tokens", (60,), dim=384) / "slide_0.h5"
    found = budget(60, 1, 1, rates, PLAN._replace(token_dim=384))
    assert found.tokens == pytest.approx(tokens.stat().st_size, rel=0.05)
    write_embeddings(made_up_slide(n_regions=60), tmp_path / "a.h5")  # 24 + 32 values a region, 6 heads
    size = (tmp_path / "a.h5").stat().st_size
    most = budget(60, 1, 1, rates, PLAN._replace(embedding_values=56)).embeddings
    assert 0.5 * most < size < 1.1 * most


def test_the_command_estimates_a_run(slides, tmp_path, capsys):
    """JSON with counts, positive rates, hours and a note of each thing that is extrapolated; nothing is written."""
    tiny = ["embed_dim=24", "depth=1", "n_heads=3", "out_dim=64", "hidden_dim=16", "bottleneck_dim=8", "batch_size=4"]
    words = ["--mpp", "2", "--patch_size", "16", "--min_tissue_patches", "2", "--device", "cpu", "--seconds", "0.05"]
    words += ["--max_enlarge", "2", "--stage_one_config", "configs/train_patch_encoder.yaml"]
    words += ["configs/demo_patch_encoder.yaml"]
    before = sorted(slides.iterdir())
    none = str(tmp_path / "none.pt")
    assert main([str(slides), *words, "--sample", "4", "--patch_encoder_ckpt", none, "--json", "--set", *tiny]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["slides"]) == 7 and found["n_sampled"] == 4 and found["max_epochs"] == 100
    assert all(rate > 0 for rate in found["rates"].values())
    assert all(value > 0 and math.isfinite(value) for value in found["budget"].values())
    for said in (
        "2 epochs of stage one",
        "a ViT-S/16 was probed in its place",
        "in proportion to the slides' areas",
        "timed with 4 regions;",
    ):
        assert any(said in note for note in found["notes"]), said
    assert sorted(slides.iterdir()) == before and list(tmp_path.iterdir()) == []


def test_a_preflight_needs_no_probe(slides, tmp_path, capsys):
    """--no_probe names the bad slides and counts regions; with default_mpp one of them is good. um/px and patch size
    that are not given are the patch encoder's."""
    words = [str(slides), "--min_tissue_patches", "2", "--no_probe", "--sample", "0"]
    encoder = str(own_file(tmp_path / "own.pt", name="stage one", input_px=16, mpp=2.0))
    assert main([*words, "--patch_encoder_ckpt", encoder, "--default_mpp", "none", "--slide_table=null"]) == 0
    stated = capsys.readouterr().out
    words += ["--mpp", "2", "--patch_size", "16"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert stated == said
    assert "7 (" in said and "3 good, 4 bad" in said and "no_mpp.tif: " in said and "glass.tif: " in said
    assert "patches/s" not in said
    main([*words, "--default_mpp", "2"])
    assert "4 good, 3 bad" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"), [(["nowhere"], "does not exist"), (["--patch_size", "0"], "patch_size"), (["--set", "x=1"], "x")]
)
def test_mistakes_are_one_message(slides, capsys, words, said):
    """No folder, a setting out of range, an id that the config has not."""
    given = [*words, "--seconds", "0.05"] if words[0] == "nowhere" else [str(slides), *words, "--seconds", "0.05"]
    options = ["--mpp", "2", "--min_tissue_patches", "2", "--device", "cpu"]
    assert main([*given, *options] if "--patch_size" in words else [*given, *options, "--patch_size", "16"]) == 1
    assert "Stopped: " in (error := capsys.readouterr().err) and said in error
