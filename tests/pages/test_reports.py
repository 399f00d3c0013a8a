"""Pictures and tables of a run."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from bundle.core import BundleError, read_history
from bundle.explore import PrototypePictures
from bundle.explore.atlas import atlas_page, atlas_pictures
from bundle.explore.atlas.atlas_pictures import kind_color
from bundle.explore.maps.prototype_map import draw_prototypes
from bundle.explore.search import neighbors_page
from bundle.pages import OKABE_ITO, prototype_colors
from bundle.pages.frame import cosine, percent
from bundle.training.handlers.history import plot_training


def test_regions_are_tinted_where_they_lie():
    """Each square has its prototype's color at its border, regions without one are gray, the rest is untouched."""
    coords = np.array([[0, 0], [100, 0], [0, 100]])
    picture = draw_prototypes(coords, 100, np.array([0, 1, -1]), np.full((30, 30, 3), 255, np.uint8), 10.0)
    colors = prototype_colors(2)
    assert picture[0, 0].tolist() == colors[0].tolist()
    assert picture[0, 10].tolist() == colors[1].tolist()
    assert picture[10, 0].tolist() == [190, 190, 190]
    assert picture[25, 25].tolist() == [255, 255, 255]


class Bank:
    """Two slides, one region each."""

    is_fitted = True
    assignment = np.array([0, 1])


def dataset():
    """Of the same slides."""
    header = SimpleNamespace(attributes={"region_size_level0": 100, "level0_mpp": 0.5})
    coords, index = torch.tensor([[-50, -50], [0, 0]]), torch.tensor([0, 1])
    return SimpleNamespace(slide_ids=["a", "b"], headers=[header] * 2, coords=coords, slide_index=index)


def test_pictures_use_the_thumbnail_where_there_is_one(tmp_path):
    """A slide that is not at hand is drawn on paper; negative coordinates (small biopsies) do no harm."""
    thumbnail = np.full((20, 20, 3), 10, np.uint8)
    at_hand = lambda name: (thumbnail, 5.0) if name == "a" else None  # noqa: E731
    pictures = PrototypePictures(Bank(), dataset(), at_hand, ["nested", None])
    drawn = pictures()
    assert drawn["prototypes/a"].shape == (20, 20, 3)
    assert drawn["prototypes/a"][19, 19].tolist() == [10, 10, 10]
    assert drawn["prototypes/b"].shape == (32, 32, 3)
    pictures.save(tmp_path / "prototypes.png")
    assert np.asarray(Image.open(tmp_path / "prototypes.png")).std() > 5


def test_nothing_is_drawn_before_the_first_clustering(tmp_path):
    """No empty picture."""
    bank = Bank()
    bank.is_fitted = False
    pictures = PrototypePictures(bank, dataset())
    pictures.save(tmp_path / "prototypes.png")
    assert pictures() == {} and list(tmp_path.iterdir()) == []


def test_a_run_is_plotted(tmp_path):
    """Also when columns appear only later, as those of prototypes do."""
    rows = [{"epoch": 0, "loo_knn_accuracy": 0.5}, {"epoch": 1, "self": 3.0}, {"epoch": 2, "self": 2.0, "intra": 1.0}]
    plot_training(rows, tmp_path / "training.png")
    assert np.asarray(Image.open(tmp_path / "training.png")).std() > 5


def test_a_missing_history_is_named(tmp_path):
    """The file, and why it may be missing."""
    with pytest.raises(BundleError, match="history.csv does not exist"):
        read_history(tmp_path / "history.csv")


def test_words_and_colors_have_one_place():
    """Pages say shares in the same words, none of them as 0 that is not; color-blind readers' colors are written down
    once."""
    for module in (atlas_page, neighbors_page):
        assert "|percent" in Path(module.__file__).with_suffix(".html").read_text(encoding="utf-8")
    assert [percent(x) for x in (0.0, 0.004, 0.005, 0.126, 1.0)] == ["0 %", "below 1 %", "below 1 %", "13 %", "100 %"]
    shown = {-0.2: "-0.200", 0.75: "0.750", 0.9953: "0.9953", 0.99987: "0.99987", 1.0: "1.000000"}
    assert {x: cosine(x) for x in shown} == shown
    kind_colors = Path(atlas_pictures.__file__).read_text(encoding="utf-8")
    assert not any(color in kind_colors for color in OKABE_ITO.values())
    assert {kind_color(number) for number in range(7)} == set(OKABE_ITO.values()) - {OKABE_ITO["black"]}
