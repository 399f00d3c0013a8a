"""What the demo slides promise: readable, repeatable, fair."""

import runpy
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import tifffile
from region_models import read_table
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bundle.core import BundleError
from bundle.demo.demo_slides import TISSUE_SHARE, compose_slide, draw_slide, make_demo_slides, plan_demo_cohort
from bundle.demo.render import draw_block
from bundle.demo.tissue import Tissue, classify


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """Four small slides at 4 um/px."""
    return make_demo_slides(tmp_path_factory.mktemp("demo"), n_slides=4, seed=1, mpp=4.0, regions=2, n_workers=2)


def test_slide_table_names_the_slides(demo):
    """The table has one row a slide file, both labels, and the columns that the slide table knows."""
    rows = read_table(demo / "slide_table.csv")
    assert [row["slide"] for row in rows] == sorted(path.name for path in demo.glob("*.tif"))
    assert set(rows[0]) == {"slide", "label", "patient", "site"}
    assert Counter(row["label"] for row in rows) == {"nested": 2, "infiltrating": 2}


def test_three_readers_see_the_same_slide(demo):
    """tifffile, OpenSlide and cuCIM agree on size, pyramid, resolution (4 um/px) and every pixel."""
    openslide = pytest.importorskip("openslide", reason="OpenSlide is not installed: its reading is NOT checked")
    path = max(demo.glob("*.tif"), key=lambda p: p.stat().st_size)
    with tifffile.TiffFile(path) as file:
        levels = file.series[0].levels
        picture, shapes = levels[0].asarray(), [level.shape[1::-1] for level in levels]
        assert levels[0].keyframe.is_tiled and len(levels) > 1
        assert levels[0].keyframe.tags["XResolution"].value == (2500, 1)
    with openslide.OpenSlide(path) as slide:
        assert list(slide.level_dimensions) == shapes
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(4.0)
        seen = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
        assert np.array_equal(seen, picture)
    cucim = pytest.importorskip("cucim", reason="cuCIM is not installed: its reading is NOT checked")
    image = cucim.CuImage(str(path))
    assert list(image.resolutions["level_dimensions"]) == shapes
    assert image.spacing()[:2] == pytest.approx([4.0, 4.0])
    assert np.array_equal(np.asarray(image.read_region((0, 0), shapes[0], level=0)), picture)


def test_reruns_are_bit_identical(demo, tmp_path):
    """The same arguments give the same bytes, in one process or two."""
    again = make_demo_slides(tmp_path, n_slides=4, seed=1, mpp=4.0, regions=2, n_workers=1)
    assert {p.name: p.read_bytes() for p in demo.iterdir()} == {p.name: p.read_bytes() for p in again.iterdir()}


def test_cohort_is_balanced():
    """Labels, sites and ink are balanced, a patient has one label and one site, one slide is smaller than a region."""
    cohort = plan_demo_cohort(24, 0, 10)
    assert Counter(s.label for s in cohort) == {"nested": 12, "infiltrating": 12}
    by_patient = defaultdict(set)
    for slide in cohort:
        by_patient[slide.patient].add((slide.label, slide.site))
    assert all(len(owners) == 1 for owners in by_patient.values()) and len(by_patient) < 24
    per_site = Counter((s.label, s.site) for s in cohort)
    assert len(per_site) == 6 and max(per_site.values()) - min(per_site.values()) <= 1
    assert len({sum(s.has_ink for s in cohort if s.label == label) for label in ("nested", "infiltrating")}) == 1
    assert sum(max(s.cells) < 128 for s in cohort) == 1


def test_blocks_join_without_a_seam():
    """A picture drawn in two blocks equals the same picture drawn in one."""
    _, drawing = draw_slide(next(s for s in plan_demo_cohort(4, 1, 2) if max(s.cells) > 128), 4.0)
    whole = draw_block(drawing, 200, 200, 300, 400).astype(int)
    halves = [draw_block(drawing, 200, 200 + 150 * i, 300, 150 if i == 0 else 250) for i in (0, 1)]
    assert np.abs(whole - np.concatenate(halves, axis=1)).max() <= 1  # rounding in the upsampling's last bit


def test_slide_shows_glass_tissue_and_nuclei():
    """About the planned share is tissue, the rim is glass, and tumor nests are darker than the stroma around them."""
    slide = next(s for s in plan_demo_cohort(4, 1, 2) if max(s.cells) > 128 and not s.has_ink)
    picture, drawing = draw_slide(slide, 4.0)
    tissue = np.repeat(np.repeat(classify(drawing.layout.scores), 4, axis=0), 4, axis=1)
    assert abs((tissue > 0).mean() - TISSUE_SHARE) < 0.05
    glass = picture[tissue == Tissue.GLASS].mean()
    assert glass > 220 and picture[:8].mean() > 220 and picture[:, -8:].mean() > 220
    assert picture[tissue == Tissue.TUMOR].mean() < picture[tissue == Tissue.STROMA].mean() < glass - 20


def _accuracies(features: np.ndarray, labels: list[str]) -> list[float]:
    """Cross-validated accuracy by logistic regression and by five neighbors.

    Not leave-one-out: with equal classes that is biased to below chance, and so proves nothing about a leak.
    """
    models = [LogisticRegression(max_iter=2000), KNeighborsClassifier(5)]
    folds = [StratifiedKFold(4, shuffle=True, random_state=repeat) for repeat in range(5)]
    return [
        float(np.mean([cross_val_score(make_pipeline(StandardScaler(), m), features, labels, cv=cv) for cv in folds]))
        for m in models
    ]


def test_color_and_size_do_not_give_the_label_away():
    """Mean color, spread of color and tissue area, alone or together, are near chance on twenty small slides."""
    looks, labels = [], []
    for slide in plan_demo_cohort(20, 0, 4):
        picture, drawing = draw_slide(slide, 4.0)
        is_tissue = np.repeat(np.repeat(drawing.layout.scores.tissue > 0, 4, axis=0), 4, axis=1)
        pixels = picture[is_tissue]
        looks.append([*pixels.mean(axis=0), *pixels.std(axis=0), is_tissue.sum(), is_tissue.mean()])
        labels.append(slide.label)
    table = np.asarray(looks)
    for columns in (slice(0, 3), slice(3, 6), slice(6, 8), slice(0, 8)):
        assert max(_accuracies(table[:, columns], labels)) <= 0.75


def test_arrangement_gives_the_label_away():
    """On the default cohort the true shares of the patterns, or of the tissues, tell the labels apart."""
    patterns, tissues, labels = [], [], []
    for slide in plan_demo_cohort(24, 0, 10):
        _, _, layout = compose_slide(slide)
        tissue = classify(layout.scores)
        patterns.append(np.bincount(layout.pattern[tissue > 0], minlength=5) / (tissue > 0).sum())
        tissues.append(np.bincount(tissue[tissue > 0], minlength=len(Tissue)) / (tissue > 0).sum())
        labels.append(slide.label)
    assert min(_accuracies(np.asarray(patterns), labels)) >= 0.9
    assert min(_accuracies(np.asarray(tissues), labels)) >= 0.85


def _tissues_of(layout) -> np.ndarray:
    """Where tumor, lymphoid tissue, fat and glands are, [4, height, width]."""
    kinds = [[Tissue.TUMOR], [Tissue.LYMPHOID], [Tissue.FAT], [Tissue.EPITHELIUM, Tissue.LUMEN]]
    return np.stack([np.isin(classify(layout.scores), kind) for kind in kinds])


def test_neighbors_give_the_label_away_and_amounts_do_not():
    """Task "neighbors": true shares of tissues are near chance, how many of them a plot holds together tells."""
    labels, shares, mixed = [], [], []
    for slide in plan_demo_cohort(32, 3, 4, "neighbors"):
        found = _tissues_of(compose_slide(slide)[2])
        rows, columns = (max(1, n // 64) for n in found.shape[1:])
        plots = np.array(
            [p.mean((1, 2)) for r in np.array_split(found, rows, 1) for p in np.array_split(r, columns, 2)]
        )
        shares.append(found.mean((1, 2)) / found.mean((1, 2)).sum())
        mixed.append([(plots > 0.03).sum(1)[plots.max(1) > 0.03].mean()])
        labels.append(slide.label)
    assert Counter(labels) == {"segregated": 16, "mingled": 16}
    assert max(_accuracies(np.asarray(shares), labels)) <= 0.7
    assert min(_accuracies(np.asarray(mixed), labels)) >= 0.9


def test_both_labels_have_the_same_islands():
    """Task "neighbors": with the other label a slide has its islands where they were, of tissues in about the same
    amounts; between islands of two tissues lies stroma, so that no patch of theirs gives the label away."""
    slide = next(s for s in plan_demo_cohort(4, 1, 6, "neighbors") if max(s.cells) > 128)
    segregated, mingled = (
        _tissues_of(compose_slide(slide._replace(label=label))[2]) for label in ("segregated", "mingled")
    )
    for found in (segregated, mingled):
        near = [ndimage.binary_dilation(tissue, iterations=2) for tissue in found]
        assert found.any((1, 2)).all()
        assert not any((near[i] & found[j]).any() for i in range(4) for j in range(4) if i != j)
    shares = [found.sum((1, 2)) / found.sum() for found in (segregated, mingled)]
    np.testing.assert_allclose(shares[0], shares[1], atol=0.06)
    moved = (segregated != mingled).any(0).mean() / segregated.any(0).mean()
    assert moved > 0.3


@pytest.mark.parametrize("wish", [{"n_slides": 1}, {"mpp": 0.1}, {"regions": 0}, {"task": "luck"}])
def test_impossible_wishes_are_refused(tmp_path, wish):
    """An argument out of range is an error that names it and the range."""
    with pytest.raises(BundleError, match=next(iter(wish))):
        make_demo_slides(tmp_path / "none", **wish)
    assert not (tmp_path / "none").exists()


def test_command_line(tmp_path, monkeypatch, capsys):
    """`python -m bundle.demo` draws, and refuses a bad wish in one sentence, with status 1."""
    monkeypatch.setattr(sys, "argv", ["synthetic", "--output_dir", str(tmp_path / "slides"), "--regions", "1"])
    sys.argv += ["--n_slides", "2", "--mpp", "4"]
    runpy.run_module("bundle.demo", run_name="__main__")
    assert len(list((tmp_path / "slides").glob("*.tif"))) == 2
    sys.argv[-1] = "9"
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("bundle.demo", run_name="__main__")
    assert stop.value.code == 1 and "mpp is 9" in capsys.readouterr().err
